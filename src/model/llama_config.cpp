// config.json of Llama, Mistral, Qwen 2 and Qwen 3.
#include "base/error.h"
#include "model/config_parts.h"
#include "model/families.h"

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// What all of them have under the same keys.
void read_common(const Json& json, const std::string& label, ModelConfig& config) {
  config.d_model = read_size(json, "hidden_size", label);
  config.layers = read_size(json, "num_hidden_layers", label);
  config.heads = read_size(json, "num_attention_heads", label);
  config.kv_heads = read_size_or(json, "num_key_value_heads", config.heads, label);
  config.head_dim = read_size_or(json, "head_dim", config.d_model / config.heads, label);
  config.d_mlp = read_size(json, "intermediate_size", label);
  config.max_positions = read_size(json, "max_position_embeddings", label);
  config.norm_epsilon = json_get<double>(json, "rms_norm_eps", label);
  config.rope_theta = read_rope_theta(json, "rope_theta", label);
  config.rope_scaling = read_rope_scaling(json, label);
  config.mlp_bias = json_get_or<bool>(json, "mlp_bias", false, label);
  config.tied_embeddings = json_get_or<bool>(json, "tie_word_embeddings", false, label);
  const std::string activation = json_get_or<std::string>(json, "hidden_act", "silu", label);
  if (activation != "silu") {
    fail("config", fmt::format("hidden_act: got '{}', expected silu for {} ({})", activation, config.family, label));
  }
}

void read_attention_bias(const Json& json, const std::string& label, ModelConfig& config) {
  config.attention_bias = json_get_or<bool>(json, "attention_bias", false, label);
  config.attention_output_bias = config.attention_bias;
}

// Qwen's windows: switched on by a key of their own, for the layers behind the first max_window_layers.
void read_qwen_window(const Json& json, const std::string& label, ModelConfig& config) {
  if (!json_get_or<bool>(json, "use_sliding_window", false, label)) return;
  config.sliding_window = read_size_or(json, "sliding_window", 4096, label);
  config.window_first_layer = json_get_or<int64_t>(json, "max_window_layers", 28, label);
}

void write_window(const ModelConfig& config, Json& json) {
  if (config.sliding_window == 0) return;
  json["use_sliding_window"] = true;
  json["sliding_window"] = config.sliding_window;
  json["max_window_layers"] = config.window_first_layer;
}

}  // namespace

void read_llama(const Json& json, const std::string& label, ModelConfig& config) {
  read_common(json, label, config);
  read_attention_bias(json, label, config);
  expect_setting(json, "use_sliding_window", false, label);
}

void read_mistral(const Json& json, const std::string& label, ModelConfig& config) {
  read_common(json, label, config);
  // absent: what transformers takes; null: no window (Mistral 7B v0.2 and later)
  const auto window = json.find("sliding_window");
  if (window == json.end() || !window->is_null()) {
    config.sliding_window = read_size_or(json, "sliding_window", 4096, label);
  }
}

void read_qwen2(const Json& json, const std::string& label, ModelConfig& config) {
  read_common(json, label, config);
  config.attention_bias = true;  // on queries, keys and values; config.json does not say so
  read_qwen_window(json, label, config);
}

void read_qwen3(const Json& json, const std::string& label, ModelConfig& config) {
  read_common(json, label, config);
  read_attention_bias(json, label, config);
  config.query_key_norm = true;
  read_qwen_window(json, label, config);
}

void write_llama(const ModelConfig& config, Json& json) {
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
  json["mlp_bias"] = config.mlp_bias;
  json["hidden_act"] = "silu";
  if (config.family == "qwen3") write_window(config, json);
}

void write_mistral(const ModelConfig& config, Json& json) {
  write_llama(config, json);
  json["sliding_window"] = config.sliding_window > 0 ? Json(config.sliding_window) : Json(nullptr);
}

void write_qwen2(const ModelConfig& config, Json& json) {
  write_llama(config, json);
  write_window(config, json);
}

}  // namespace introspect
