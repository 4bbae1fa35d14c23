// RWKV-7 in the layout of flash-linear-attention (RWKV7ForCausalLM, fla-hub): config.json, weights, first values.
#include "base/error.h"
#include "model/config_parts.h"
#include "model/families.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Some checkpoints list a width for every layer; only equal ones are what is computed here.
void check_value_dim(const Json& json, const std::string& label, int64_t d_model) {
  const auto found = json.find("value_dim");
  if (found == json.end() || found->is_null()) return;
  const auto widths = found->is_array() ? json_get<std::vector<int64_t>>(json, "value_dim", label)
                                        : std::vector{json_get<int64_t>(json, "value_dim", label)};
  for (int64_t width : widths) {
    if (width != d_model) {
      fail("config", fmt::format("value_dim: got {}, expected hidden_size {} ({})", width, d_model, label));
    }
  }
}

// The layer's mixes and its members by the names behind "model.layers.{i}.".
std::vector<std::pair<const char*, at::Tensor*>> mixes(Rwkv7& own) {
  return {{"attn.x_r", &own.mix_query}, {"attn.x_w", &own.mix_decay}, {"attn.x_k", &own.mix_key},
          {"attn.x_v", &own.mix_value}, {"attn.x_a", &own.mix_rate},  {"attn.x_g", &own.mix_gate}};
}

std::vector<std::pair<const char*, Linear*>> projections(Block& block) {
  return {{"attn.r_proj", &block.query},  {"attn.k_proj", &block.key}, {"attn.v_proj", &block.value},
          {"attn.o_proj", &block.output}, {"ffn.key", &block.up},      {"ffn.value", &block.down}};
}

}  // namespace

void read_rwkv7(const Json& json, const std::string& label, ModelConfig& config) {
  config.mixer = Mixer::rwkv7;
  config.d_model = read_size(json, "hidden_size", label);
  config.layers = read_size(json, "num_hidden_layers", label);
  config.head_dim = read_size_or(json, "head_dim", 64, label);
  config.heads = config.kv_heads = config.d_model / config.head_dim;
  if (config.d_model % config.head_dim != 0) {
    fail("config", fmt::format("head_dim: got {}, expected a divisor of hidden_size {} ({})", config.head_dim,
                               config.d_model, label));
  }
  check_value_dim(json, label, config.d_model);
  // without the key, the ratio's width rounded up to a multiple of 32
  const double wide = json_get_or<double>(json, "hidden_ratio", 4.0, label) * static_cast<double>(config.d_model);
  config.d_mlp = read_size_or(json, "intermediate_size", (static_cast<int64_t>(wide) + 31) / 32 * 32, label);
  config.max_positions = unlimited_positions;
  config.norm_epsilon = json_get_or<double>(json, "norm_eps", 1e-5, label);
  config.norm = NormKind::layer;
  config.norm_bias = json_get_or<bool>(json, "norm_bias", true, label);
  config.embedding_norm = json_get_or<bool>(json, "norm_first", true, label);
  config.rotary_fraction = 0;
  config.gated_mlp = false;
  config.activation = Activation::squared_relu;
  config.tied_embeddings = json_get_or<bool>(json, "tie_word_embeddings", false, label);
  const std::string activation = json_get_or<std::string>(json, "hidden_act", "sqrelu", label);
  if (activation != "sqrelu") {
    fail("config", fmt::format("hidden_act: got '{}', expected sqrelu for rwkv7 ({})", activation, label));
  }
  if (const auto attention = json.find("attn"); attention != json.end() && !attention->is_null()) {
    fail("config", fmt::format("attn: layers with attention among RWKV-7's are not supported ({})", label));
  }
  config.recurrence.decay_rank = read_size(json, "decay_low_rank_dim", label);
  config.recurrence.rate_rank = read_size(json, "a_low_rank_dim", label);
  config.recurrence.value_rank = read_size(json, "v_low_rank_dim", label);
  config.recurrence.gate_rank = read_size(json, "gate_low_rank_dim", label);
}

void write_rwkv7(const ModelConfig& config, Json& json) {
  json["hidden_size"] = config.d_model;
  json["num_hidden_layers"] = config.layers;
  json["head_dim"] = config.head_dim;
  json["num_heads"] = config.heads;
  json["value_dim"] = std::vector<int64_t>(static_cast<size_t>(config.layers), config.d_model);
  json["intermediate_size"] = config.d_mlp;
  json["hidden_ratio"] = static_cast<double>(config.d_mlp) / static_cast<double>(config.d_model);
  json["hidden_act"] = "sqrelu";
  json["norm_eps"] = config.norm_epsilon;
  json["norm_bias"] = config.norm_bias;
  json["norm_first"] = config.embedding_norm;
  json["decay_low_rank_dim"] = config.recurrence.decay_rank;
  json["a_low_rank_dim"] = config.recurrence.rate_rank;
  json["v_low_rank_dim"] = config.recurrence.value_rank;
  json["gate_low_rank_dim"] = config.recurrence.gate_rank;
  json["attn"] = nullptr;
  json["attn_mode"] = "chunk";
}

