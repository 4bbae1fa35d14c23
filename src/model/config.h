// What a model is, read from the config.json of a Hugging Face folder. One struct for every family: families
// differ by these values and by one name map each (names.h).
#pragma once

#include "base/json.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace introspect {

// The frequency scaling of rotary embeddings.
struct RopeScaling {
  enum class Kind { none, linear, llama3 } kind = Kind::none;
  double factor = 1;
  double low_frequency_factor = 1;   // llama3 only
  double high_frequency_factor = 4;  // llama3 only
  double original_positions = 8192;  // llama3 only
};

struct ModelConfig {
  std::string family;  // "llama" or "qwen3": config.json's model_type
  int64_t vocab_size = 0;
  int64_t d_model = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t d_mlp = 0;
  int64_t max_positions = 0;
  double norm_epsilon = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool attention_bias = false;         // on q, k, v
  bool attention_output_bias = false;  // on o
  bool mlp_bias = false;
  bool query_key_norm = false;  // RMS norm of every q and k head before the rotation (Qwen3)
  bool tied_embeddings = false;
  std::optional<int64_t> bos_token, eos_token;
  std::string stored_dtype;  // config.json's torch_dtype, for display

  int64_t parameter_count() const;
};

// Reads and checks config.json of `folder`. Throws Error for a missing or wrong key and for a family, an activation
// or a rope scaling that is not supported (by name).
ModelConfig read_config(const fs::path& folder);
ModelConfig parse_config(const Json& json, const std::string& label);

// The config.json that Hugging Face transformers reads back.
Json config_to_json(const ModelConfig& config);

}  // namespace introspect
