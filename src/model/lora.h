// LoRA adapters in PEFT's layout: adapter_config.json and adapter_model.safetensors with
// base_model.model.<linear>.lora_A.weight [rank, in] and lora_B.weight [out, rank].
#pragma once

#include "model/model.h"

#include <string>
#include <utility>
#include <vector>

namespace introspect {

struct LoraConfig {
  int64_t rank = 16;
  double alpha = 16;
  double dropout = 0;
  std::vector<std::string> targets;  // modules of the model's family; empty: all that linear_modules (names.h) lists
};
// With the targets that an empty list stands for.
LoraConfig resolve_targets(LoraConfig config, const ModelConfig& model);

// Puts fresh factors on every target linear of every block: A uniform as PEFT draws it (kaiming, a = sqrt 5), B zero.
// Throws Error for a target that no linear has.
void add_lora(Model& model, const LoraConfig& config, uint64_t seed);

// Reads an adapter and puts it on the model in place of any other; the model is unchanged on an Error. Throws Error for
// any key that matches no linear, a shape that does not fit, and settings that would change the result and are not
// supported (dora, bias, rank patterns). Where the adapter also holds the embedding and the head, whole, as PEFT stores
// them when tokens were added or they were trained, they take the model's place, with their number of rows: the
// published explainers of activation patching are so. remove_lora does not bring the old ones back.
LoraConfig load_lora(Model& model, const fs::path& folder);
void save_lora(const Model& model, const LoraConfig& config, const fs::path& folder, const std::string& base_model);

void remove_lora(Model& model);
void merge_lora(Model& model);  // adds scale * B A to the weights and removes the factors

// The factors with their PEFT names, for the optimiser.
std::vector<std::pair<std::string, at::Tensor>> lora_parameters(Model& model);

}  // namespace introspect
