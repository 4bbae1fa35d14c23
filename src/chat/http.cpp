#include "chat/http.h"

#include "base/error.h"
#include "base/progress.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <httplib.h>

namespace introspect {

namespace {

constexpr size_t kLargestReply = size_t{64} << 20;

std::string failure_text(httplib::Error error, const HttpTimes& times) {
  switch (error) {
    case httplib::Error::Connection:
      return "connection refused, or no such host";
    case httplib::Error::ConnectionTimeout:
      return fmt::format("no connection within {} seconds", times.connect_seconds);
    case httplib::Error::Read:
      return fmt::format("the connection broke, or no reply came within {} seconds", times.reply_seconds);
    case httplib::Error::Write:
      return "the connection broke while the request was sent";
    case httplib::Error::SSLConnection:
      return "no secure connection (is it a plain http:// server?)";
    case httplib::Error::SSLLoadingCerts:
      return "the system's certificates cannot be read";
    case httplib::Error::SSLServerVerification:
      return "the server's certificate is not valid";
    case httplib::Error::Canceled:
      return fmt::format("the reply has more than {} MiB", kLargestReply >> 20);
    default:
      return "the exchange failed: " + httplib::to_string(error);
  }
}

auto duration(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

}  // namespace

HttpAddress parse_http_address(const std::string& url) {
  const auto refuse = [&](const std::string& expected) {
    fail_usage("chat", fmt::format("endpoint: got '{}', expected {}", url, expected),
               "the base of an OpenAI-compatible server: http://localhost:8000/v1");
  };
  const size_t scheme = url.starts_with("http://") ? 7 : url.starts_with("https://") ? 8 : 0;
  if (scheme == 0) refuse("http://... or https://...");
  for (const char letter : url) {
    if (std::iscntrl(static_cast<unsigned char>(letter)) || letter == ' ') refuse("no blanks in it");
  }
  const size_t end = std::min(url.find('/', scheme), url.size());
  HttpAddress address{url.substr(0, end), url.substr(end)};
  const std::string host = address.origin.substr(scheme);
  if (host.find('@') != std::string::npos) {
    // not shown: it holds a password
    fail_usage("chat", "endpoint: the address holds a user name or password",
               "put a key into an environment variable and name that");
  }
  if (host.empty() || host.front() == ':') refuse("a host behind the //");
  if (address.path.find_first_of("?#") != std::string::npos || host.find_first_of("?#") != std::string::npos) {
    refuse("no ? or # in it");
  }
  const size_t bracket = host.find(']');  // an IPv6 address has colons of its own: [::1]:8000
  const size_t colon = host.find(':', bracket == std::string::npos ? 0 : bracket);
  if (colon != std::string::npos) {
    const std::string port = host.substr(colon + 1);
    if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos) {
      refuse("a port number behind the colon");
    }
  }
  while (address.path.ends_with('/')) address.path.pop_back();
  // People paste the whole address.
  constexpr std::string_view kCompletions = "/chat/completions";
  if (address.path.ends_with(kCompletions)) address.path.resize(address.path.size() - kCompletions.size());
  return address;
}

struct HttpConnection::Held {
  Held(const std::string& origin, const HttpTimes& given) : times(given), client(origin) {}
  HttpTimes times;
  httplib::Client client;
};

HttpConnection::HttpConnection(const std::string& origin, const HttpTimes& times)
    : held_(std::make_unique<Held>(origin, times)) {
  held_->client.set_connection_timeout(duration(times.connect_seconds));
  held_->client.set_read_timeout(duration(times.reply_seconds));
  held_->client.set_write_timeout(duration(times.reply_seconds));
  held_->client.set_keep_alive(true);
  held_->client.set_tcp_nodelay(true);  // head and body go in two writes: else each waits 40 ms for the other side
  held_->client.set_follow_location(false);
}

HttpConnection::~HttpConnection() = default;

HttpReply HttpConnection::post(const std::string& path, const std::map<std::string, std::string>& headers,
                               const std::string& body) {
  HttpReply reply;
  httplib::Request request;
  request.method = "POST";
  request.path = path;
  request.body = body;
  for (const auto& [name, value] : headers) request.set_header(name, value);
  request.content_receiver = [&](const char* bytes, size_t count, uint64_t, uint64_t) {
    if (reply.body.size() + count > kLargestReply) return false;
    reply.body.append(bytes, count);
    return true;
  };
  const httplib::Result result = held_->client.send(request);
  if (!result) {
    reply.failure = failure_text(result.error(), held_->times);
    reply.unreachable =
        result.error() == httplib::Error::Connection || result.error() == httplib::Error::ConnectionTimeout ||
        result.error() == httplib::Error::SSLConnection || result.error() == httplib::Error::SSLLoadingCerts ||
        result.error() == httplib::Error::SSLServerVerification;
    return reply;
  }
  reply.status = result->status;
  for (const auto& [name, value] : result->headers) {
    std::string lower = name;
    for (char& letter : lower) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    reply.headers[lower] = value;
  }
  return reply;
}

}  // namespace introspect
