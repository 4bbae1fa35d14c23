// Asking an explainer of features about a few vectors, without a data set.
#pragma once

#include "explainer/answer.h"
#include "explainer/explainer.h"

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// What it says of each vector [n, d_target] of the residual stream leaving the layer beside it. Throws Error for
// another number of layers, vectors that are not finite or zero, and what answer_questions throws.
std::vector<std::string> describe_vectors(const Explainer& explainer, const at::Tensor& vectors,
                                          const std::vector<int64_t>& layers, const AnswerOptions& options = {});

}  // namespace introspect
