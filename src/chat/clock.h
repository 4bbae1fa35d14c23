// Time as waiting code sees it, so that tests of waits need not wait.
#pragma once

namespace introspect {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual double now() = 0;                // seconds from any beginning, never backwards
  virtual void sleep(double seconds) = 0;  // returns early after Ctrl-C
};

Clock& system_clock();

}  // namespace introspect
