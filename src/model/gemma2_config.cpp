// config.json of Gemma 2. Its weights are named like Llama's (llama_names.cpp).
#include "base/error.h"
#include "model/config_parts.h"
#include "model/families.h"

#include <cmath>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

double read_cap(const Json& json, const char* key, const std::string& label) {
  const double cap = json_get_or<double>(json, key, 0.0, label);
  if (!(cap >= 0)) fail("config", fmt::format("{}: got {}, expected a positive number or null ({})", key, cap, label));
  return cap;
}

// Newer configurations list the kind of every layer; any other pattern than the one computed would be wrong.
void check_layer_types(const Json& json, const std::string& label, const ModelConfig& config) {
  const auto found = json.find("layer_types");
  if (found == json.end() || found->is_null()) return;
  const auto types = json_get<std::vector<std::string>>(json, "layer_types", label);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const char* expected = config.window(layer) > 0 ? "sliding_attention" : "full_attention";
    if (layer >= std::ssize(types) || types[layer] != expected) {
      fail("config", fmt::format("layer_types: expected {} for layer {}, every second layer slides ({})", expected,
                                 layer, label));
    }
  }
}

}  // namespace

void read_gemma2(const Json& json, const std::string& label, ModelConfig& config) {
  config.d_model = read_size(json, "hidden_size", label);
  config.layers = read_size(json, "num_hidden_layers", label);
  config.heads = read_size(json, "num_attention_heads", label);
  config.kv_heads = read_size(json, "num_key_value_heads", label);
  config.head_dim = read_size_or(json, "head_dim", 256, label);
  config.d_mlp = read_size(json, "intermediate_size", label);
  config.max_positions = read_size(json, "max_position_embeddings", label);
  config.norm_epsilon = json_get_or<double>(json, "rms_norm_eps", 1e-6, label);
  config.rope_theta = read_rope_theta(json, "rope_theta", label);
  config.rope_scaling = read_rope_scaling(json, label);
  config.attention_bias = json_get_or<bool>(json, "attention_bias", false, label);
  config.attention_output_bias = config.attention_bias;
  config.tied_embeddings = json_get_or<bool>(json, "tie_word_embeddings", true, label);
  config.norm = NormKind::rms_plus_one;
  config.post_norms = true;
  // the key that transformers goes by; hidden_act stands beside it
  config.activation = read_activation(json, "hidden_activation", "gelu_pytorch_tanh", label);
  config.embedding_scale = std::sqrt(static_cast<double>(config.d_model));
  const double scalar = json_get_or<double>(json, "query_pre_attn_scalar", 256.0, label);
  if (!(scalar > 0)) {
    fail("config", fmt::format("query_pre_attn_scalar: got {}, expected a positive number ({})", scalar, label));
  }
  config.query_scale = 1 / std::sqrt(scalar);
  config.attention_softcap = read_cap(json, "attn_logit_softcapping", label);
  config.final_softcap = read_cap(json, "final_logit_softcapping", label);
  config.sliding_window = read_size_or(json, "sliding_window", 4096, label);
  config.window_period = 2;  // layers 0, 2, ...
  check_layer_types(json, label, config);
}

void write_gemma2(const ModelConfig& config, Json& json) {
  const auto cap = [](double value) { return value > 0 ? Json(value) : Json(nullptr); };
  json["hidden_size"] = config.d_model;
  json["num_hidden_layers"] = config.layers;
  json["num_attention_heads"] = config.heads;
  json["num_key_value_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["intermediate_size"] = config.d_mlp;
  json["max_position_embeddings"] = config.max_positions;
  json["rms_norm_eps"] = config.norm_epsilon;
  json["rope_theta"] = config.rope_theta;
  write_rope_scaling(config.rope_scaling, json);
  json["attention_bias"] = config.attention_bias;
  json["attention_dropout"] = 0.0;
  json["hidden_act"] = json["hidden_activation"] = activation_name(config.activation, "gelu_pytorch_tanh");
  const double scalar =
      config.query_scale > 0 ? 1 / (config.query_scale * config.query_scale) : static_cast<double>(config.head_dim);
  json["query_pre_attn_scalar"] = std::round(scalar * 1e6) / 1e6;  // a square root squared is near the number it was
  json["attn_logit_softcapping"] = cap(config.attention_softcap);
  json["final_logit_softcapping"] = cap(config.final_softcap);
  json["sliding_window"] = config.sliding_window;
  json["cache_implementation"] = "hybrid";
}

}  // namespace introspect
