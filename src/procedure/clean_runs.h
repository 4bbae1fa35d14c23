// The two unpatched runs that every sweep starts from; for sweep*.cpp only.
#pragma once

#include "model/forward.h"
#include "procedure/sweep.h"

#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// x of every prompt (with its answer behind it) in one pass.
struct CleanRun {
  Packed packed;  // prompt p's position t lies at row packed.starts[p] + t
  // Models with attention:
  KeyValues cache;                   // of all layers
  std::vector<at::Tensor> residual;  // [blocks] of [N, D]: leaving the block's first layer; undefined in the last layer
  std::vector<SweepResult> results;  // before, correct
  at::Tensor logits;                 // keep_logits: [prompts, V] behind the prompt
};
CleanRun run_clean(const Model& model, const std::vector<SweepPrompt>& prompts, const SweepSettings& settings);

// x' of every prompt in one pass: v of each block at every position, in the type of the residual stream.
struct CounterfactualRun {
  std::vector<int64_t> starts;      // [prompts + 1]
  std::vector<at::Tensor> vectors;  // [blocks] of [N', D]
};
CounterfactualRun run_counterfactual(const Model& model, const std::vector<SweepPrompt>& prompts,
                                     const SweepSettings& settings);

// The sweep of recurrent models, which have no keys and values to share; check_prompts comes first.
std::vector<SweepResult> sweep_from_states(const Model& model, const std::vector<SweepPrompt>& prompts,
                                           const SweepSettings& settings);

void check_prompts(const std::vector<SweepPrompt>& prompts);
at::Tensor index_tensor(const std::vector<int64_t>& rows, const at::Device& device);
std::vector<int64_t> argmax_rows(const at::Tensor& logits);

}  // namespace introspect
