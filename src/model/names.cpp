#include "model/names.h"

#include "base/error.h"
#include "model/families.h"
#include "model/model.h"

#include <algorithm>

namespace introspect {

namespace {

const std::string rotary_table = "rotary_emb.inv_freq";

const std::vector<Family>& families() {
  static const std::vector<Family> list = {
      {"llama", "LlamaForCausalLM", read_llama, write_llama, llama_weights, llama_linears, {rotary_table}},
      {"mistral", "MistralForCausalLM", read_mistral, write_mistral, llama_weights, llama_linears, {rotary_table}},
      {"qwen2", "Qwen2ForCausalLM", read_qwen2, write_qwen2, llama_weights, llama_linears, {rotary_table}},
      {"qwen3", "Qwen3ForCausalLM", read_qwen3, write_llama, llama_weights, llama_linears, {rotary_table}},
      {"gemma2", "Gemma2ForCausalLM", read_gemma2, write_gemma2, llama_weights, llama_linears, {rotary_table}},
      {"gpt2",
       "GPT2LMHeadModel",
       read_gpt2,
       write_gpt2,
       gpt2_weights,
       gpt2_linears,
       {".attn.bias", ".attn.masked_bias"}},
      {"gpt_neox",
       "GPTNeoXForCausalLM",
       read_gpt_neox,
       write_gpt_neox,
       gpt_neox_weights,
       gpt_neox_linears,
       {rotary_table, ".attention.bias", ".attention.masked_bias"}},
      {"mamba", "MambaForCausalLM", read_mamba, write_mamba, mamba_weights, mamba_linears, {}, initialise_mamba},
      {"rwkv7", "RWKV7ForCausalLM", read_rwkv7, write_rwkv7, rwkv7_weights, rwkv7_linears, {}, initialise_rwkv7},
  };
  return list;
}

}  // namespace

const Family& family_of(const ModelConfig& config) {
  for (const Family& family : families()) {
    if (config.family == family.name) return family;
  }
  fail("config", fmt::format("model_type: '{}' is not supported", config.family));
}

void check_family(const std::string& name, const std::string& label) {
  std::string known;
  for (const Family& family : families()) {
    if (name == family.name) return;
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  fail("config", fmt::format("model_type: got '{}', expected one of {} ({})", name, known, label),
       "docs/ADDING_A_MODEL.md says how a family is added");
}

std::vector<NamedWeight> named_weights(Model& model) {
  model.blocks.resize(model.config.layers);
  return family_of(model.config).weights(model);
}

std::vector<NamedLinear> named_linears(Model& model) {
  return family_of(model.config).linears(model);
}

std::vector<WeightShape> expected_weights(const ModelConfig& config) {
  Model model;
  model.config = config;
  std::vector<WeightShape> shapes;
  for (NamedWeight& weight : named_weights(model)) shapes.push_back({weight.name, weight.shape});
  return shapes;
}

std::vector<std::string> linear_modules(const ModelConfig& config) {
  Model model;
  model.config = config;
  model.blocks.resize(config.layers);
  std::vector<std::string> modules;
  for (const NamedLinear& named : named_linears(model)) {
    if (std::find(modules.begin(), modules.end(), named.module) == modules.end()) modules.push_back(named.module);
  }
  return modules;
}

void add_linear(std::vector<NamedWeight>& weights, const std::string& name, Linear& linear, int64_t out, int64_t in,
                bool bias) {
  weights.push_back({name + ".weight", {out, in}, &linear.weight});
  if (bias) weights.push_back({name + ".bias", {out}, &linear.bias});
}

void add_norm(std::vector<NamedWeight>& weights, const std::string& name, at::Tensor& weight, at::Tensor* bias,
              int64_t size) {
  weights.push_back({name + ".weight", {size}, &weight});
  if (bias) weights.push_back({name + ".bias", {size}, bias});
}

}  // namespace introspect