std::vector<NamedWeight> rwkv7_weights(Model& model) {
  const ModelConfig& c = model.config;
  const int64_t D = c.d_model;
  std::vector<NamedWeight> weights;
  const auto norm = [&](const std::string& name, at::Tensor& weight, at::Tensor& bias) {
    add_norm(weights, name, weight, c.norm_bias ? &bias : nullptr, D);
  };
  weights.push_back({"model.embeddings.weight", {c.vocab_size, D}, &model.embedding});
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    Block& block = model.blocks[layer];
    Rwkv7& own = block.rwkv7;
    const std::string prefix = fmt::format("model.layers.{}.", layer), attention = prefix + "attn.";
    // the norm behind the embeddings is stored with layer 0
    if (layer == 0 && c.embedding_norm) norm(prefix + "pre_norm", model.embedding_norm, model.embedding_norm_bias);
    norm(prefix + "attn_norm", block.attention_norm, block.attention_norm_bias);
    for (const auto& [name, mix] : mixes(own)) weights.push_back({prefix + name, {1, 1, D}, mix});
    for (const auto& [name, linear] : projections(block)) {
      const bool up = linear == &block.up, down = linear == &block.down;
      add_linear(weights, prefix + name, *linear, up ? c.d_mlp : D, down ? c.d_mlp : D, false);
    }
    const auto low_rank = [&](const std::string& name, LowRank& pair, int64_t rank, bool bias) {
      add_linear(weights, attention + name + ".lora.0", pair.down, rank, D, false);
      add_linear(weights, attention + name + ".lora.2", pair.up, D, rank, bias);
    };
    low_rank("w_lora", own.decay, c.recurrence.decay_rank, true);
    low_rank("a_lora", own.rate, c.recurrence.rate_rank, true);
    if (layer > 0) low_rank("v_lora", own.value, c.recurrence.value_rank, true);
    low_rank("g_lora", own.gate, c.recurrence.gate_rank, false);
    weights.push_back({attention + "k_k", {D}, &own.removal_key});
    weights.push_back({attention + "k_a", {D}, &own.key_rate});
    weights.push_back({attention + "r_k", {c.heads, c.head_dim}, &own.bonus});
    norm(attention + "g_norm", own.out_norm, own.out_norm_bias);
    norm(prefix + "ffn_norm", block.mlp_norm, block.mlp_norm_bias);
    weights.push_back({prefix + "ffn.x_k", {D}, &own.mlp_mix});
  }
  norm("model.norm", model.final_norm, model.final_norm_bias);
  if (!c.tied_embeddings) weights.push_back({"lm_head.weight", {c.vocab_size, D}, &model.head});
  return weights;
}

// The low-rank layers are left alone: their modules are called "0" and "2", which names nothing.
std::vector<NamedLinear> rwkv7_linears(Model& model) {
  std::vector<NamedLinear> linears;
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    for (const auto& [name, linear] : projections(model.blocks[layer])) {
      const std::string module = std::string(name).substr(std::string(name).find('.') + 1);
      linears.push_back({module, fmt::format("model.layers.{}.{}", layer, name), linear});
    }
  }
  return linears;
}

// After the authors' code: early channels and deep layers see less of the position before, decays are spread from slow
// to fast.
void initialise_rwkv7(Model& model, uint64_t) {
  const ModelConfig& c = model.config;
  const double layers = static_cast<double>(c.layers);
  const at::Tensor channel = at::arange(c.d_model).to(at::kFloat) / static_cast<double>(c.d_model);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    Block& block = model.blocks[layer];
    Rwkv7& own = block.rwkv7;
    const double depth = static_cast<double>(layer) / std::max(1.0, layers - 1);
    const double left = 1 - static_cast<double>(layer) / layers;
    const auto mix = [&](double power, double less) {
      return (1 - (channel.pow(power * left) + less * depth)).view({1, 1, -1});
    };
    own.mix_query = mix(0.2, 0);
    own.mix_decay = mix(0.9, 0);
    own.mix_key = mix(0.9, 0.4);
    own.mix_value = mix(0.4, 0.6);
    own.mix_rate = mix(0.9, 0);
    own.mix_gate = mix(0.2, 0);
    own.decay.up.bias = -6.5 + 5 * channel.pow(0.85 + std::sqrt(depth));
    own.removal_key = at::full({c.d_model}, 0.85);
    own.key_rate = at::ones({c.d_model});
    own.bonus = at::zeros({c.heads, c.head_dim});
    own.mlp_mix = 1 - channel.pow(std::pow(left, 4));
    if (layer > 0) own.value.up.bias = at::ones({c.d_model});
  }
}

}  // namespace introspect
