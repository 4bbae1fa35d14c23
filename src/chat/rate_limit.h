// When requests may begin, so that an endpoint's limits a minute are kept; and how long to wait after a failure. Pure
// arithmetic on seconds that the caller gives.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace introspect {

// Requests are spread evenly: one of a limit of 60 a minute begins a second after the one before, so that no window of
// a minute holds more than the limit and one. Tokens likewise: after a request of a tenth of the limit nothing begins
// for six seconds.
class RateLimit {
 public:
  RateLimit(int64_t requests_per_minute, int64_t tokens_per_minute);  // 0: no limit

  // Books a request of about so many tokens; returns in how many seconds from `now` it may begin.
  double book(double now, int64_t tokens);
  // Puts the tokens right once they are known.
  void settle(int64_t booked_tokens, int64_t used_tokens);

  // Nothing begins before this time (Retry-After). held() is how many seconds of it are left.
  void hold_until(double time);
  double held(double now) const;

 private:
  double seconds_per_request_, seconds_per_token_;
  double next_request_ = 0, next_token_ = 0, held_until_ = 0;
};

// After the `attempt`-th failure (from 0): 1, 2, 4, ... seconds, 60 at most, times 0.5 to 1 by `uniform` in [0, 1), so
// that several that failed at once do not come back at once.
double backoff_seconds(int attempt, double uniform);

// The header Retry-After: seconds ("2", "1.5") or an HTTP date, which is compared with `unix_time`. Empty where there
// is none to be read; never negative.
std::optional<double> parse_retry_after(const std::string& text, double unix_time);

}  // namespace introspect
