// One forward pass for every family. Sequences of any lengths lie end to end ("packed"), so nothing is padded:
// N is the number of positions of all sequences together, D d_model, V vocab.
#pragma once

#include "model/model.h"
#include "model/taps.h"

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// Keys and values of positions that were computed before, and which of them each sequence of a pass sees in front of
// its own. Several sequences may see the same range: a prompt prefix is computed once.
struct KeyValues {
  std::vector<at::Tensor> keys, values;  // a layer each: [P, kv_heads, head_dim], keys after rotation
  std::vector<at::Tensor> queries;       // [P, heads, head_dim] after rotation, if keep_queries
};
struct Prefix {
  const KeyValues* cache = nullptr;
  std::vector<int64_t> begin;   // [sequences] first row of the cache that the sequence sees
  std::vector<int64_t> length;  // [sequences] how many rows
};

// What a layer of a recurrent model hands from one position to the next, a row a sequence (S of them). It takes the
// place of keys and values, and is small, but cannot be cut: the state behind a prefix is that of the whole prefix.
struct LayerState {
  at::Tensor memory;      // float32; mamba [S, inner, state], rwkv7 [S, heads, head_dim, head_dim] (values by keys)
  at::Tensor inputs;      // the mixer's last inputs: mamba [S, convolution - 1, inner], rwkv7 [S, 1, D]
  at::Tensor mlp_inputs;  // rwkv7 [S, 1, D] the MLP's last input
};
using States = std::vector<LayerState>;  // a layer each
States select_rows(const States& states, const at::Tensor& rows);

// For a pass that starts at a layer: positions whose residual stream entering it is the one that an earlier pass of the
// same model (with keep_cache and keep_queries) saw. Their projections of that layer are taken and not computed again.
struct Known {
  const KeyValues* cache = nullptr;
  at::Tensor row;  // [N] int64: which row of the cache a position is, or -1
};

// Sequences end to end. positions count from 0 in each sequence (from the prefix's length if there is one).
struct Packed {
  at::Tensor tokens;            // [N] int64
  at::Tensor positions;         // [N] int64
  std::vector<int64_t> starts;  // [sequences + 1] flat position of each sequence's first token, and N

  int64_t sequences() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t size() const { return starts.back(); }
};
Packed pack(const std::vector<std::vector<int64_t>>& sequences, const std::vector<int64_t>& first_positions = {});

struct ForwardOptions {
  Taps* taps = nullptr;
  const Prefix* prefix = nullptr;  // models with attention
  const States* states = nullptr;  // recurrent models: what each sequence goes on from; null: from its beginning

  // A pass may start at a layer, with the residual stream given, and stop before a layer.
  int64_t first_layer = 0;
  int64_t last_layer = -1;       // exclusive; -1: all layers, then final norm and head
  at::Tensor residual;           // [N, D] enters first_layer; undefined: the embedding of the tokens
  const Known* known = nullptr;  // a saving in first_layer, without tap in front; no gradient flows into what is known

  // Where logits are wanted: flat positions [M] int64, or undefined for every position. In the last layer only these
  // positions are carried on behind the keys and values.
  at::Tensor logits_at;
  bool want_logits = true;    // false: only captures, residual or cache are wanted
  bool keep_cache = false;    // return the keys and values of this pass
  bool keep_queries = false;  // and the queries
  bool keep_states = false;   // recurrent models: return the states behind each sequence
  bool training = false;      // LoRA dropout
  uint64_t dropout_seed = 0;
  // Where gradients are wanted: a block keeps its input alone, and is run again when the gradient comes back to it. The
  // same gradients for a third more work. Models with attention, without cache, prefix and captures inside blocks.
  bool activation_checkpointing = false;

  // The type of matrix products where weights are fp32: kFloat, or kBFloat16 for mixed precision.
  at::ScalarType compute = at::kFloat;
};

struct ForwardResult {
  at::Tensor logits;    // [M, V], type of the residual stream; undefined if not wanted
  at::Tensor residual;  // [N, D] (or [M, D]) leaving the last layer that was run, before the final norm
  KeyValues cache;      // if keep_cache
  States states;        // if keep_states
};

// Runs the model. Gradients flow to every weight, LoRA factor and tap value that requires them. Throws Error for token
// ids outside the vocabulary, positions beyond max_positions, taps that did not fire, and what a family cannot do:
// recurrent models know no prefix, cache or known rows; RWKV-7 starts at layer 0, whose values every layer reads.
// Memory: activations of N positions; with gradients wanted, about 12 N (D + F) floats a layer more (with activation
// checkpointing N D, and the former for one layer at a time). Layers may lie on several devices (device_map.h): the
// stream goes to each layer's, caches and captures stay there.
ForwardResult forward(const Model& model, const Packed& input, const ForwardOptions& options = {});

}  // namespace introspect
