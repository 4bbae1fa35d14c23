#include "base/error.h"
#include "base/progress.h"

#include <csignal>
#include <cstring>
#include <unistd.h>

namespace introspect {

namespace {

volatile std::sig_atomic_t raised = 0;  // by a signal
volatile std::sig_atomic_t told = 0;    // by another process: the signal may still come, and is then the first
volatile std::sig_atomic_t announced = 1;

// Only what a signal handler may do: set the flag, and write one line with write(2).
void handle(int signal) {
  if (raised) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);  // delivered when this handler returns: the process ends as if there had been no handler
    return;
  }
  raised = 1;
  if (!announced) return;
  constexpr char text[] = "\nstopping after the current step (once more to stop at once)\n";
  const ssize_t ignored = ::write(STDERR_FILENO, text, sizeof text - 1);
  (void)ignored;
}

}  // namespace

void install_interrupt_handler(bool announce) {
  announced = announce;
  struct sigaction action = {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // system calls of libraries go on; the flag is looked at between steps
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void raise_interrupt() {
  told = 1;
}

bool interrupted() {
  return raised != 0 || told != 0;
}

void check_interrupt(std::string_view where) {
  if (interrupted()) {
    throw Error(ErrorKind::interrupted, where, "interrupted", "run the same command again: it goes on from here");
  }
}

}  // namespace introspect
