// Progress with time left, and Ctrl-C that keeps the work.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace introspect {

// On a terminal one line that is rewritten in place; elsewhere a plain line every ten seconds and one at the end.
// Written to standard error. Nothing is printed for work that ends within a second. Quiet if INTROSPECT_QUIET is set
// or set_quiet(true) was called.
class Progress {
 public:
  Progress(std::string title, int64_t total, std::string unit = "");
  ~Progress();
  void advance(int64_t count = 1);
  void set(int64_t done);            // absolute position; before the first advance(): where resumed work begins
  void note(std::string_view text);  // shown behind the bar: "loss 2.31 | 4,100 tokens/s"
  void finish();

 private:
  void show(bool last);
  std::string title_, unit_, note_;
  int64_t total_, done_ = 0, first_ = -1;
  std::chrono::steady_clock::time_point start_, shown_;
  bool finished_ = false, printed_ = false;
};

void set_quiet(bool quiet);
// One line on standard error, clear of a progress line ("warning: ..." and the like).
void say(std::string_view line);

// After install_interrupt_handler(), the first Ctrl-C (or SIGTERM) only raises a flag; a second one ends the process.
// `announce`: a line says so.
void install_interrupt_handler(bool announce = true);
void raise_interrupt();  // as if Ctrl-C had come: another process was told to stop
bool interrupted();
// Throws Error(interrupted) if the flag is up. Long loops call it where their state can be saved, after saving.
void check_interrupt(std::string_view where);

}  // namespace introspect
