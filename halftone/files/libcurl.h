// libcurl, loaded when something is first fetched: it brings thirty shared libraries along, which
// every other command would map, relocate and pay for (5 MB).
#pragma once

#include <curl/curl.h>

namespace halftone::files {

struct LibCurl {
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_reset) easy_reset;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_perform) easy_perform;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
  decltype(&curl_url) url;
  decltype(&curl_url_get) url_get;
  decltype(&curl_url_set) url_set;
  decltype(&curl_url_cleanup) url_cleanup;
  decltype(&curl_free) free;
};

// Ready for use, from any thread. UnsupportedError with the remedy when it is not installed.
const LibCurl& libcurl();

}  // namespace halftone::files
