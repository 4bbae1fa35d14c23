// What makes a latent fire: contexts of a text with the latent's activation on every token of them.
//
// A context is one piece of text of T tokens, run through the model as a sequence of its own. Its first token is BOS
// (or, where the tokenizer has none, a token of the text); no activation is kept for the first position, whose residual
// state is an outlier, nor for special tokens. C contexts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

enum class ContextKind {
  top,        // the pieces with the highest activations
  quantile,   // pieces whose highest activation lies in each part of the range from 0 to the maximum
  random,     // any pieces, the same for all latents
  near_miss,  // no activation, but closest to one: the highest value in front of the threshold or the k-th latent
};
std::string context_kind_name(ContextKind kind);

struct FeatureContexts {
  int64_t layer = 0, latent = 0;
  std::vector<ContextKind> kinds;  // [C]
  at::Tensor tokens;               // [C, T] int32; -1 behind the end of a shorter piece
  at::Tensor activations;          // [C, T] float32; 0 for special tokens, the first position and behind the end
  at::Tensor values;               // [C] float32: the highest activation, of a near miss its value before the threshold
};

}  // namespace introspect
