#include "chat/rate_limit.h"

#include "base/progress.h"
#include "chat/clock.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <ctime>
#include <thread>

namespace introspect {

namespace {

class SystemClock : public Clock {
 public:
  double now() override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  // In short pieces: a wait of a minute must not outlive Ctrl-C.
  void sleep(double seconds) override {
    const double end = now() + seconds;
    for (double left = seconds; left > 0 && !interrupted(); left = end - now()) {
      std::this_thread::sleep_for(std::chrono::duration<double>(std::min(left, 0.1)));
    }
  }
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

RateLimit::RateLimit(int64_t requests_per_minute, int64_t tokens_per_minute)
    : seconds_per_request_(requests_per_minute > 0 ? 60.0 / static_cast<double>(requests_per_minute) : 0),
      seconds_per_token_(tokens_per_minute > 0 ? 60.0 / static_cast<double>(tokens_per_minute) : 0) {}

double RateLimit::book(double now, int64_t tokens) {
  double start = now;
  if (seconds_per_request_ > 0) start = std::max(start, next_request_);
  if (seconds_per_token_ > 0) start = std::max(start, next_token_);
  next_request_ = start + seconds_per_request_;
  next_token_ = start + seconds_per_token_ * static_cast<double>(tokens);
  return start - now;
}

void RateLimit::settle(int64_t booked_tokens, int64_t used_tokens) {
  next_token_ += seconds_per_token_ * static_cast<double>(used_tokens - booked_tokens);
}

void RateLimit::hold_until(double time) {
  held_until_ = std::max(held_until_, time);
}

double RateLimit::held(double now) const {
  return std::max(0.0, held_until_ - now);
}

double backoff_seconds(int attempt, double uniform) {
  return std::min(60.0, std::ldexp(1.0, std::min(attempt, 10))) * (0.5 + 0.5 * uniform);
}

std::optional<double> parse_retry_after(const std::string& text, double unix_time) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(seconds)) return std::max(0.0, seconds);
  std::tm date = {};
  const char* rest = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date);
  if (!rest || *rest != '\0') return std::nullopt;
  return std::max(0.0, static_cast<double>(::timegm(&date)) - unix_time);
}

}  // namespace introspect
