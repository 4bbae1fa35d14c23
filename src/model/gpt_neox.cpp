// GPT-NeoX and Pythia: config.json and weights. Queries, keys and values are one matrix, a head's three side by side.
#include "base/error.h"
#include "model/config_parts.h"
#include "model/families.h"

#include <nlohmann/json.hpp>

namespace introspect {

void read_gpt_neox(const Json& json, const std::string& label, ModelConfig& config) {
  config.d_model = read_size(json, "hidden_size", label);
  config.layers = read_size(json, "num_hidden_layers", label);
  config.heads = config.kv_heads = read_size(json, "num_attention_heads", label);
  if (config.d_model % config.heads != 0) {
    fail("config", fmt::format("num_attention_heads: got {}, expected a divisor of hidden_size {} ({})", config.heads,
                               config.d_model, label));
  }
  config.head_dim = config.d_model / config.heads;
  config.d_mlp = read_size(json, "intermediate_size", label);
  config.max_positions = read_size(json, "max_position_embeddings", label);
  config.norm_epsilon = json_get_or<double>(json, "layer_norm_eps", 1e-5, label);
  config.rope_theta = read_rope_theta(json, "rotary_emb_base", label);
  config.rope_scaling = read_rope_scaling(json, label);
  config.rotary_fraction = json_get_or<double>(json, "rotary_pct", 0.25, label);
  config.tied_embeddings = json_get_or<bool>(json, "tie_word_embeddings", false, label);
  config.attention_bias = config.attention_output_bias = json_get_or<bool>(json, "attention_bias", true, label);
  config.mlp_bias = true;
  config.norm = NormKind::layer;
  config.activation = read_activation(json, "hidden_act", "gelu", label);
  config.gated_mlp = false;
  config.projections = ProjectionLayout::by_head;
  config.parallel_residual = json_get_or<bool>(json, "use_parallel_residual", true, label);
}

void write_gpt_neox(const ModelConfig& config, Json& json) {
  json["hidden_size"] = config.d_model;
  json["num_hidden_layers"] = config.layers;
  json["num_attention_heads"] = config.heads;
  json["intermediate_size"] = config.d_mlp;
  json["max_position_embeddings"] = config.max_positions;
  json["layer_norm_eps"] = config.norm_epsilon;
  json["rotary_emb_base"] = config.rope_theta;
  json["rotary_pct"] = config.rotary_fraction;
  write_rope_scaling(config.rope_scaling, json);
  json["attention_bias"] = config.attention_bias;
  json["hidden_act"] = activation_name(config.activation, "gelu_new");
  json["use_parallel_residual"] = config.parallel_residual;
}

std::vector<NamedWeight> gpt_neox_weights(Model& model) {
  const ModelConfig& c = model.config;
  std::vector<NamedWeight> weights;
  weights.push_back({"gpt_neox.embed_in.weight", {c.vocab_size, c.d_model}, &model.embedding});
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    Block& block = model.blocks[layer];
    const std::string prefix = fmt::format("gpt_neox.layers.{}.", layer);
    const std::string attention = prefix + "attention.", mlp = prefix + "mlp.";
    add_norm(weights, prefix + "input_layernorm", block.attention_norm, &block.attention_norm_bias, c.d_model);
    add_norm(weights, prefix + "post_attention_layernorm", block.mlp_norm, &block.mlp_norm_bias, c.d_model);
    add_linear(weights, attention + "query_key_value", block.query_key_value, 3 * c.d_model, c.d_model,
               c.attention_bias);
    add_linear(weights, attention + "dense", block.output, c.d_model, c.d_model, c.attention_output_bias);
    add_linear(weights, mlp + "dense_h_to_4h", block.up, c.d_mlp, c.d_model, c.mlp_bias);
    add_linear(weights, mlp + "dense_4h_to_h", block.down, c.d_model, c.d_mlp, c.mlp_bias);
  }
  add_norm(weights, "gpt_neox.final_layer_norm", model.final_norm, &model.final_norm_bias, c.d_model);
  if (!c.tied_embeddings) weights.push_back({"embed_out.weight", {c.vocab_size, c.d_model}, &model.head});
  return weights;
}

std::vector<NamedLinear> gpt_neox_linears(Model& model) {
  std::vector<NamedLinear> linears;
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    Block& block = model.blocks[layer];
    const std::string prefix = fmt::format("gpt_neox.layers.{}.", layer);
    linears.push_back({"query_key_value", prefix + "attention.query_key_value", &block.query_key_value});
    linears.push_back({"dense", prefix + "attention.dense", &block.output});
    linears.push_back({"dense_h_to_4h", prefix + "mlp.dense_h_to_4h", &block.up});
    linears.push_back({"dense_4h_to_h", prefix + "mlp.dense_4h_to_h", &block.down});
  }
  return linears;
}

}  // namespace introspect
