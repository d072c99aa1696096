#include "halftone/files/http_client.h"

#include <algorithm>
#include <cctype>
#include <exception>

#include "halftone/base/error.h"
#include "halftone/files/libcurl.h"

namespace halftone::files {
namespace {

constexpr int kHops = 10;

struct FreeUrl {
  void operator()(CURLU* u) const { libcurl().url_cleanup(u); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

std::string part(CURLU* url, CURLUPart what, unsigned flags = 0) {
  char* text = nullptr;
  if (libcurl().url_get(url, what, &text, flags) != CURLUE_OK) return {};
  std::string out(text);
  libcurl().free(text);
  return out;
}
Url parse(const std::string& text) {
  Url url(libcurl().url());
  if (!url || libcurl().url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
    return nullptr;
  return url;
}
std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}
// scheme://host:port, the port always spelt out.
std::string origin(const std::string& text) {
  const Url url = parse(text);
  if (!url) return {};
  return lower(part(url.get(), CURLUPART_SCHEME)) + "://" + lower(part(url.get(), CURLUPART_HOST)) +
         ":" + part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
}
// `location` as seen from `base`; empty when it is not http(s), carries a user name, or steps down
// from https.
std::string resolve(const std::string& base, const std::string& location) {
  const Url url = parse(base);
  if (!url) return {};
  const std::string before = lower(part(url.get(), CURLUPART_SCHEME));
  if (libcurl().url_set(url.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) return {};
  const std::string scheme = lower(part(url.get(), CURLUPART_SCHEME));
  if (scheme != "https" && (scheme != "http" || before == "https")) return {};
  if (!part(url.get(), CURLUPART_USER).empty()) return {};
  return part(url.get(), CURLUPART_URL);
}

bool is_redirect(int64_t status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

struct HttpClient::State {
  CURL* curl = nullptr;
  std::string home, token;
  const Context& context;
  // Of the transfer under way:
  HttpResponse response;
  bool started = false;
  const std::function<void(const HttpResponse&)>* begin = nullptr;
  const std::function<void(std::span<const std::byte>)>* data = nullptr;
  std::exception_ptr thrown;

  State(std::string h, std::string t, const Context& c)
      : home(std::move(h)), token(std::move(t)), context(c) {}

  static size_t on_header(char* text, size_t size, size_t count, void* self_pointer) {
    auto& self = *static_cast<State*>(self_pointer);
    std::string line(text, size * count);
    while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.pop_back();
    if (line.starts_with("HTTP/")) self.response.headers.clear();
    const auto colon = line.find(':');
    if (colon == std::string::npos || self.response.headers.size() > 200) return size * count;
    const auto value = line.find_first_not_of(" \t", colon + 1);
    self.response.headers[lower(line.substr(0, colon))] =
        value == std::string::npos ? "" : line.substr(value);
    return size * count;
  }
  void start() {
    if (started) return;
    started = true;
    long status = 0;
    libcurl().easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    response.status = status;
    if (begin != nullptr && !is_redirect(status)) (*begin)(response);
  }
  static size_t on_data(char* bytes, size_t size, size_t count, void* self_pointer) {
    auto& self = *static_cast<State*>(self_pointer);
    try {
      self.start();
      const auto span = std::as_bytes(std::span(bytes, size * count));
      if (self.data != nullptr && !is_redirect(self.response.status)) (*self.data)(span);
      return size * count;
    } catch (...) {
      self.thrown = std::current_exception();  // nothing may be thrown through libcurl
      return 0;
    }
  }
  static int on_progress(void* self_pointer, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const auto& self = *static_cast<State*>(self_pointer);
    return self.context.stop != nullptr && self.context.stop->load() ? 1 : 0;
  }

  // One hop.
  void request(const std::string& url, bool body, uint64_t offset) {
    context.throw_if_stopped();
    response = {};
    started = false;
    thrown = nullptr;
    libcurl().easy_reset(curl);
    curl_slist* list = nullptr;
    const auto add = [&](const std::string& line) {
      list = libcurl().slist_append(list, line.c_str());
    };
    add("Accept-Encoding: identity");  // sizes and offsets are those of the file
    if (!token.empty() && origin(url) == origin(home)) add("Authorization: Bearer " + token);
    libcurl().easy_setopt(curl, CURLOPT_URL, url.c_str());
    libcurl().easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    libcurl().easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    libcurl().easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    libcurl().easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    libcurl().easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    libcurl().easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 20L);
    libcurl().easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    libcurl().easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 30L);
    libcurl().easy_setopt(curl, CURLOPT_USERAGENT, "halftone/" HALFTONE_VERSION);
    libcurl().easy_setopt(curl, CURLOPT_NOBODY, body ? 0L : 1L);
    libcurl().easy_setopt(curl, CURLOPT_HEADERFUNCTION, &State::on_header);
    libcurl().easy_setopt(curl, CURLOPT_HEADERDATA, this);
    libcurl().easy_setopt(curl, CURLOPT_WRITEFUNCTION, &State::on_data);
    libcurl().easy_setopt(curl, CURLOPT_WRITEDATA, this);
    libcurl().easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &State::on_progress);
    libcurl().easy_setopt(curl, CURLOPT_XFERINFODATA, this);
    libcurl().easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    const std::string range = std::to_string(offset) + "-";
    if (offset != 0) libcurl().easy_setopt(curl, CURLOPT_RANGE, range.c_str());
    const CURLcode code = libcurl().easy_perform(curl);
    libcurl().slist_free_all(list);
    if (thrown) std::rethrow_exception(thrown);
    context.throw_if_stopped();
    long status = 0;
    libcurl().easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    response.status = status;
    if (code != CURLE_OK) {
      response.failure = libcurl().easy_strerror(code);
      response.complete = false;
    } else {
      start();  // an empty body
    }
  }
};

HttpClient::HttpClient(std::string home, std::string token, const Context& context)
    : state_(std::make_unique<State>(std::move(home), std::move(token), context)) {
  state_->curl = libcurl().easy_init();
  check(state_->curl != nullptr, "libcurl gives no handle");
}

HttpClient::~HttpClient() { libcurl().easy_cleanup(state_->curl); }

HttpResponse HttpClient::head(const std::string& url) {
  std::string at = url;
  std::map<std::string, std::string> earlier;
  for (int hop = 0; hop < kHops; ++hop) {
    state_->begin = nullptr;
    state_->data = nullptr;
    state_->request(at, false, 0);
    HttpResponse& response = state_->response;
    for (const auto& [name, value] : earlier)
      if (name.starts_with("x-")) response.headers.emplace(name, value);
    if (!is_redirect(response.status)) return std::move(response);
    const std::string next = resolve(at, response.headers["location"]);
    if (next.empty() || origin(next) != origin(state_->home)) return std::move(response);
    earlier = response.headers;
    at = next;
  }
  throw FileError(Code::value, url, "is redirected more than " + std::to_string(kHops) + " times");
}

HttpResponse HttpClient::get(const std::string& url, uint64_t offset,
                             const std::function<void(const HttpResponse&)>& begin,
                             const std::function<void(std::span<const std::byte>)>& data) {
  std::string at = url;
  for (int hop = 0; hop < kHops; ++hop) {
    state_->begin = &begin;
    state_->data = &data;
    state_->request(at, true, offset);
    HttpResponse& response = state_->response;
    if (!is_redirect(response.status)) return std::move(response);
    const std::string next = resolve(at, response.headers["location"]);
    if (next.empty())
      throw FileError(Code::unsafe, url,
                      "is redirected to " + quote(response.headers["location"]) +
                          ", which halftone does not follow");
    at = next;
  }
  throw FileError(Code::value, url, "is redirected more than " + std::to_string(kHops) + " times");
}

}  // namespace halftone::files
