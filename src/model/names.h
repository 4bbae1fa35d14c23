// Where each family keeps its weights: the map between the members of Model and the names in a checkpoint.
// A family is added by one file <family>_names.cpp and one line in names.cpp.
#pragma once

#include "model/config.h"

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct Model;

struct WeightShape {
  std::string name;  // as in the checkpoint: "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;
};

struct NamedWeight {
  std::string name;
  std::vector<int64_t> shape;
  at::Tensor* tensor;
};

// Throws Error naming the families there are.
void check_family(const std::string& family, const std::string& label);

// Every weight that a checkpoint of this configuration must hold, in file order. Tied heads hold no lm_head.
std::vector<WeightShape> expected_weights(const ModelConfig& config);

// The same with the member each belongs to. `model.blocks` is resized to the configuration.
std::vector<NamedWeight> named_weights(Model& model);

// The linear layers of block `layer` by the last part of their names ("q_proj", ..., "down_proj"), with the full name
// in front of ".weight": what LoRA adapters attach to.
struct NamedLinear {
  std::string module;  // "q_proj"
  std::string name;    // "model.layers.0.self_attn.q_proj"
  struct Linear* linear;
};
std::vector<NamedLinear> named_linears(Model& model);

}  // namespace introspect
