#include "train/checkpoint.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/safetensors.h"

#include <algorithm>

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

void save_training_state(const fs::path& file, const NamedTensors& tensors, const Json& state) {
  if (!first_process()) return;  // all have the same weights
  NamedTensors detached;
  for (const auto& [name, tensor] : tensors) detached.emplace_back(name, tensor.detach());
  fs::create_directories(file.parent_path());
  write_safetensors(file, detached, {{"state", state.dump()}});
}

void check_same_step(int64_t step, const fs::path& checkpoint) {
  const std::string first = from_first_process(std::to_string(step));
  if (first == std::to_string(step)) return;
  fail("checkpoint",
       fmt::format("this process would go on from step {}, the first from {} ({})", step, first, checkpoint.string()),
       "the processes need a file system that all of them see");
}

TrainingState load_training_state(const fs::path& file) {
  const Safetensors stored(file);
  TrainingState result;
  const auto found = stored.metadata().find("state");
  if (found == stored.metadata().end()) {
    fail("checkpoint", fmt::format("no 'state' in the metadata ({})", file.string()), "it is no training checkpoint");
  }
  result.state = parse_json(found->second, file.string());
  for (const auto& [name, info] : stored.tensors()) result.tensors.emplace_back(name, stored.get(name));
  return result;
}

void TrainingState::copy_into(const NamedTensors& wanted, const std::string& prefix) const {
  c10::NoGradGuard guard;
  for (const auto& [name, tensor] : wanted) {
    const auto found = std::find_if(tensors.begin(), tensors.end(), [&, &short_name = name](const auto& each) {
      return each.first == prefix + short_name;
    });
    if (found == tensors.end() || found->second.sizes() != tensor.sizes()) {
      fail("checkpoint", fmt::format("'{}' is missing or has another shape", prefix + name),
           "the checkpoint belongs to another run; remove it to start afresh");
    }
    at::Tensor target = tensor;
    target.copy_(found->second);
  }
}

}  // namespace introspect
