#include "halftone/files/libcurl.h"

#include <dlfcn.h>

#include <string>

#include "halftone/base/error.h"

namespace halftone::files {
namespace {

LibCurl load() {
  // Never closed: it leaves threads and handlers of its own behind.
  void* library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw UnsupportedError(
        "libcurl", "cannot be loaded: " + std::string(dlerror()),
        "install it (Debian: libcurl4), or put the files into the cache by hand");
  const auto get = [&]<class F>(const char* name, F& function) {
    function = reinterpret_cast<F>(dlsym(library, name));
    if (function == nullptr)
      throw UnsupportedError("libcurl", "has no " + std::string(name), "install 7.85 or newer");
  };
  LibCurl out;
  get("curl_easy_init", out.easy_init);
  get("curl_easy_reset", out.easy_reset);
  get("curl_easy_setopt", out.easy_setopt);
  get("curl_easy_perform", out.easy_perform);
  get("curl_easy_getinfo", out.easy_getinfo);
  get("curl_easy_strerror", out.easy_strerror);
  get("curl_easy_cleanup", out.easy_cleanup);
  get("curl_slist_append", out.slist_append);
  get("curl_slist_free_all", out.slist_free_all);
  get("curl_url", out.url);
  get("curl_url_get", out.url_get);
  get("curl_url_set", out.url_set);
  get("curl_url_cleanup", out.url_cleanup);
  get("curl_free", out.free);
  decltype(&curl_global_init) global_init = nullptr;
  get("curl_global_init", global_init);
  global_init(CURL_GLOBAL_DEFAULT);
  return out;
}

}  // namespace

const LibCurl& libcurl() {
  static const LibCurl loaded = load();
  return loaded;
}

}  // namespace halftone::files
