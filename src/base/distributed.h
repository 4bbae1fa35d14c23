// Several processes that do one piece of work together: who they are, and what they tell each other.
//
// They are started by torchrun, mpirun, srun or 'introspect launch' and know of each other by environment variables
// (process_environment.h). Without these there is a world of one process: nothing is set up, and every function below
// returns at once. Processes are counted from 0; process 0 alone prints and writes.
//
// All functions that exchange something must be called by every process, in the same order, from one thread. They throw
// Error if another process has failed or is gone, and Error(interrupted) if it was stopped by Ctrl-C.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct World {
  int rank = 0, size = 1;              // which process, of how many
  int local_rank = 0, local_size = 1;  // the same among those of this machine
};
const World& current_world();
inline bool first_process() {
  return current_world().rank == 0;
}

// Meets the other processes that the environment speaks of and watches them from a thread of its own. `on_loss` is
// called from that thread, with a message, if one of them fails while this process is busy for longer than a few
// seconds: it should print and end the process at once. Throws Error if the others do not come within
// INTROSPECT_CONNECT_SECONDS (default 120).
void join_processes(std::function<void(const std::string& message)> on_loss);
// The last thing a process does: tells the others how it ended, so that they do not wait for it.
enum class Ending { done, interrupted, failed };
void leave_processes(Ending ending, const std::string& message = {});

// Sums over all processes, in place. Gathered in large buckets and summed in float32, whatever the tensors' type.
void sum_over_processes(const std::vector<at::Tensor>& tensors);
double sum_over_processes(double value);
std::vector<double> sum_over_processes(std::vector<double> values);
std::string from_first_process(const std::string& text);  // what process 0 gave
void wait_for_processes();
// Whether Ctrl-C has reached any process; then it counts for all of them. For loops that save and stop together.
bool interrupted_together();

// This process's share of a list: every size-th item, in order.
template <class Item>
std::vector<Item> share_of(const std::vector<Item>& items) {
  if (current_world().size == 1) return items;
  std::vector<Item> mine;
  for (size_t i = current_world().rank; i < items.size(); i += current_world().size) mine.push_back(items[i]);
  return mine;
}

}  // namespace introspect
