// The few lines of HTTP that the hub needs, on libcurl: HEAD and GET, redirects followed by hand so
// that the token stays home.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"

namespace halftone::files {

struct HttpResponse {
  int64_t status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of the last hop
  bool complete = true;  // false: the connection broke before the declared end
  std::string failure;   // of the connection, when status is 0 or complete is false
};

class HttpClient {
 public:
  // The token is sent only to requests whose scheme, host and port are those of `home`.
  HttpClient(std::string home, std::string token, const Context& context);
  ~HttpClient();

  // Follows redirects within `home`; any other redirect is the answer (status 3xx): the file lies
  // there. Headers of the hub (x-...) that only an earlier hop gave are kept.
  HttpResponse head(const std::string& url);
  // Follows all redirects (https never to http). `begin` is called once with the final status and
  // headers, before data; `data` may throw.
  HttpResponse get(const std::string& url, uint64_t offset,
                   const std::function<void(const HttpResponse&)>& begin,
                   const std::function<void(std::span<const std::byte>)>& data);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halftone::files
