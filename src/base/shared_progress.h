// One line of progress for several jobs that run at once.
#pragma once

#include "base/progress.h"

#include <mutex>

namespace introspect {

class SharedProgress {
 public:
  SharedProgress(const std::string& title, int64_t total, const std::string& unit) : progress_(title, total, unit) {}
  void advance(int64_t count, const std::string& note) {
    const std::lock_guard<std::mutex> lock(mutex_);
    progress_.note(note);
    progress_.advance(count);
  }
  void finish() { progress_.finish(); }

 private:
  std::mutex mutex_;
  Progress progress_;
};

}  // namespace introspect
