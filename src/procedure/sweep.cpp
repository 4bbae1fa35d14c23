#include "procedure/sweep.h"

#include "procedure/clean_runs.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

namespace introspect {

namespace {

struct Patch {
  size_t prompt, cell;
  int64_t position, source;
};

// What the passes of one sweep share.
struct Sweep {
  const Model& model;
  const std::vector<SweepPrompt>& prompts;
  const SweepSettings& settings;
  CleanRun clean;
  CounterfactualRun other;
  std::vector<LayerBlock> blocks;

  int64_t last_position(const Patch& patch) const { return std::ssize(prompts[patch.prompt].tokens) - 1; }
  int64_t clean_row(const Patch& patch, int64_t t) const { return clean.packed.starts[patch.prompt] + t; }
  int64_t vector_row(const Patch& patch) const { return other.starts[patch.prompt] + patch.source; }

  void keep(size_t b, const Patch& patch, int64_t token, const at::Tensor& logits, int64_t row) {
    SweepResult& result = clean.results[patch.prompt];
    result.after[b][patch.cell] = token;
    if (settings.keep_logits) {
      const int64_t cells = std::ssize(prompts[patch.prompt].positions);
      result.logits.select(0, static_cast<int64_t>(b) * cells + static_cast<int64_t>(patch.cell)).copy_(logits[row]);
    }
  }

