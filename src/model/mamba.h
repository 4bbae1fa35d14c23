// Mamba's mixer: a short convolution, then a recurrence whose step sizes, inputs and outputs depend on the text.
// Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", algorithm 2.
#pragma once

#include "model/forward.h"

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// x [N, D] of packed sequences to what the mixer writes [N, D]. `state` is where each sequence goes on from (undefined
// tensors: its beginning) and becomes the one behind it.
at::Tensor mamba_mixer(const ModelConfig& config, const Mamba& mamba, const at::Tensor& x,
                       const std::vector<int64_t>& starts, LayerState& state, const ForwardOptions& options);

}  // namespace introspect
