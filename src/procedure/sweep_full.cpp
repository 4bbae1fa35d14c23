// The sweep as one would write it down: every patched prompt runs whole. Recurrent models run it from the states in
// front of the patched position: behind it a patch changes all of them.
#include "procedure/clean_runs.h"
#include "procedure/state_walk.h"
#include "procedure/sweep.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

namespace introspect {

namespace {

struct FullPatch {
  size_t prompt, cell;
  int64_t block;
  int64_t begin = 0;  // the first position that is run
};

// What the passes of one sweep share.
struct FullSweep {
  const Model& model;
  const std::vector<SweepPrompt>& prompts;
  const SweepSettings& settings;
  bool all_logits;
  std::vector<LayerBlock> blocks;
  std::vector<SweepResult> results;
  CounterfactualRun other;

  FullSweep(const Model& of_model, const std::vector<SweepPrompt>& all, const SweepSettings& wanted, bool every_logit)
      : model(of_model),
        prompts(all),
        settings(wanted),
        all_logits(every_logit),
        blocks(layer_blocks(model.config.layers, settings.blocks)),
        results(run_clean(model, prompts, settings).results),
        other(run_counterfactual(model, prompts, settings)) {
    for (size_t p = 0; p < prompts.size(); ++p) {
      SweepResult& result = results[p];
      result.swept = result.correct || !settings.only_correct;
      if (!result.swept) continue;
      result.after.assign(blocks.size(), std::vector<int64_t>(prompts[p].positions.size(), -1));
      const int64_t cells = std::ssize(prompts[p].positions) * std::ssize(blocks);
      if (settings.keep_logits) result.logits = at::zeros({cells, model.config.vocab_size});
    }
  }

  void run(const std::vector<FullPatch>& patches, const States* states);
};

void FullSweep::run(const std::vector<FullPatch>& patches, const States* states) {
  std::vector<std::vector<int64_t>> sequences;
  std::vector<int64_t> begins;
  for (const FullPatch& patch : patches) {
    const std::vector<int64_t>& tokens = prompts[patch.prompt].tokens;
    sequences.emplace_back(tokens.begin() + patch.begin, tokens.end());
    begins.push_back(patch.begin);
  }
  const Packed packed = pack(sequences, begins);

  // a tap for each layer, with the patches whose block holds that layer
  Taps taps;
  for (int64_t layer = 0; layer < model.config.layers; ++layer) {
    std::vector<int64_t> rows;
    std::vector<at::Tensor> values;
    for (size_t i = 0; i < patches.size(); ++i) {
      const LayerBlock& block = blocks[static_cast<size_t>(patches[i].block)];
      if (layer < block.first || layer > block.last) continue;
      const SweepPrompt& prompt = prompts[patches[i].prompt];
      rows.push_back(packed.starts[i] + prompt.positions[patches[i].cell] - patches[i].begin);
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
  options.states = states;
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
  FullSweep sweep(model, prompts, settings, all_logits);
  std::vector<FullPatch> pending;
  for (int64_t b = 0; b < std::ssize(sweep.blocks); ++b) {
    for (size_t p = 0; p < prompts.size(); ++p) {
      if (!sweep.results[p].swept) continue;
      for (size_t cell = 0; cell < prompts[p].positions.size(); ++cell) {
        pending.push_back({p, cell, b});
        if (std::ssize(pending) < patches_per_pass) continue;
        sweep.run(pending, nullptr);
        pending.clear();
      }
    }
  }
  if (!pending.empty()) sweep.run(pending, nullptr);
  return std::move(sweep.results);
}

std::vector<SweepResult> sweep_from_states(const Model& model, const std::vector<SweepPrompt>& prompts,
                                           const SweepSettings& settings) {
  FullSweep sweep(model, prompts, settings, /*every_logit=*/false);
  std::vector<std::vector<int64_t>> texts, stops;
  for (size_t p = 0; p < prompts.size(); ++p) {
    texts.push_back(prompts[p].tokens);
    stops.push_back(sweep.results[p].swept ? prompts[p].positions : std::vector<int64_t>{});
  }
  const auto visit = [&](const States& states, const std::vector<StateStop>& at) {
    std::vector<FullPatch> pending;
    std::vector<int64_t> of_text;
    int64_t rows = 0;
    const auto flush = [&] {
      if (pending.empty()) return;
      const States from = select_rows(states, index_tensor(of_text, at::kCPU));
      sweep.run(pending, &from);
      pending.clear();
      of_text.clear();
      rows = 0;
    };
    for (const StateStop& stop : at) {
      const int64_t begin = prompts[stop.text].positions[stop.index];
      const int64_t more = std::ssize(prompts[stop.text].tokens) - begin;
      for (int64_t b = 0; b < std::ssize(sweep.blocks); ++b) {
        if (rows + more > settings.rows_per_pass) flush();
        pending.push_back({stop.text, stop.index, b, begin});
        of_text.push_back(static_cast<int64_t>(stop.text));
        rows += more;
      }
    }
    flush();
  };
  walk_states(model, texts, stops, settings.compute, visit);
  return std::move(sweep.results);
}

}  // namespace introspect
