// One HTTP or HTTPS connection. The one place that knows the library behind it (cpp-httplib, whose header is slow to
// compile).
#pragma once

#include <map>
#include <memory>
#include <string>

namespace introspect {

// "http://localhost:8000/v1" in parts. User and password in it are an Error: a command line is no place for them.
struct HttpAddress {
  std::string origin;  // "http://localhost:8000"
  std::string path;    // "/v1", without a slash at its end; may be empty
};
HttpAddress parse_http_address(const std::string& url);  // throws Error(usage)

struct HttpReply {
  int status = 0;            // 0: none came; `failure` says why
  std::string failure;       // "connection refused or host unknown", "no reply within the time"
  bool unreachable = false;  // no connection was made at all
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case
};

struct HttpTimes {
  double connect_seconds = 10, reply_seconds = 120;
};

// For one thread. Connections are kept open between posts. Certificates are checked against the system's (or the file
// that SSL_CERT_FILE names).
class HttpConnection {
 public:
  HttpConnection(const std::string& origin, const HttpTimes& times);
  ~HttpConnection();
  // Redirects are not followed: they would take the key elsewhere. A reply of more than 64 MiB is a failure.
  HttpReply post(const std::string& path, const std::map<std::string, std::string>& headers, const std::string& body);

 private:
  struct Held;
  std::unique_ptr<Held> held_;
};

}  // namespace introspect
