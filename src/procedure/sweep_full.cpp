// The sweep as one would write it down: every patched prompt runs whole.
#include "procedure/clean_runs.h"
#include "procedure/sweep.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

namespace introspect {

namespace {

struct FullPatch {
  size_t prompt, cell;
  int64_t block;
};

void run_patches(const Model& model, const std::vector<SweepPrompt>& prompts, const SweepSettings& settings,
                 const CounterfactualRun& other, const std::vector<LayerBlock>& blocks,
                 const std::vector<FullPatch>& patches, bool all_logits, std::vector<SweepResult>& results) {
  std::vector<std::vector<int64_t>> sequences;
  for (const FullPatch& patch : patches) sequences.push_back(prompts[patch.prompt].tokens);
  const Packed packed = pack(sequences);

  // a tap for each layer, with the patches whose block holds that layer
  Taps taps;
  for (int64_t layer = 0; layer < model.config.layers; ++layer) {
    std::vector<int64_t> rows;
    std::vector<at::Tensor> values;
    for (size_t i = 0; i < patches.size(); ++i) {
      const LayerBlock& block = blocks[static_cast<size_t>(patches[i].block)];
      if (layer < block.first || layer > block.last) continue;
      const SweepPrompt& prompt = prompts[patches[i].prompt];
      rows.push_back(packed.starts[i] + prompt.positions[patches[i].cell]);
      values.push_back(other.vectors[static_cast<size_t>(patches[i].block)].select(
          0, other.starts[patches[i].prompt] + prompt.sources[patches[i].cell]));
    }
    if (rows.empty()) continue;
    taps.push_back(
        Tap::replace({PlaceKind::resid_post, layer}, index_tensor(rows, model.embedding.device()), at::stack(values)));
  }
  std::vector<int64_t> last;
  for (size_t i = 0; i < patches.size(); ++i) last.push_back(packed.starts[i + 1] - 1);
  ForwardOptions options;
  options.taps = &taps;
  const at::Tensor wanted = index_tensor(last, model.embedding.device());
  if (!all_logits) options.logits_at = wanted;
  options.compute = settings.compute;
  at::Tensor logits = forward(model, packed, options).logits;
  if (all_logits) logits = logits.index_select(0, wanted);
  const std::vector<int64_t> best = argmax_rows(logits);
  for (size_t i = 0; i < patches.size(); ++i) {
    const FullPatch& patch = patches[i];
    SweepResult& result = results[patch.prompt];
    result.after[static_cast<size_t>(patch.block)][patch.cell] = best[i];
    if (settings.keep_logits) {
      const int64_t cells = std::ssize(prompts[patch.prompt].positions);
      result.logits.select(0, patch.block * cells + static_cast<int64_t>(patch.cell))
          .copy_(logits[static_cast<int64_t>(i)]);
    }
  }
}

}  // namespace

std::vector<SweepResult> sweep_by_full_runs(const Model& model, const std::vector<SweepPrompt>& prompts,
                                            const SweepSettings& settings, int64_t patches_per_pass, bool all_logits) {
  check_prompts(prompts);
  at::NoGradGuard no_gradients;
  const std::vector<LayerBlock> blocks = layer_blocks(model.config.layers, settings.blocks);
  std::vector<SweepResult> results = run_clean(model, prompts, settings).results;
  const CounterfactualRun other = run_counterfactual(model, prompts, settings);
  std::vector<FullPatch> pending;
  for (int64_t b = 0; b < std::ssize(blocks); ++b) {
    for (size_t p = 0; p < prompts.size(); ++p) {
      SweepResult& result = results[p];
      result.swept = result.correct || !settings.only_correct;
      if (!result.swept) continue;
      const int64_t cells = std::ssize(prompts[p].positions);
      result.after.resize(blocks.size(), std::vector<int64_t>(static_cast<size_t>(cells), -1));
      if (settings.keep_logits && !result.logits.defined()) {
        result.logits = at::zeros({cells * std::ssize(blocks), model.config.vocab_size});
      }
      for (size_t cell = 0; cell < static_cast<size_t>(cells); ++cell) {
        pending.push_back({p, cell, b});
        if (std::ssize(pending) < patches_per_pass) continue;
        run_patches(model, prompts, settings, other, blocks, pending, all_logits, results);
        pending.clear();
      }
    }
  }
  if (!pending.empty()) run_patches(model, prompts, settings, other, blocks, pending, all_logits, results);
  return results;
}

}  // namespace introspect
