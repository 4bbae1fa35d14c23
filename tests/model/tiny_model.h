// A model small enough for thousands of passes, with weights large enough that every part of it matters.
#pragma once

#include "base/json.h"
#include "base/random.h"
#include "model/forward.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <string>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect::test {

// Families whose layers have attention, and every family there is.
inline std::vector<std::string> attention_families() {
  return {"llama", "qwen3", "qwen2", "mistral", "gpt2", "gpt_neox", "gemma2"};
}
inline std::vector<std::string> all_families() {
  std::vector<std::string> families = attention_families();
  families.insert(families.end(), {"mamba", "rwkv7"});
  return families;
}

// The config.json of the families that differ from Llama by more than a switch. Windows are short, so that they matter.
inline std::string tiny_config_json(const std::string& family) {
  if (family == "gpt2") {
    return R"({"model_type": "gpt2", "vocab_size": 300, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_inner": 80,
               "n_positions": 128})";
  }
  if (family == "gpt_neox") {
    return R"({"model_type": "gpt_neox", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 3,
               "num_attention_heads": 4, "intermediate_size": 80, "max_position_embeddings": 128, "rotary_pct": 0.5})";
  }
  if (family == "gemma2") {
    return R"({"model_type": "gemma2", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 3,
               "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 80,
               "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 20,
               "attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0, "sliding_window": 4})";
  }
  if (family == "mamba") {
    return R"({"model_type": "mamba", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 3, "expand": 2,
               "state_size": 6, "conv_kernel": 4, "time_step_rank": 3})";
  }
  if (family == "rwkv7") {
    return R"({"model_type": "rwkv7", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 3, "head_dim": 12,
               "intermediate_size": 80, "decay_low_rank_dim": 5, "a_low_rank_dim": 6, "v_low_rank_dim": 7,
               "gate_low_rank_dim": 8})";
  }
  const std::string window = family == "mistral" ? "5" : "16";  // Qwen 2 names a window that it does not use
  return R"({"model_type": ")" + family + R"(", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 3,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "intermediate_size": 80,
             "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "sliding_window": )" +
         window + "}";
}

inline ModelConfig tiny_config(const std::string& family = "llama") {
  if (family != "llama" && family != "qwen3") return parse_config(parse_json(tiny_config_json(family), family), family);
  ModelConfig config;
  config.family = family;
  config.vocab_size = 300;
  config.d_model = 48;
  config.layers = 3;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 24;  // 4 * 24 is not the width, and 24 is no multiple of 16
  config.d_mlp = 80;
  config.max_positions = 128;
  config.query_key_norm = family == "qwen3";
  config.stored_dtype = "float32";
  return config;
}

inline Model tiny_model(const ModelConfig& config = tiny_config(), uint64_t seed = 1) {
  Model model = create_model(config, seed);
  for (auto& [name, tensor] : parameters(model)) {
    if (tensor.dim() == 2) {
      tensor.mul_(8);
    } else {
      Random random(seed, "vector " + name);
      for (int64_t i = 0; i < tensor.numel(); ++i) {
        tensor.data_ptr<float>()[i] = static_cast<float>(0.5 + random.uniform());
      }
    }
  }
  return model;
}

inline std::vector<int64_t> random_tokens(int64_t length, uint64_t seed, int64_t vocabulary = 256) {
  Random random(seed, "tokens");
  std::vector<int64_t> tokens(length);
  for (int64_t& token : tokens) token = static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary)));
  return tokens;
}

inline at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed) {
  Random random(seed, "tensor");
  at::Tensor tensor = at::empty(shape);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<float>()[i] = static_cast<float>(random.normal());
  return tensor;
}

inline at::Tensor rows_of(std::vector<int64_t> rows) {
  return at::tensor(rows, at::kLong);
}

// The largest absolute difference; shapes must be equal.
inline double difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  if (a.sizes() != b.sizes() || a.numel() == 0) return a.sizes() == b.sizes() ? 0 : 1e30;
  const double largest = (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
  return std::isnan(largest) ? 1e30 : largest;
}

inline at::Tensor run_logits(const Model& model, const std::vector<int64_t>& tokens, Taps* taps = nullptr) {
  ForwardOptions options;
  options.taps = taps;
  return forward(model, pack({tokens}), options).logits;
}

// Byte-level, fewer than 300 tokens: it fits the tiny model.
inline const Tokenizer& tiny_tokenizer() {
  static const Tokenizer tokenizer = [] {
    BpeTrainSettings settings;
    settings.vocab_size = 270;
    settings.special_tokens = {"<|begin|>", "<|end|>"};
    settings.bos_token = "<|begin|>";
    settings.eos_token = "<|end|>";
    BpeTrainer trainer(settings);
    trainer.add("the cat and the dog and the bird sat on the mat and then the cat sat on the dog");
    trainer.train();
    return Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
  }();
  return tokenizer;
}

}  // namespace introspect::test
