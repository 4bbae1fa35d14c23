// The linear layers and norms of a pass.
#pragma once

#include "model/forward.h"

#include <ATen/core/Tensor.h>

namespace introspect {

// W x + b + scale * B A dropout(x). Products in options.compute where the weights are float32, result in x's type.
at::Tensor apply_linear(const Linear& linear, const at::Tensor& x, const ForwardOptions& options);

// x [rows, D] normalised as the family does, times weight [D], plus bias [D] where there is one.
at::Tensor apply_norm(const ModelConfig& config, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

at::Tensor activated(Activation activation, const at::Tensor& x);

// down(activation(gate x) * up x), or down(activation(up x)).
at::Tensor apply_mlp(const ModelConfig& config, const Block& block, const at::Tensor& x, const ForwardOptions& options);

}  // namespace introspect
