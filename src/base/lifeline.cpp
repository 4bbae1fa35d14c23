#include "base/lifeline.h"

#include "base/error.h"
#include "base/progress.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace introspect {

namespace {

using std::chrono::milliseconds;

// A main thread that waits for the others is told by the broken collective; one that computes has so long to come by.
constexpr milliseconds kGrace(3000);

std::string reason(int code) {
  return std::system_category().message(code);
}

// A machine that loses its power closes no connection: the kernel asks it every few seconds instead.
void keep_alive(int socket) {
  const int on = 1, idle = 10, interval = 5, count = 3;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int milliseconds_until(Lifeline::Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Lifeline::Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 100));  // short, so that Ctrl-C is noticed
}

// Whether something can be read before the deadline.
bool readable(int socket, Lifeline::Clock::time_point deadline) {
  for (;;) {
    pollfd wait{socket, POLLIN, 0};
    if (::poll(&wait, 1, milliseconds_until(deadline)) > 0) return true;
    check_interrupt("distributed");
    if (Lifeline::Clock::now() >= deadline) return false;
  }
}

bool send_all(int socket, const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t count = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

// A line within the deadline; empty if there was none.
std::string read_line(int socket, Lifeline::Clock::time_point deadline) {
  std::string line;
  while (readable(socket, deadline)) {
    char c = 0;
    const ssize_t count = ::recv(socket, &c, 1, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || line.size() > 100) return {};
    if (c == '\n') return line;
    line += c;
  }
  return {};
}

// A socket; negative, with the reason in `why`, if nobody answers within a few seconds.
int try_to_connect(const std::string& host, int port, std::string& why) {
  addrinfo wanted = {}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  if (const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found); code != 0) {
    why = ::gai_strerror(code);
    return -1;
  }
  int socket = -1;
  const timeval patience{5, 0}, endless{0, 0};
  for (const addrinfo* each = found; each && socket < 0; each = each->ai_next) {
    socket = ::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) continue;
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // also of connect()
    if (::connect(socket, each->ai_addr, each->ai_addrlen) == 0) {
      ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &endless, sizeof endless);
      continue;
    }
    why = reason(errno);
    ::close(socket);
    socket = -1;
  }
  ::freeaddrinfo(found);
  return socket;
}

int connect_to(const std::string& host, int port) {
  std::string why;
  const int socket = try_to_connect(host, port, why);
  if (socket < 0) fail("distributed", fmt::format("cannot connect to process 0 at {}:{}: {}", host, port, why));
  return socket;
}

// One line, whatever the message holds.
std::string escaped(const std::string& text) {
  std::string line;
  for (const char c : text) line += c == '\n' ? "\\n" : c == '\\' ? "\\\\" : std::string(1, c);
  return line;
}
std::string unescaped(const std::string& line) {
  std::string text;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\' || i + 1 == line.size()) {
      text += line[i];
    } else {
      text += line[++i] == 'n' ? '\n' : line[i];
    }
  }
  return text;
}

}  // namespace

Lifeline::~Lifeline() {
  if (thread_.joinable()) leave(Ending::failed, "it ended without a word");
  for (const Peer& peer : peers_) ::close(peer.socket);
  for (const int descriptor : {listener_, wake_[0], wake_[1]}) {
    if (descriptor >= 0) ::close(descriptor);
  }
}

bool Lifeline::answers(const std::string& host, int port) {
  std::string why;
  const int socket = try_to_connect(host, port, why);
  if (socket >= 0) ::close(socket);
  return socket >= 0;
}

int Lifeline::listen() {
  // IPv6 that takes IPv4 too; a machine without IPv6 has the other alone
  listener_ = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 six = {};
  six.sin6_family = AF_INET6;
  socklen_t size = sizeof six;
  const int off = 0;
  if (listener_ >= 0) ::setsockopt(listener_, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (listener_ >= 0 && ::bind(listener_, reinterpret_cast<sockaddr*>(&six), sizeof six) == 0 &&
      ::listen(listener_, SOMAXCONN) == 0 && ::getsockname(listener_, reinterpret_cast<sockaddr*>(&six), &size) == 0) {
    return ntohs(six.sin6_port);
  }
  if (listener_ >= 0) ::close(listener_);
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in four = {};
  four.sin_family = AF_INET;
  size = sizeof four;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&four), sizeof four) != 0 ||
      ::listen(listener_, SOMAXCONN) != 0 || ::getsockname(listener_, reinterpret_cast<sockaddr*>(&four), &size) != 0) {
    fail("distributed", fmt::format("cannot listen on any port: {}", reason(errno)));
  }
  return ntohs(four.sin_port);
}

