// GPT-2: config.json and weights. Linear layers are stored transposed (Conv1D); queries, keys and values are one of
// them, which stays one, so that adapters (on "c_attn") are PEFT's.
#include "base/error.h"
#include "model/config_parts.h"
#include "model/families.h"

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void add_transposed(std::vector<NamedWeight>& weights, const std::string& name, Linear& linear, int64_t out,
                    int64_t in) {
  weights.push_back({name + ".weight", {in, out}, &linear.weight, true});
  weights.push_back({name + ".bias", {out}, &linear.bias});
}

}  // namespace

void read_gpt2(const Json& json, const std::string& label, ModelConfig& config) {
  config.d_model = read_size(json, "n_embd", label);
  config.layers = read_size(json, "n_layer", label);
  config.heads = config.kv_heads = read_size(json, "n_head", label);
  if (config.d_model % config.heads != 0) {
    fail("config",
         fmt::format("n_head: got {}, expected a divisor of n_embd {} ({})", config.heads, config.d_model, label));
  }
  config.head_dim = config.d_model / config.heads;
  config.d_mlp = read_size_or(json, "n_inner", 4 * config.d_model, label);
  config.max_positions = read_size(json, "n_positions", label);
  config.norm_epsilon = json_get_or<double>(json, "layer_norm_epsilon", 1e-5, label);
  config.tied_embeddings = json_get_or<bool>(json, "tie_word_embeddings", true, label);
  config.attention_bias = config.attention_output_bias = config.mlp_bias = true;
  config.norm = NormKind::layer;
  config.activation = read_activation(json, "activation_function", "gelu_new", label);
  config.gated_mlp = false;
  config.projections = ProjectionLayout::stacked;
  config.learned_positions = true;
  config.rotary_fraction = 0;
  expect_setting(json, "scale_attn_weights", true, label);
  expect_setting(json, "scale_attn_by_inverse_layer_idx", false, label);
  expect_setting(json, "add_cross_attention", false, label);
}

void write_gpt2(const ModelConfig& config, Json& json) {
  json["n_embd"] = config.d_model;
  json["n_layer"] = config.layers;
  json["n_head"] = config.heads;
  json["n_inner"] = config.d_mlp;
  json["n_positions"] = config.max_positions;
  json["n_ctx"] = config.max_positions;
  json["layer_norm_epsilon"] = config.norm_epsilon;
  json["activation_function"] = activation_name(config.activation, "gelu_new");
}

std::vector<NamedWeight> gpt2_weights(Model& model) {
  const ModelConfig& c = model.config;
  std::vector<NamedWeight> weights;
  weights.push_back({"transformer.wte.weight", {c.vocab_size, c.d_model}, &model.embedding});
  weights.push_back({"transformer.wpe.weight", {c.max_positions, c.d_model}, &model.positions});
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    Block& block = model.blocks[layer];
    const std::string prefix = fmt::format("transformer.h.{}.", layer);
    add_norm(weights, prefix + "ln_1", block.attention_norm, &block.attention_norm_bias, c.d_model);
    add_transposed(weights, prefix + "attn.c_attn", block.query_key_value, 3 * c.d_model, c.d_model);
    add_transposed(weights, prefix + "attn.c_proj", block.output, c.d_model, c.d_model);
    add_norm(weights, prefix + "ln_2", block.mlp_norm, &block.mlp_norm_bias, c.d_model);
    add_transposed(weights, prefix + "mlp.c_fc", block.up, c.d_mlp, c.d_model);
    add_transposed(weights, prefix + "mlp.c_proj", block.down, c.d_model, c.d_mlp);
  }
  add_norm(weights, "transformer.ln_f", model.final_norm, &model.final_norm_bias, c.d_model);
  if (!c.tied_embeddings) weights.push_back({"lm_head.weight", {c.vocab_size, c.d_model}, &model.head});
  return weights;
}

std::vector<NamedLinear> gpt2_linears(Model& model) {
  std::vector<NamedLinear> linears;
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    Block& block = model.blocks[layer];
    const std::string prefix = fmt::format("transformer.h.{}.", layer);
    linears.push_back({"c_attn", prefix + "attn.c_attn", &block.query_key_value, true});
    linears.push_back({"c_proj", prefix + "attn.c_proj", &block.output, true});
    linears.push_back({"c_fc", prefix + "mlp.c_fc", &block.up, true});
    linears.push_back({"c_proj", prefix + "mlp.c_proj", &block.down, true});
  }
  return linears;
}

}  // namespace introspect
