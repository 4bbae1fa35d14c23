#include "model/config.h"

#include "base/error.h"
#include "model/config_parts.h"
#include "model/names.h"

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

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
  config.vocab_size = read_size(json, "vocab_size", label);
  family_of(config).read_config(json, label, config);
  config.bos_token = optional_token(json, "bos_token_id", label);
  config.eos_token = optional_token(json, "eos_token_id", label);
  const std::string stored = json_get_or<std::string>(json, "dtype", "float32", label);  // transformers 4.56 and later
  config.stored_dtype = json_get_or<std::string>(json, "torch_dtype", stored, label);

  if (config.heads % config.kv_heads != 0) {
    fail("config", fmt::format("num_key_value_heads: got {}, expected a divisor of {} heads ({})", config.kv_heads,
                               config.heads, label));
  }
  if (!(config.rotary_fraction >= 0 && config.rotary_fraction <= 1)) {
    fail("config", fmt::format("rotary_pct: got {}, expected 0 to 1 ({})", config.rotary_fraction, label));
  }
  if (config.rotary_dim() % 2 != 0) {
    fail("config", fmt::format("head_dim: got {}, expected an even number ({})", config.head_dim, label));
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

int64_t ModelConfig::rotary_dim() const {
  return static_cast<int64_t>(static_cast<double>(head_dim) * rotary_fraction);  // rounded down as in transformers
}

int64_t ModelConfig::window(int64_t layer) const {
  const bool windowed = layer >= window_first_layer && (layer - window_first_layer) % window_period == 0;
  return windowed ? sliding_window : 0;
}

Json config_to_json(const ModelConfig& config) {
  const Family& family = family_of(config);
  Json json;
  json["architectures"] = Json::array({family.architecture});
  json["model_type"] = config.family;
  json["vocab_size"] = config.vocab_size;
  family.write_config(config, json);
  json["initializer_range"] = 0.02;
  json["tie_word_embeddings"] = config.tied_embeddings;
  json["bos_token_id"] = config.bos_token ? Json(*config.bos_token) : Json(nullptr);
  json["eos_token_id"] = config.eos_token ? Json(*config.eos_token) : Json(nullptr);
  json["torch_dtype"] = config.stored_dtype;
  json["use_cache"] = true;
  return json;
}

}  // namespace introspect
