// The patching sweep: for every block of layers and every position of a prompt, the target's next token after that
// position's residual stream is replaced through the block. Computed is only what a patch can change.
//
// A patch of block [first, last] at position t puts v in place of the residual stream that leaves each of the block's
// layers at t. Up to layer `first` nothing else is touched, since the replacement comes after that layer's attention;
// above it, positions before t stay as they were. So a patch is a pass over positions t..T-1 that starts at layer
// first + 1 with v at t and the clean residual stream behind it, and sees the clean keys and values of positions 0..t-1
// as its prefix. At the last position there is nothing behind, and the pass starts above the block.
#pragma once

#include "model/model.h"

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct LayerBlock {
  int64_t first = 0, last = 0;  // both inclusive
};
// Layers cut into `blocks` runs of as equal length as possible. Throws Error for more blocks than layers.
std::vector<LayerBlock> layer_blocks(int64_t layers, int64_t blocks);

struct SweepPrompt {
  std::vector<int64_t> tokens;              // x, T of them
  std::vector<int64_t> counterfactual;      // x'
  std::vector<int64_t> answer;              // tokens of the right answer, at least one
  std::vector<int64_t> positions, sources;  // the cells: t of x and t' of x'
};

struct SweepSettings {
  int64_t blocks = 4;
  bool only_correct = true;      // no patches for a prompt that the target answers wrongly
  int64_t rows_per_pass = 1024;  // positions of all patches of a pass together: as many as stay in a core's cache
  at::ScalarType compute = at::kFloat;  // of matrix products, as ForwardOptions has it
  bool keep_logits = false;             // for comparisons; much memory
};

struct SweepResult {
  int64_t before = -1;                      // argmax behind the prompt, unpatched
  bool correct = false;                     // every token of the answer is the argmax behind the ones before it
  bool swept = false;                       // false: only_correct, and it was not
  std::vector<std::vector<int64_t>> after;  // [blocks][cells]: argmax with the patch
  at::Tensor logits;                        // keep_logits: [blocks * cells, V]
};

// The vectors of each prompt's cells, [blocks][cells, D] float32, exactly as the sweep puts them in: the mean over the
// block's layers of the residual stream that leaves them, in the run of x' at t'. One pass over all prompts: memory is
// layers x positions x D.
std::vector<std::vector<at::Tensor>> counterfactual_vectors(const Model& model, const std::vector<SweepPrompt>& prompts,
                                                            const SweepSettings& settings = {});

// All prompts' clean runs in one pass, then passes of rows_per_pass. Memory: (layers + blocks) x positions x D.
// Throws Error for a position outside its prompt. Results are in the order of the prompts.
std::vector<SweepResult> sweep_prompts(const Model& model, const std::vector<SweepPrompt>& prompts,
                                       const SweepSettings& settings = {});

// The same by running every patched prompt again from the first token through all layers, `patches_per_pass` of them
// packed in a pass. What the sweep is measured against, in tests and in bench/patching_sweep. `all_logits`: computed at
// every position, as a plain run of a model does, and not at the last one alone.
std::vector<SweepResult> sweep_by_full_runs(const Model& model, const std::vector<SweepPrompt>& prompts,
                                            const SweepSettings& settings, int64_t patches_per_pass,
                                            bool all_logits = true);

}  // namespace introspect
