// Questions, answers and replayed text packed into one forward pass, with the vectors in their slots.
#pragma once

#include "base/distributed.h"
#include "explainer/explainer.h"
#include "explainer/question.h"
#include "model/forward.h"
#include "train/corpus.h"
#include "train/loss.h"

#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct ExplainerBatch {
  PackedTargets packed;     // logits are computed where the next token is an answer's or a replayed one
  at::Tensor slot_rows;     // [slots] flat positions
  at::Tensor slot_vectors;  // [slots, d_target]
  std::vector<int64_t> slot_layers;
  std::vector<size_t> slot_tasks;  // Question::task: how the vector is injected
  int64_t answer_tokens = 0;       // of all processes' shares
  int64_t answer_rows = 0;         // the first this many of packed.rows are answers', the rest replay's
};

// vectors [questions, d_target]. The loss weights make the sum over answer tokens their mean, and likewise replay.
// `shared_by`: the batch holds this process's share of questions and replay, and may be empty; the weights stay those
// of the whole, so that losses and gradients of all shares add up to the whole's.
ExplainerBatch make_batch(const Explainer& explainer, const std::vector<Question>& questions, const at::Tensor& vectors,
                          const std::vector<Document>& replay, const World& shared_by = {});

struct BatchLoss {
  at::Tensor total;    // mean over answer tokens plus mean over replayed tokens; has the graph
  double answers = 0;  // the first of them
};
BatchLoss batch_loss(const Explainer& explainer, const ExplainerBatch& batch, ForwardOptions options);

}  // namespace introspect
