// A loopback HTTP server for tests: one thread, one connection at a time, every request recorded.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace halftone::files::testing_files {

struct TestRequest {
  std::string method, path;
  std::map<std::string, std::string> headers;  // names in lower case
};
struct TestResponse {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<size_t> cut;          // send so much of the body, then close
  std::optional<std::string> length;  // instead of the true Content-Length
};

class LoopbackServer {
 public:
  using Handler = std::function<TestResponse(const TestRequest&)>;
  // Listens at once; answers from `start` on (children may be forked in between).
  LoopbackServer() {
    listen_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listen_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listen_, 64) != 0)
      std::abort();
    socklen_t size = sizeof address;
    ::getsockname(listen_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  explicit LoopbackServer(Handler handler) : LoopbackServer() { start(std::move(handler)); }
  ~LoopbackServer() {
    stopping_ = true;
    ::shutdown(listen_, SHUT_RDWR);
    ::close(listen_);
    if (thread_.joinable()) thread_.join();
  }
  void start(Handler handler) {
    handler_ = std::move(handler);
    thread_ = std::thread([this] { serve(); });
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<TestRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  int64_t count(const std::string& method, const std::string& part) const {
    int64_t n = 0;
    for (const auto& r : requests())
      n += r.method == method && r.path.find(part) != std::string::npos;
    return n;
  }

 private:
  void serve() {
    while (!stopping_) {
      const int fd = ::accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      answer(fd);
      ::shutdown(fd, SHUT_WR);
      ::close(fd);
    }
  }
  void answer(int fd) {
    std::string text;
    char buffer[4096];
    while (text.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) return;
      text.append(buffer, static_cast<size_t>(n));
    }
    TestRequest request;
    request.method = text.substr(0, text.find(' '));
    const auto path = text.find(' ') + 1;
    request.path = text.substr(path, text.find(' ', path) - path);
    for (size_t at = text.find("\r\n") + 2; at < text.size();) {
      const size_t end = text.find("\r\n", at);
      const std::string line = text.substr(at, end - at);
      if (line.empty()) break;
      const auto colon = line.find(':');
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      request.headers[name] = line.substr(std::min(line.size(), colon + 2));
      at = end + 2;
    }
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const TestResponse response = handler_(request);
    if (response.status == 0) return;  // closes without a word
    std::string out = "HTTP/1.1 " + std::to_string(response.status) +
                      " x\r\nConnection: close\r\nContent-Length: " +
                      response.length.value_or(std::to_string(response.body.size())) + "\r\n";
    for (const auto& [name, value] : response.headers) out += name + ": " + value + "\r\n";
    out += "\r\n";
    if (request.method != "HEAD")
      out += response.body.substr(0, response.cut.value_or(response.body.size()));
    for (size_t sent = 0; sent < out.size();) {
      const ssize_t n = ::send(fd, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += static_cast<size_t>(n);
    }
  }

  int listen_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  Handler handler_;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::vector<TestRequest> requests_;
};

}  // namespace halftone::files::testing_files