  void keep_all(size_t b, const std::vector<Patch>& patches, const at::Tensor& logits) {
    const std::vector<int64_t> best = argmax_rows(logits);
    for (size_t i = 0; i < patches.size(); ++i) keep(b, patches[i], best[i], logits, static_cast<int64_t>(i));
  }
};

// Patches in front of the last position: positions t..T-1 from layer first + 1.
void run_inner(Sweep& sweep, size_t b, const std::vector<Patch>& patches, const at::Tensor& rows_of_block) {
  const LayerBlock& block = sweep.blocks[b];
  const at::Device device = rows_of_block.device();
  const int64_t clean_rows = sweep.clean.packed.size();
  Packed packed;
  packed.starts.assign(1, 0);
  Prefix prefix;
  prefix.cache = &sweep.clean.cache;
  Known known;
  known.cache = &sweep.clean.cache;
  std::vector<int64_t> take, positions, patched, last, clean;
  for (const Patch& patch : patches) {
    patched.push_back(std::ssize(take));
    take.push_back(clean_rows + sweep.vector_row(patch));
    clean.push_back(-1);
    positions.push_back(patch.position);
    for (int64_t t = patch.position + 1; t <= sweep.last_position(patch); ++t) {
      take.push_back(sweep.clean_row(patch, t));
      clean.push_back(take.back());
      positions.push_back(t);
    }
    packed.starts.push_back(std::ssize(take));
    last.push_back(std::ssize(take) - 1);
    prefix.begin.push_back(sweep.clean_row(patch, 0));
    prefix.length.push_back(patch.position);
  }
  packed.positions = at::tensor(positions, at::kLong);

  ForwardOptions options;
  options.first_layer = block.first + 1;
  options.residual = rows_of_block.index_select(0, index_tensor(take, device));
  options.prefix = &prefix;
  known.row = index_tensor(clean, at::kCPU);
  options.known = &known;
  options.logits_at = index_tensor(last, device);
  options.compute = sweep.settings.compute;
  const at::Tensor at_patched = index_tensor(patched, device);
  const at::Tensor vectors = options.residual.index_select(0, at_patched);
  Taps taps;
  // behind the last layer only the last position is read, and these patches are in front of it
  for (int64_t layer = block.first + 1; layer <= std::min(block.last, sweep.model.config.layers - 2); ++layer) {
    taps.push_back(Tap::replace({PlaceKind::resid_post, layer}, at_patched, vectors));
  }
  options.taps = &taps;
  sweep.keep_all(b, patches, forward(sweep.model, packed, options).logits);
}

// Patches at the last position: one row each, from the layer above the block.
void run_last(Sweep& sweep, size_t b, const std::vector<Patch>& patches) {
  std::vector<int64_t> take, positions;
  Packed packed;
  packed.starts.assign(1, 0);
  Prefix prefix;
  prefix.cache = &sweep.clean.cache;
  for (const Patch& patch : patches) {
    take.push_back(sweep.vector_row(patch));
    positions.push_back(patch.position);
    packed.starts.push_back(std::ssize(take));
    prefix.begin.push_back(sweep.clean_row(patch, 0));
    prefix.length.push_back(patch.position);
  }
  packed.positions = at::tensor(positions, at::kLong);
  ForwardOptions options;
  options.first_layer = sweep.blocks[b].last + 1;
  options.residual = sweep.other.vectors[b].index_select(0, index_tensor(take, sweep.other.vectors[b].device()));
  options.prefix = &prefix;
  options.compute = sweep.settings.compute;
  sweep.keep_all(b, patches, forward(sweep.model, packed, options).logits);
}

void run_block(Sweep& sweep, size_t b, const std::vector<Patch>& patches) {
  const bool only_last_layer = sweep.blocks[b].first == sweep.model.config.layers - 1;
  // One table of rows to gather from: the clean residual stream, then the vectors.
  at::Tensor rows;
  if (!only_last_layer) rows = at::cat({sweep.clean.residual[b], sweep.other.vectors[b]});

  std::vector<Patch> inner, last;
  int64_t pending = 0;
  const auto flush = [&](std::vector<Patch>& batch, bool at_last) {
    if (batch.empty()) return;
    if (at_last) {
      run_last(sweep, b, batch);
    } else {
      run_inner(sweep, b, batch, rows);
    }
    batch.clear();
  };
  for (const Patch& patch : patches) {
    const int64_t behind = sweep.last_position(patch) - patch.position;
    if (behind == 0) {
      last.push_back(patch);
      if (std::ssize(last) >= sweep.settings.rows_per_pass) flush(last, true);
    } else if (only_last_layer) {
      // replaced behind the last layer, where nobody looks at this position: the clean run is the answer
      sweep.keep(b, patch, sweep.clean.results[patch.prompt].before, sweep.clean.logits,
                 static_cast<int64_t>(patch.prompt));
    } else {
      if (pending > 0 && pending + behind + 1 > sweep.settings.rows_per_pass) {
        flush(inner, false);
        pending = 0;
      }
      inner.push_back(patch);
      pending += behind + 1;
    }
  }
  flush(inner, false);
  flush(last, true);
}

}  // namespace

std::vector<std::vector<at::Tensor>> counterfactual_vectors(const Model& model, const std::vector<SweepPrompt>& prompts,
                                                            const SweepSettings& settings) {
  check_prompts(prompts);
  at::NoGradGuard no_gradients;
  const CounterfactualRun run = run_counterfactual(model, prompts, settings);
  std::vector<std::vector<at::Tensor>> vectors(prompts.size());
  for (size_t p = 0; p < prompts.size(); ++p) {
    std::vector<int64_t> rows;
    for (const int64_t source : prompts[p].sources) rows.push_back(run.starts[p] + source);
    const at::Tensor index = index_tensor(rows, at::kCPU);
    for (const at::Tensor& of_block : run.vectors) {
      vectors[p].push_back(of_block.index_select(0, index.to(of_block.device())).to(at::kCPU, at::kFloat));
    }
  }
  return vectors;
}

std::vector<SweepResult> sweep_prompts(const Model& model, const std::vector<SweepPrompt>& prompts,
                                       const SweepSettings& settings) {
  check_prompts(prompts);
  at::NoGradGuard no_gradients;
  if (model.config.recurrent()) return sweep_from_states(model, prompts, settings);
  Sweep sweep{model,
              prompts,
              settings,
              run_clean(model, prompts, settings),
              run_counterfactual(model, prompts, settings),
              layer_blocks(model.config.layers, settings.blocks)};
  std::vector<Patch> patches;
  for (size_t p = 0; p < prompts.size(); ++p) {
    SweepResult& result = sweep.clean.results[p];
    result.swept = result.correct || !settings.only_correct;
    if (!result.swept) continue;
    result.after.assign(sweep.blocks.size(), std::vector<int64_t>(prompts[p].positions.size(), -1));
    const auto cells = std::ssize(prompts[p].positions) * std::ssize(sweep.blocks);
    if (settings.keep_logits) result.logits = at::zeros({cells, model.config.vocab_size});
    for (size_t i = 0; i < prompts[p].positions.size(); ++i) {
      patches.push_back({p, i, prompts[p].positions[i], prompts[p].sources[i]});
    }
  }
  for (size_t b = 0; b < sweep.blocks.size(); ++b) run_block(sweep, b, patches);
  return std::move(sweep.clean.results);
}

}  // namespace introspect
