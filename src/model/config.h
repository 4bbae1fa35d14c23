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

enum class NormKind { rms, rms_plus_one, layer };  // rms_plus_one: times 1 + weight (Gemma); layer: with mean and bias
enum class Activation { silu, gelu, gelu_tanh, squared_relu };
// What carries information from one position to the next.
enum class Mixer { attention, mamba, rwkv7 };
// How a checkpoint keeps the projections to queries, keys and values: three matrices, or one whose rows are all
// queries, then all keys, then all values (GPT-2), or a head's query, key and value side by side (GPT-NeoX).
enum class ProjectionLayout { separate, stacked, by_head };

// The sizes of recurrent mixers.
struct Recurrence {
  // mamba
  int64_t inner = 0;        // channels
  int64_t state = 0;        // numbers that a channel remembers
  int64_t convolution = 0;  // positions that the convolution in front of the recurrence sees
  int64_t step_rank = 0;    // width of the projection that the step sizes come from
  bool bias = false;        // on the projections into the mixer and out of it
  bool convolution_bias = true;
  // rwkv7: widths of the low-rank layers
  int64_t decay_rank = 0, rate_rank = 0, value_rank = 0, gate_rank = 0;
};

struct ModelConfig {
  std::string family;  // config.json's model_type: "llama", "gpt2", ... (names.cpp has the list)
  int64_t vocab_size = 0;
  int64_t d_model = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t d_mlp = 0;  // 0: blocks have no MLP (Mamba)
  int64_t max_positions = 0;
  double norm_epsilon = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool attention_bias = false;         // on q, k, v
  bool attention_output_bias = false;  // on o
  bool mlp_bias = false;
  bool query_key_norm = false;  // RMS norm of every q and k head before the rotation (Qwen3)
  bool tied_embeddings = false;

  Mixer mixer = Mixer::attention;
  Recurrence recurrence;
  NormKind norm = NormKind::rms;
  bool norm_bias = true;        // where norms may have one (NormKind::layer)
  bool embedding_norm = false;  // the embeddings are normalised before they become the residual stream (RWKV-7)
  Activation activation = Activation::silu;
  bool gated_mlp = true;  // down(activation(gate) * up); false: down(activation(up))
  ProjectionLayout projections = ProjectionLayout::separate;
  bool parallel_residual = false;  // attention and MLP both read the stream that enters the block (GPT-NeoX)
  bool post_norms = false;         // what attention and MLP write is normalised before it is added (Gemma 2)
  bool learned_positions = false;  // a table of vectors added to the embeddings (GPT-2)
  double rotary_fraction = 1;      // how much of a head is rotated, from its front; 0: nothing
  double embedding_scale = 1;      // on embedding rows (Gemma: sqrt d_model)
  double query_scale = 0;          // on query-key products; 0: 1 / sqrt head_dim
  double attention_softcap = 0;    // cap * tanh(scores / cap); 0: none
  double final_softcap = 0;        // the same on logits
  // A query of a windowed layer sees itself and the sliding_window - 1 positions before it; 0: no layer is windowed.
  int64_t sliding_window = 0;
  int64_t window_first_layer = 0;  // the windowed layers: from here,
  int64_t window_period = 1;       // each period-th

  std::optional<int64_t> bos_token, eos_token;
  std::string stored_dtype;  // config.json's torch_dtype, for display

  bool recurrent() const { return mixer != Mixer::attention; }
  int64_t parameter_count() const;
  int64_t rotary_dim() const;           // how many dimensions of a head are rotated
  int64_t window(int64_t layer) const;  // 0: the layer sees all
};

// Reads and checks config.json of `folder`. Throws Error for a missing or wrong key and for a family, an activation
// or a rope scaling that is not supported (by name).
ModelConfig read_config(const fs::path& folder);
ModelConfig parse_config(const Json& json, const std::string& label);

// The config.json that Hugging Face transformers reads back.
Json config_to_json(const ModelConfig& config);

}  // namespace introspect
