#include "model/config.h"

#include "base/error.h"
#include "model/names.h"

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

RopeScaling parse_rope_scaling(const Json& config, const std::string& label) {
  RopeScaling scaling;
  const auto found = config.find("rope_scaling");
  if (found == config.end() || found->is_null()) return scaling;
  const Json& json = *found;
  const std::string kind = json.contains("rope_type") ? json_get<std::string>(json, "rope_type", label)
                                                      : json_get<std::string>(json, "type", label);
  if (kind == "default") return scaling;
  scaling.factor = json_get<double>(json, "factor", label);
  if (!(scaling.factor > 0)) {
    fail("config", fmt::format("rope_scaling.factor: got {}, expected a positive number ({})", scaling.factor, label));
  }
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
  } else if (kind == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.low_frequency_factor = json_get<double>(json, "low_freq_factor", label);
    scaling.high_frequency_factor = json_get<double>(json, "high_freq_factor", label);
    scaling.original_positions = json_get<double>(json, "original_max_position_embeddings", label);
  } else {
    fail("config", fmt::format("rope_scaling: got '{}', expected default, linear or llama3 ({})", kind, label),
         "this checkpoint's rotary scaling is not supported; its logits would be wrong");
  }
  return scaling;
}

void check_positive(int64_t value, const char* key, const std::string& label) {
  if (value <= 0 || value > (int64_t{1} << 32)) {
    fail("config", fmt::format("key '{}': got {}, expected a positive number ({})", key, value, label));
  }
}

std::optional<int64_t> optional_token(const Json& json, const char* key, const std::string& label) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  // Llama 3.1 Instruct lists several end tokens here; the first is the tokenizer's own.
  if (found->is_array()) {
    return found->empty() ? std::nullopt : std::optional<int64_t>(json_get<std::vector<int64_t>>(json, key, label)[0]);
  }
  return json_get<int64_t>(json, key, label);
}

}  // namespace

ModelConfig read_config(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  if (!fs::exists(path)) {
    fail("config", fmt::format("no config.json (in {})", folder.string()),
         "a model is a Hugging Face folder: config.json, model.safetensors, tokenizer.json");
  }
  return parse_config(read_json(path), path.string());
}

ModelConfig parse_config(const Json& json, const std::string& label) {
  ModelConfig config;
  config.family = json_get<std::string>(json, "model_type", label);
  check_family(config.family, label);
  config.vocab_size = json_get<int64_t>(json, "vocab_size", label);
  config.d_model = json_get<int64_t>(json, "hidden_size", label);
  config.layers = json_get<int64_t>(json, "num_hidden_layers", label);
  config.heads = json_get<int64_t>(json, "num_attention_heads", label);
  config.kv_heads = json_get_or<int64_t>(json, "num_key_value_heads", config.heads, label);
  check_positive(config.heads, "num_attention_heads", label);
  check_positive(config.kv_heads, "num_key_value_heads", label);
  config.head_dim = json_get_or<int64_t>(json, "head_dim", config.d_model / config.heads, label);
  config.d_mlp = json_get<int64_t>(json, "intermediate_size", label);
  config.max_positions = json_get<int64_t>(json, "max_position_embeddings", label);
  config.norm_epsilon = json_get<double>(json, "rms_norm_eps", label);
  config.rope_theta = json_get_or<double>(json, "rope_theta", 10000.0, label);
  config.rope_scaling = parse_rope_scaling(json, label);
  config.attention_bias = json_get_or<bool>(json, "attention_bias", false, label);
  config.attention_output_bias = config.attention_bias;
  config.mlp_bias = json_get_or<bool>(json, "mlp_bias", false, label);
  config.query_key_norm = config.family == "qwen3";
  config.tied_embeddings = json_get_or<bool>(json, "tie_word_embeddings", false, label);
  config.bos_token = optional_token(json, "bos_token_id", label);
  config.eos_token = optional_token(json, "eos_token_id", label);
  config.stored_dtype = json_get_or<std::string>(json, "torch_dtype", "float32", label);

  for (const auto& [value, key] : {std::pair{config.vocab_size, "vocab_size"},
                                   {config.d_model, "hidden_size"},
                                   {config.layers, "num_hidden_layers"},
                                   {config.head_dim, "head_dim"},
                                   {config.d_mlp, "intermediate_size"},
                                   {config.max_positions, "max_position_embeddings"}}) {
    check_positive(value, key, label);
  }
  if (config.heads % config.kv_heads != 0) {
    fail("config", fmt::format("num_key_value_heads: got {}, expected a divisor of {} heads ({})", config.kv_heads,
                               config.heads, label));
  }
  if (config.head_dim % 2 != 0) {
    fail("config", fmt::format("head_dim: got {}, expected an even number ({})", config.head_dim, label));
  }
  const std::string activation = json_get_or<std::string>(json, "hidden_act", "silu", label);
  if (activation != "silu") {
    fail("config", fmt::format("hidden_act: got '{}', expected silu for {} ({})", activation, config.family, label));
  }
  if (json_get_or<bool>(json, "use_sliding_window", false, label)) {
    fail("config", fmt::format("use_sliding_window: sliding-window attention is not supported ({})", label));
  }
  return config;
}

int64_t ModelConfig::parameter_count() const {
  int64_t total = 0;
  for (const WeightShape& weight : expected_weights(*this)) {
    int64_t count = 1;
    for (int64_t size : weight.shape) count *= size;
    total += count;
  }
  return total;
}

Json config_to_json(const ModelConfig& config) {
  Json json;
  json["architectures"] = Json::array({config.family == "qwen3" ? "Qwen3ForCausalLM" : "LlamaForCausalLM"});
  json["model_type"] = config.family;
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.d_model;
  json["num_hidden_layers"] = config.layers;
  json["num_attention_heads"] = config.heads;
  json["num_key_value_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["intermediate_size"] = config.d_mlp;
  json["max_position_embeddings"] = config.max_positions;
  json["rms_norm_eps"] = config.norm_epsilon;
  json["rope_theta"] = config.rope_theta;
  switch (config.rope_scaling.kind) {
    case RopeScaling::Kind::none:
      json["rope_scaling"] = nullptr;
      break;
    case RopeScaling::Kind::linear:
      json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", config.rope_scaling.factor}};
      break;
    case RopeScaling::Kind::llama3:
      json["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", config.rope_scaling.factor},
                              {"low_freq_factor", config.rope_scaling.low_frequency_factor},
                              {"high_freq_factor", config.rope_scaling.high_frequency_factor},
                              {"original_max_position_embeddings", config.rope_scaling.original_positions}};
      break;
  }
  json["attention_bias"] = config.attention_bias;
  json["attention_dropout"] = 0.0;
  json["mlp_bias"] = config.mlp_bias;
  json["hidden_act"] = "silu";
  json["initializer_range"] = 0.02;
  json["tie_word_embeddings"] = config.tied_embeddings;
  json["bos_token_id"] = config.bos_token ? Json(*config.bos_token) : Json(nullptr);
  json["eos_token_id"] = config.eos_token ? Json(*config.eos_token) : Json(nullptr);
  json["torch_dtype"] = config.stored_dtype;
  json["use_cache"] = true;
  return json;
}

}  // namespace introspect
