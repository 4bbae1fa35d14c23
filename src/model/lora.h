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
  // Modules of the model's family (linear_modules in names.h lists them all); these are Llama's, Qwen's and Gemma's.
  std::vector<std::string> targets = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
};

// Puts fresh factors on every target linear of every block: A uniform as PEFT draws it (kaiming, a = sqrt 5), B zero.
// Throws Error for a target that no linear has.
void add_lora(Model& model, const LoraConfig& config, uint64_t seed);

// Reads an adapter and puts it on the model in place of any other; the model is unchanged on an Error. Throws Error for
// any key that matches no linear, a shape that does not fit, and settings that would change the result and are not
// supported (dora, bias, rank patterns, modules to save).
LoraConfig load_lora(Model& model, const fs::path& folder);
void save_lora(const Model& model, const LoraConfig& config, const fs::path& folder, const std::string& base_model);

void remove_lora(Model& model);
void merge_lora(Model& model);  // adds scale * B A to the weights and removes the factors

// The factors with their PEFT names, for the optimiser.
std::vector<std::pair<std::string, at::Tensor>> lora_parameters(Model& model);

}  // namespace introspect
