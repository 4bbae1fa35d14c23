// A connection from every process to process 0 that carries nothing but how a process ended. A process that is killed
// says nothing, but its connection closes: so the others know within a moment, whatever they wait for.
#pragma once

#include "base/distributed.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace introspect {

class Lifeline {
 public:
  using Clock = std::chrono::steady_clock;
  // Process 0 listens first, and tells the others its port by other means; then all call meet().
  Lifeline() = default;
  ~Lifeline();
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  static bool answers(const std::string& host, int port);  // somebody listens there
  int listen();                                            // returns the port, a free one
  // Until everybody is there. Throws Error after `deadline`, naming who is missing, and for Ctrl-C.
  void meet(const World& world, const std::string& host, int port, Clock::time_point deadline);
  // From here on a thread waits for news. `on_loss`: see join_processes.
  void watch(std::function<void(const std::string& message)> on_loss);
  // Tells the others and ends the thread; when done, after all the others are.
  void leave(Ending ending, const std::string& message);

  // How another process was lost, waiting for the news at most so long; empty if it was not.
  std::string loss(std::chrono::milliseconds patience);
  bool stopped() const { return stopped_; }  // another process ended by Ctrl-C

 private:
  struct Peer {
    int rank = 0, socket = -1;
    bool ended = false, closed = false;  // it has said how it ended; nothing more can come
    std::string received;
  };
  void run();
  bool hear(Peer& peer);  // false once there is nothing more to come
  void obey(Peer& peer, const std::string& line);
  void lose(const std::string& message);
  void tell(const std::string& line, const Peer* except);

  World world_;
  int listener_ = -1, wake_[2] = {-1, -1};
  std::vector<Peer> peers_;
  std::thread thread_;
  std::function<void(const std::string&)> on_loss_;
  std::mutex mutex_, sending_;
  std::condition_variable news_;
  std::string loss_;
  int64_t done_ = 0;  // peers that have ended well
  bool leaving_ = false;
  std::atomic<bool> stopped_ = false;
};

}  // namespace introspect
