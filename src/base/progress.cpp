#include "base/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

namespace introspect {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

std::recursive_mutex output_lock;  // say() may come from another thread while a bar is drawn
bool quiet_wanted = false;
bool line_open = false;  // a bar stands on the terminal's last line

bool quiet() {
  return quiet_wanted || std::getenv("INTROSPECT_QUIET") != nullptr;
}

// Standard error, asked each time: tests redirect it, and the question costs microseconds.
bool is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}
bool has_colours() {
  return is_terminal() && std::getenv("NO_COLOR") == nullptr;
}

int terminal_width() {
  winsize size = {};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

// One write a line, so that lines of several processes do not mix.
void put(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1000.0 * 86400) return "--:--";
  const auto whole = static_cast<int64_t>(std::lround(std::max(seconds, 0.0)));
  if (whole >= 86400) return fmt::format("{}d {:02}h", whole / 86400, whole / 3600 % 24);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{:02}:{:02}", whole / 60, whole % 60);
}

std::string count_text(int64_t count) {
  std::string digits = std::to_string(count);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

std::string rate_text(double rate, const std::string& unit) {
  const std::string number = rate >= 1000 ? count_text(std::llround(rate)) : fmt::format("{:.3g}", rate);
  return unit.empty() ? number + "/s" : fmt::format("{} {}/s", number, unit);
}

// Cuts to `columns` characters, never within one. Wide characters count as one: a title of ours has none.
std::string fitted(const std::string& text, int columns) {
  int used = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (begins && used++ == columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

void set_quiet(bool quiet) {
  quiet_wanted = quiet;
}

void say(std::string_view line) {
  if (quiet()) return;
  const std::lock_guard lock(output_lock);
  // The bar is wiped; it comes back with its next step.
  put(fmt::format("{}{}\n", line_open ? "\r\033[K" : "", line));
  line_open = false;
}

Progress::Progress(std::string title, int64_t total, std::string unit)
    : title_(std::move(title)), unit_(std::move(unit)), total_(total), start_(Clock::now()), shown_(start_) {}

Progress::~Progress() {
  finish();
}

void Progress::advance(int64_t count) {
  if (first_ < 0) first_ = done_;
  set(done_ + count);
}

void Progress::set(int64_t done) {
  // The first position that is set is where this run begins: what an earlier run did must not count into the rate.
  if (first_ < 0) first_ = done;
  done_ = done;
  if (finished_) return;
  const Clock::time_point now = Clock::now();
  const double since_start = Seconds(now - start_).count(), since_shown = Seconds(now - shown_).count();
  const bool due = is_terminal() ? since_shown > 0.1 : since_shown > 10;
  if (due && since_start > 1) show(false);
}

void Progress::note(std::string_view text) {
  note_ = text;
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (printed_ || Seconds(Clock::now() - start_).count() > 1) show(true);
}

void Progress::show(bool last) {
  shown_ = Clock::now();
  if (quiet()) return;
  const std::lock_guard lock(output_lock);
  const double elapsed = Seconds(shown_ - start_).count();
  const auto fresh = static_cast<double>(done_ - std::max<int64_t>(first_, 0));
  const double rate = elapsed > 0 ? fresh / elapsed : 0;
  const double share = total_ > 0 ? std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0) : 0;

  // "training  [#####.....]  50%  500/1,000  12 steps/s  left 00:41  | loss 2.31"
  std::string numbers = count_text(done_);
  if (total_ > 0) numbers = fmt::format("{:3.0f}%  {}/{}", std::floor(100 * share), numbers, count_text(total_));
  if (rate > 0) numbers += "  " + rate_text(rate, unit_);
  if (last) {
    numbers += "  took " + duration_text(elapsed);
  } else if (total_ > 0 && rate > 0) {
    numbers += "  left " + duration_text(static_cast<double>(total_ - done_) / rate);
  }
  if (!note_.empty()) numbers += "  | " + note_;

  printed_ = true;
  if (!is_terminal()) {
    put(fmt::format("{}  {}\n", title_, numbers));
    return;
  }
  const int width = terminal_width() - 1;  // the last column would wrap on some terminals
  constexpr int kBar = 20;
  const bool bar_fits = total_ > 0 && static_cast<int>(title_.size() + numbers.size()) + kBar + 6 <= width;
  std::string line = title_ + "  ";
  if (bar_fits) {
    const int filled = static_cast<int>(share * kBar);
    line += "[" + std::string(filled, '#') + std::string(kBar - filled, '.') + "]  ";
  }
  line = fitted(line + numbers, width);
  // The title in bold: codes go in after the cut, which counts visible characters.
  if (has_colours() && line.size() > title_.size()) line = "\033[1m" + title_ + "\033[0m" + line.substr(title_.size());
  put(fmt::format("\r\033[K{}{}", line, last ? "\n" : ""));
  line_open = !last;
}

}  // namespace introspect
