#include "train/loss.h"

#include "model/kernels.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace introspect {

PackedTargets pack_targets(const std::vector<Document>& documents) {
  PackedTargets packed;
  std::vector<std::vector<int64_t>> sequences;
  std::vector<int64_t> rows, targets;
  std::vector<float> weights;
  int64_t start = 0;
  for (const Document& document : documents) {
    sequences.push_back(document.tokens);
    for (size_t i = 1; i < document.tokens.size(); ++i) {
      if (document.weights[i] == 0) continue;
      rows.push_back(start + static_cast<int64_t>(i) - 1);
      targets.push_back(document.tokens[i]);
      weights.push_back(document.weights[i]);
      packed.weight_sum += document.weights[i];
    }
    start += std::ssize(document.tokens);
  }
  packed.input = pack(sequences);
  packed.rows = at::tensor(rows, at::kLong);
  packed.targets = at::tensor(targets, at::kLong);
  packed.weights = at::tensor(weights, at::kFloat);
  return packed;
}

at::Tensor packed_loss(const Model& model, const PackedTargets& packed, double divisor, ForwardOptions options) {
  options.logits_at = packed.rows;
  const at::Tensor logits = forward(model, packed.input, options).logits;
  return weighted_cross_entropy(logits, packed.targets.to(logits.device()),
                                packed.weights.to(logits.device()).div(divisor));
}

double mean_loss(const Model& model, const std::vector<Document>& documents, at::ScalarType compute,
                 int64_t tokens_per_pass) {
  c10::NoGradGuard guard;
  double total = 0, weight = 0;
  for (const std::vector<Document>& group : group_by_tokens(documents, tokens_per_pass)) {
    const PackedTargets packed = pack_targets(group);
    ForwardOptions options;
    options.compute = compute;
    total += packed_loss(model, packed, 1.0, options).item<double>();
    weight += packed.weight_sum;
  }
  return weight > 0 ? total / weight : 0;
}

std::vector<std::vector<Document>> group_by_tokens(const std::vector<Document>& documents, int64_t tokens) {
  std::vector<std::vector<Document>> groups;
  int64_t size = 0;
  for (const Document& document : documents) {
    if (groups.empty() || size + std::ssize(document.tokens) > tokens) {
      groups.emplace_back();
      size = 0;
    }
    size += std::ssize(document.tokens);
    groups.back().push_back(document);
  }
  return groups;
}

}  // namespace introspect
