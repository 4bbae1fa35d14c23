// The state of a training run in one file: tensors, and a JSON text for everything else. Written atomically.
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

struct TrainingState {
  NamedTensors tensors;
  Json state;
  // Copies the stored values into tensors of the same names. Throws Error for a missing name or another shape.
  void copy_into(const NamedTensors& wanted, const std::string& prefix) const;
};
TrainingState load_training_state(const fs::path& file);

}  // namespace introspect
