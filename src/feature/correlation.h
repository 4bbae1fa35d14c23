// Correlation of simulated with true activations.
#pragma once

#include <ATen/core/Tensor.h>

namespace introspect {

// Pearson's correlation over all tokens of the contexts together: true activations, simulated ones, and the tokens,
// all [C, T]; tokens of -1 (behind the end) and first positions (BOS) are left out. NaN where either side is constant.
double correlation(const at::Tensor& activations, const at::Tensor& simulated, const at::Tensor& tokens);

}  // namespace introspect
