// The state of a training run in one file: tensors, and a JSON text for everything else. Written atomically,
// and of several processes by the first alone.
#pragma once

#include "base/json.h"

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace introspect {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

void save_training_state(const fs::path& file, const NamedTensors& tensors, const Json& state);

// Of several processes all must go on from the same step. Throws Error if this one has another than the first: its
// checkpoint is not the first one's.
void check_same_step(int64_t step, const fs::path& checkpoint);

struct TrainingState {
  NamedTensors tensors;
  Json state;
  // Copies the stored values into tensors of the same names. Throws Error for a missing name or another shape.
  void copy_into(const NamedTensors& wanted, const std::string& prefix) const;
};
TrainingState load_training_state(const fs::path& file);

}  // namespace introspect
