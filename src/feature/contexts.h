// What makes a latent fire: contexts of a text with the latent's activation on every token of them.
//
// A context is one piece of text of T tokens (BOS in front, which no activation is kept for). C contexts.
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
  at::Tensor activations;          // [C, T] float32; 0 for special tokens, BOS and behind the end
};

}  // namespace introspect