void Lifeline::meet(const World& world, const std::string& host, int port, Clock::time_point deadline) {
  world_ = world;
  if (world.rank > 0) {
    peers_.push_back({0, connect_to(host, port), false, false, {}});
    keep_alive(peers_[0].socket);
    send_all(peers_[0].socket, fmt::format("process {} of {}\n", world.rank, world.size));
    if (read_line(peers_[0].socket, deadline) != "go") {
      fail("distributed", fmt::format("process {} of {}: process 0 did not begin in time", world.rank, world.size),
           "not all processes came: see what process 0 says");
    }
    return;
  }
  std::vector<bool> there(static_cast<size_t>(world.size), false);
  there[0] = true;
  while (std::ssize(peers_) < world.size - 1) {
    if (!readable(listener_, deadline)) {
      std::string missing;
      for (size_t rank = 0; rank < there.size(); ++rank) {
        if (!there[rank]) missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
      }
      fail("distributed",
           fmt::format("{} of {} processes came in time; missing: {}", peers_.size() + 1, world.size, missing),
           "were all of them started, and can they reach this machine? INTROSPECT_CONNECT_SECONDS waits longer");
    }
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    // Whoever says anything else is no process of ours: a port scanner, or a job of yesterday.
    const std::string line = read_line(socket, std::min(deadline, Clock::now() + std::chrono::seconds(5)));
    int rank = 0;
    for (int r = 1; r < world.size && rank == 0; ++r) {
      if (line == fmt::format("process {} of {}", r, world.size) && !there[static_cast<size_t>(r)]) rank = r;
    }
    if (rank == 0) {
      ::close(socket);
      continue;
    }
    keep_alive(socket);
    there[static_cast<size_t>(rank)] = true;
    peers_.push_back({rank, socket, false, false, {}});
  }
  for (const Peer& peer : peers_) send_all(peer.socket, "go\n");
}

void Lifeline::watch(std::function<void(const std::string& message)> on_loss) {
  on_loss_ = std::move(on_loss);
  if (::pipe2(wake_, O_CLOEXEC) != 0) fail("distributed", fmt::format("cannot make a pipe: {}", reason(errno)));
  thread_ = std::thread([this] { run(); });
}

void Lifeline::run() {
  for (;;) {
    std::vector<pollfd> waits{{wake_[0], POLLIN, 0}};
    for (const Peer& peer : peers_) waits.push_back({peer.closed ? -1 : peer.socket, POLLIN, 0});
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[0].revents != 0) return;  // leave() was called
    for (size_t i = 0; i < peers_.size(); ++i) {
      if (waits[i + 1].revents != 0 && !hear(peers_[i])) peers_[i].closed = true;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (loss_.empty()) continue;
    const bool left = news_.wait_for(lock, kGrace, [&] { return leaving_; });
    if (!left) on_loss_(loss_);
    return;
  }
}

bool Lifeline::hear(Peer& peer) {
  char bytes[4096];
  const ssize_t count = ::recv(peer.socket, bytes, sizeof bytes, 0);
  if (count < 0 && errno == EINTR) return true;
  if (count <= 0) {
    // everybody ends once one was interrupted
    if (!peer.ended && !stopped_) lose(fmt::format("process {} of {} is gone", peer.rank, world_.size));
    return false;
  }
  peer.received.append(bytes, static_cast<size_t>(count));
  for (size_t end; (end = peer.received.find('\n')) != std::string::npos;) {
    const std::string line = peer.received.substr(0, end);
    peer.received.erase(0, end + 1);
    obey(peer, line);
  }
  return true;
}

// Lines: "done", "interrupted" and "lost <message>"; process 0 passes the last two on.
void Lifeline::obey(Peer& peer, const std::string& line) {
  if (line == "done") {
    peer.ended = true;
    const std::lock_guard<std::mutex> lock(mutex_);
    ++done_;
  } else if (line == "interrupted") {
    stopped_ = true;
    raise_interrupt();
    if (world_.rank == 0) tell(line, &peer);
  } else if (line.starts_with("lost ")) {
    peer.ended = true;
    lose(unescaped(line.substr(5)));
  }
  news_.notify_all();
}

void Lifeline::lose(const std::string& message) {
  if (world_.rank == 0) tell("lost " + escaped(message), nullptr);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (loss_.empty()) loss_ = message;
  }
  news_.notify_all();
}

void Lifeline::tell(const std::string& line, const Peer* except) {
  const std::lock_guard<std::mutex> lock(sending_);
  for (const Peer& peer : peers_) {
    if (&peer != except) send_all(peer.socket, line + "\n");
  }
}

void Lifeline::leave(Ending ending, const std::string& message) {
  if (!thread_.joinable()) return;
  if (ending == Ending::done) {
    // Nobody closes a connection over which another may still receive a last sum.
    tell("done", nullptr);
    std::unique_lock<std::mutex> lock(mutex_);
    news_.wait(lock, [&] { return done_ == std::ssize(peers_) || !loss_.empty() || stopped_; });
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    leaving_ = true;
  }
  news_.notify_all();
  const ssize_t ignored = ::write(wake_[1], "x", 1);
  (void)ignored;
  thread_.join();
  if (ending == Ending::interrupted) tell("interrupted", nullptr);
  if (ending == Ending::failed) {
    tell("lost " + escaped(fmt::format("process {} of {} failed: {}", world_.rank, world_.size, message)), nullptr);
  }
}

std::string Lifeline::loss(milliseconds patience) {
  std::unique_lock<std::mutex> lock(mutex_);
  news_.wait_for(lock, patience, [&] { return !loss_.empty() || stopped_.load(); });
  return loss_;
}

}  // namespace introspect
