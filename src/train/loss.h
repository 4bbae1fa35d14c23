// The loss of packed documents and where its gradient goes.
#pragma once

#include "model/forward.h"
#include "train/corpus.h"

#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// Documents end to end with the positions that count: logits are computed there alone.
struct PackedTargets {
  Packed input;
  at::Tensor rows;     // [M] flat positions whose next token counts
  at::Tensor targets;  // [M] the next tokens
  at::Tensor weights;  // [M] float32, as the documents have them
  double weight_sum = 0;
};
PackedTargets pack_targets(const std::vector<Document>& documents);

// Weighted sum of -log p(target) over the documents divided by `divisor`; the graph is kept if gradients are enabled.
at::Tensor packed_loss(const Model& model, const PackedTargets& packed, double divisor, ForwardOptions options);

// Weighted mean over many documents without gradients, in passes of at most `tokens_per_pass`.
double mean_loss(const Model& model, const std::vector<Document>& documents, at::ScalarType compute,
                 int64_t tokens_per_pass = 2048);

// Cuts documents into groups of at most `tokens` tokens (a longer document is a group of its own), in order.
std::vector<std::vector<Document>> group_by_tokens(const std::vector<Document>& documents, int64_t tokens);

}  // namespace introspect
