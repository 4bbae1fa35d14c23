// The operations of a block that libtorch would do in many passes over memory. Each has gradients. Float32 on the
// processor runs hand-written loops (attention those of 16 bits too, widened); every other type and device the same
// formulas in libtorch operations.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// x [rows, D] / rms(x) * weight [D], in float32 inside as Hugging Face does.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

// Rotary embedding of x [N, heads, head_dim], half-split layout; cosine, sine [N, head_dim / 2] float32.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine);

// silu(gate) * up, elementwise.
at::Tensor gated_silu(const at::Tensor& gate, const at::Tensor& up);

struct AttentionBatches;  // attention_plain.cpp

// How packed queries see packed keys. A sequence's queries may be fewer than its keys (only some are wanted).
struct AttentionShape {
  std::vector<int64_t> query_start;     // [sequences + 1]
  std::vector<int64_t> key_start;       // [sequences + 1]
  std::vector<int64_t> visible;         // [queries] own keys that each query sees: its position in the sequence + 1
  at::Tensor prefix_key, prefix_value;  // [P, kv_heads, head_dim] or undefined; no gradient flows into them
  std::vector<int64_t> prefix_begin, prefix_length;  // [sequences]
  double softcap = 0;                                // scores become softcap * tanh(scores / softcap); 0: they stay
  int64_t window = 0;  // a query sees itself and the window - 1 positions before it; 0: all before it
  // How attention_plain cuts this shape into batches, by window, made at the first call: the layers of a pass share it.
  mutable std::map<int64_t, std::shared_ptr<const AttentionBatches>> batches;
};

// Causal attention. query [Nq, heads, head_dim], key and value [Nk, kv_heads, head_dim] → [Nq, heads, head_dim].
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionShape& shape);
// The same in libtorch operations, for any type and device, and for soft-caps and windows: sequences of similar length
// are padded to one batch.
at::Tensor attention_plain(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const AttentionShape& shape);

// Sum over rows of weights[i] * -log softmax(logits[i])[targets[i]]. logits [M, V], targets [M] int64,
// weights [M] float32. Returns a scalar. The gradient overwrites the logits' memory: use them for nothing else after.
at::Tensor weighted_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& weights);

}  // namespace introspect
