// Where each family keeps its weights: the map between the members of Model and the names in a checkpoint.
// docs/ADDING_A_MODEL.md says how a family is added.
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
  std::vector<int64_t> shape;  // as in the checkpoint
  at::Tensor* tensor;
  bool transposed = false;  // the checkpoint holds [in, out] (GPT-2's Conv1D); the member is [out, in] as everywhere
};

// Throws Error naming the families there are.
void check_family(const std::string& family, const std::string& label);

// What a family is beyond its values in ModelConfig.
struct Family {
  const char* name;          // config.json's "model_type"
  const char* architecture;  // config.json's "architectures"
  // From and to config.json, but for what every family has (model_type, tokens, stored type).
  void (*read_config)(const Json& json, const std::string& label, ModelConfig& config);
  void (*write_config)(const ModelConfig& config, Json& json);
  std::vector<NamedWeight> (*weights)(Model&);
  std::vector<struct NamedLinear> (*linears)(Model&);
  // How names end of tensors that are no weights: tables and masks that some checkpoints store.
  std::vector<std::string> buffers;
  // First values other than create_model's own, by the names of the weights; null where there are none.
  void (*initialise)(Model&, uint64_t seed) = nullptr;
};
const Family& family_of(const ModelConfig& config);

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
  bool transposed = false;  // in the checkpoint; PEFT calls it fan_in_fan_out
};
std::vector<NamedLinear> named_linears(Model& model);
// The distinct last parts of those names: every target that an adapter of this family may have.
std::vector<std::string> linear_modules(const ModelConfig& config);

// For the maps: a linear layer's weight [out, in], and its bias if it has one.
void add_linear(std::vector<NamedWeight>& weights, const std::string& name, struct Linear& linear, int64_t out,
                int64_t in, bool bias);
// A norm's weight [size], and its bias if `bias` is given.
void add_norm(std::vector<NamedWeight>& weights, const std::string& name, at::Tensor& weight, at::Tensor* bias,
              int64_t size);

}  // namespace introspect
