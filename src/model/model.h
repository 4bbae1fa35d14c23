// A language model as plain structs of tensors. Shapes: D d_model, H heads, K kv_heads, E head_dim, F d_mlp, V vocab.
#pragma once

#include "model/config.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// A low-rank update of a linear layer: W x + scale * B A x (PEFT's LoRA).
struct Lora {
  at::Tensor a;        // [rank, in]
  at::Tensor b;        // [out, rank]
  double scale = 1;    // alpha / rank
  double dropout = 0;  // on x, while training
};

struct Linear {
  at::Tensor weight;           // [out, in]
  at::Tensor bias;             // [out], or undefined
  std::shared_ptr<Lora> lora;  // or null
  at::Tensor scale = {};       // [out] float32 where the weight is int8: row o stands for weight[o] * scale[o]
};

// Mamba's mixer (Gu and Dao 2023). I channels, S states a channel, C positions of the convolution, R rank of the step.
struct Mamba {
  Linear in;                    // [2*I, D] channels, then their gates
  at::Tensor convolution;       // [I, 1, C]
  at::Tensor convolution_bias;  // [I]
  Linear select;                // [R + 2*S, I] step, what is written (B), what is read (C)
  Linear step;                  // [I, R]
  at::Tensor log_decay;         // [I, S]
  at::Tensor skip;              // [I]
  Linear out;                   // [D, I]
};

struct LowRank {
  Linear down;  // [rank, D]
  Linear up;    // [D, rank]
};
// What RWKV-7 (Peng et al. 2025) has beside queries ("receptance"), keys, values, output and MLP; its own letters
// behind each.
struct Rwkv7 {
  // [1, 1, D] how much of the position before each projection sees
  at::Tensor mix_query, mix_decay, mix_key, mix_value, mix_rate, mix_gate;  // x_r, x_w, x_k, x_v, x_a, x_g
  LowRank decay, rate, value, gate;                                         // w, a, v (not in layer 0), g
  at::Tensor removal_key;                                                   // [D] k_k
  at::Tensor key_rate;                                                      // [D] k_a
  at::Tensor bonus;                                                         // [H, E] r_k
  at::Tensor out_norm, out_norm_bias;                                       // [D] g_norm
  at::Tensor mlp_mix;                                                       // [D] ffn.x_k
};

// Undefined are the tensors that a family does not have; biases of norms are LayerNorm's.
struct Block {
  at::Tensor attention_norm, attention_norm_bias;  // [D]
  Linear query;                                    // [H*E, D]
  Linear key;                                      // [K*E, D]
  Linear value;                                    // [K*E, D]
  Linear query_key_value;                          // [3*H*E, D] in place of those three; see ProjectionLayout
  Linear output;                                   // [D, H*E]
  at::Tensor query_norm;                           // [E]
  at::Tensor key_norm;                             // [E]
  at::Tensor attention_post_norm;                  // [D]
  at::Tensor mlp_norm, mlp_norm_bias;              // [D]
  Linear gate;                                     // [F, D]
  Linear up;                                       // [F, D]
  Linear down;                                     // [D, F]
  at::Tensor mlp_post_norm;                        // [D]
  Mamba mamba;
  Rwkv7 rwkv7;
};

struct Model {
  ModelConfig config;
  at::Tensor embedding;                            // [V, D]
  at::Tensor positions;                            // [max_positions, D] learned, added to the embeddings
  at::Tensor embedding_norm, embedding_norm_bias;  // [D]
  std::vector<Block> blocks;
  at::Tensor final_norm, final_norm_bias;  // [D]
  at::Tensor head;                         // [V, D]; the same tensor as `embedding` where tied
  // Weights that cannot be trained, and why ("they are mapped read-only"); empty: they can. LoRA factors always can.
  std::string frozen;
};

struct LoadOptions {
  // Of the weights once loaded. kChar: the linear layers of the blocks in int8 (int8.h), everything else in bfloat16.
  at::ScalarType dtype = at::kFloat;
  std::string device = "cpu";
  // For weights that nobody writes to: on the processor, tensors whose stored type is the wanted one stay read-only
  // views of the mapped file, which takes no memory that the system could not take back. The others are copied.
  bool mapped = false;
  std::string device_map = {};  // layers on several devices in place of `device`, see device_map.h
};

// Bytes that the weights take once loaded, for the estimate printed before loading.
uint64_t weight_bytes(const ModelConfig& config, at::ScalarType dtype);

// Opens a Hugging Face folder: config.json and model.safetensors or its shards. Weights are copied once to the wanted
// type and device, or stay views of the mapped files: memory is that of the result (plus one tensor). Throws Error for
// a missing tensor, one of another shape, NaN-free is not checked here. Tensors of the checkpoint that the family does
// not know are an Error too, except the tables and masks that some checkpoints carry. Names may lack their first part
// ("model.", "transformer."), as those of a model saved without its head do.
Model load_model(const fs::path& folder, const LoadOptions& options = {});

// Writes config.json and model.safetensors in `dtype`. LoRA updates are not merged; see lora.h.
void save_model(const Model& model, const fs::path& folder, at::ScalarType dtype);

// A freshly initialised model: normal(0, 0.02), residual outputs scaled by 1/sqrt(2 layers), norms the identity. `seed`
// decides.
Model create_model(const ModelConfig& config, uint64_t seed);

// A copy that shares nothing with `model`, and whose weights can be trained if they are not int8.
Model clone_model(const Model& model);

// Every weight that training may change, with its checkpoint name. (LoRA factors: see lora.h.)
std::vector<std::pair<std::string, at::Tensor>> parameters(Model& model);
void require_gradients(Model& model, bool wanted);  // throws Error for frozen weights

}  // namespace introspect
