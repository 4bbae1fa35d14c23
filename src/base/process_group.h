// libtorch's c10d behind a plain header: a store where processes meet, and sums over them. Gloo for processor memory,
// NCCL for GPU memory where libtorch was built with it. Errors are those of c10d, as std::exception.
#pragma once

#include "base/process_environment.h"

#include <chrono>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace introspect {

class ProcessGroup {
 public:
  // Process 0 serves the store, unless it is a file or torchrun serves one.
  ProcessGroup(const ProcessEnvironment& environment, std::chrono::milliseconds timeout);
  ~ProcessGroup();

  void put(const std::string& key, const std::string& value);
  bool get(const std::string& key, std::string& value);  // false: nobody has put it yet

  // Connects all with all; each must be there already.
  void connect(const ProcessEnvironment& environment);
  void sum(at::Tensor tensor);                   // in place
  void broadcast_from_first(at::Tensor tensor);  // in place

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace introspect
