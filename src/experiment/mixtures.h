// Sums of two directions: which of the two descriptions does an explainer say, at which share?
#pragma once

#include "experiment/findings.h"

#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct FeaturePair {
  const Example *first = nullptr, *second = nullptr;
};
// Pairs of different members of `examples` of one layer with different answers, drawn at random; no pair twice, in
// either order. Fewer than `count` where there are no more.
std::vector<FeaturePair> draw_pairs(const std::vector<const Example*>& examples, int64_t count, uint64_t seed);

// share * d1 + (1 - share) * d2 of the unit directions: [D].
at::Tensor mixture(const at::Tensor& first, const at::Tensor& second, double share);

// [mixtures]: asks the plain self about sums of test features, drawn from those that it describes right to the word
// when they are alone (from all, where those give fewer than ten pairs).
std::vector<Finding> mixture_findings(const FoundIn& run);

}  // namespace introspect
