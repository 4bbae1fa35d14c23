// RWKV-7's time mixing: a matrix a head, from which each position removes what was under its key before it writes.
// Peng et al. 2025, "RWKV-7 Goose with Expressive Dynamic State Evolution"; weights as flash-linear-attention has them.
#pragma once

#include "model/forward.h"

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// x [N, D] of packed sequences to what the time mixing writes [N, D]. `state` is where each sequence goes on from
// (undefined tensors: its beginning) and becomes the one behind it. `first_values` [N, D] are the values of layer 0:
// undefined there and set by it, read by every other.
at::Tensor rwkv7_time_mixing(const ModelConfig& config, const Block& block, const at::Tensor& x,
                             const std::vector<int64_t>& starts, LayerState& state, at::Tensor& first_values,
                             const ForwardOptions& options);

// The MLP's input: x mixed with the position before it.
at::Tensor rwkv7_mlp_input(const Block& block, const at::Tensor& x, const std::vector<int64_t>& starts,
                           LayerState& state);

}  // namespace introspect
