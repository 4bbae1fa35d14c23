#include "procedure/clean_runs.h"

#include "base/error.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

namespace introspect {

std::vector<LayerBlock> layer_blocks(int64_t layers, int64_t blocks) {
  if (blocks < 1 || blocks > layers) {
    fail_usage("sweep", fmt::format("blocks: got {}, expected 1 to the model's {} layers", blocks, layers));
  }
  std::vector<LayerBlock> result;
  for (int64_t b = 0; b < blocks; ++b) result.push_back({layers * b / blocks, layers * (b + 1) / blocks - 1});
  return result;
}

void check_prompts(const std::vector<SweepPrompt>& prompts) {
  if (prompts.empty()) fail("sweep", "got no prompts, expected at least one");
  for (size_t p = 0; p < prompts.size(); ++p) {
    const SweepPrompt& prompt = prompts[p];
    if (prompt.tokens.empty() || prompt.counterfactual.empty() || prompt.answer.empty()) {
      fail("sweep", fmt::format("prompt {}: expected tokens, a counterfactual and an answer, got an empty one", p));
    }
    if (prompt.positions.size() != prompt.sources.size()) {
      fail("sweep", fmt::format("prompt {}: got {} positions and {} sources, expected as many", p,
                                prompt.positions.size(), prompt.sources.size()));
    }
    for (size_t i = 0; i < prompt.positions.size(); ++i) {
      if (prompt.positions[i] < 0 || prompt.positions[i] >= std::ssize(prompt.tokens) || prompt.sources[i] < 0 ||
          prompt.sources[i] >= std::ssize(prompt.counterfactual)) {
        fail("sweep",
             fmt::format("prompt {}: cell {} names position {} from {}, the prompts have {} and {}", p, i,
                         prompt.positions[i], prompt.sources[i], prompt.tokens.size(), prompt.counterfactual.size()));
      }
    }
  }
}

at::Tensor index_tensor(const std::vector<int64_t>& rows, const at::Device& device) {
  return at::tensor(rows, at::kLong).to(device);
}

std::vector<int64_t> argmax_rows(const at::Tensor& logits) {
  const auto [value, index] = logits.max(1);
  if (value.isnan().any().item<bool>()) {
    fail("procedure", "the target's logits are not numbers (NaN)",
         "were its weights damaged, or is its type too narrow?");
  }
  const at::Tensor best = index.to(at::kCPU).contiguous();
  const int64_t* begin = best.data_ptr<int64_t>();
  return {begin, begin + best.numel()};
}

CleanRun run_clean(const Model& model, const std::vector<SweepPrompt>& prompts, const SweepSettings& settings) {
  const std::vector<LayerBlock> blocks = layer_blocks(model.config.layers, settings.blocks);
  CleanRun run;
  std::vector<std::vector<int64_t>> sequences;
  for (const SweepPrompt& prompt : prompts) {
    sequences.push_back(prompt.tokens);
    sequences.back().insert(sequences.back().end(), prompt.answer.begin(), prompt.answer.end() - 1);
  }
  run.packed = pack(sequences);
  std::vector<int64_t> asked;  // the rows whose next token is one of the answer's
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (int64_t i = 0; i < std::ssize(prompts[p].answer); ++i) {
      asked.push_back(run.packed.starts[p + 1] - std::ssize(prompts[p].answer) + i);
    }
  }

  Taps taps;
  const bool shared = !model.config.recurrent();
  for (const LayerBlock& block : blocks) {
    // nothing looks at what leaves the last layer, and a tap there would make it carry all positions on
    if (shared && block.first < model.config.layers - 1)
      taps.push_back(Tap::capture({PlaceKind::resid_post, block.first}));
  }
  ForwardOptions options;
  options.taps = &taps;
  options.keep_cache = options.keep_queries = shared;
  options.compute = settings.compute;
  options.logits_at = index_tensor(asked, model.embedding.device());
  ForwardResult result = forward(model, run.packed, options);
  run.cache = std::move(result.cache);
  for (size_t b = 0; b < blocks.size(); ++b) run.residual.push_back(b < taps.size() ? taps[b].captured : at::Tensor());

  if (settings.keep_logits) {
    std::vector<int64_t> first;
    int64_t row = 0;
    for (const SweepPrompt& prompt : prompts) {
      first.push_back(row);
      row += std::ssize(prompt.answer);
    }
    run.logits = result.logits.index_select(0, index_tensor(first, result.logits.device()));
  }
  const std::vector<int64_t> best = argmax_rows(result.logits);
  auto next = best.begin();
  for (const SweepPrompt& prompt : prompts) {
    SweepResult& made = run.results.emplace_back();
    made.before = *next;
    made.correct = std::equal(prompt.answer.begin(), prompt.answer.end(), next);
    next += std::ssize(prompt.answer);
  }
  return run;
}

CounterfactualRun run_counterfactual(const Model& model, const std::vector<SweepPrompt>& prompts,
                                     const SweepSettings& settings) {
  std::vector<std::vector<int64_t>> sequences;
  for (const SweepPrompt& prompt : prompts) sequences.push_back(prompt.counterfactual);
  const Packed packed = pack(sequences);
  Taps taps;
  for (int64_t layer = 0; layer < model.config.layers; ++layer) {
    taps.push_back(Tap::capture({PlaceKind::resid_post, layer}));
  }
  ForwardOptions options;
  options.taps = &taps;
  options.want_logits = false;
  options.compute = settings.compute;
  forward(model, packed, options);

  CounterfactualRun run;
  run.starts = packed.starts;
  for (const LayerBlock& block : layer_blocks(model.config.layers, settings.blocks)) {
    at::Tensor sum =
        taps[static_cast<size_t>(block.first)].captured.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    for (int64_t layer = block.first + 1; layer <= block.last; ++layer) {
      sum.add_(taps[static_cast<size_t>(layer)].captured.to(sum.device()));
    }
    sum.div_(static_cast<double>(block.last - block.first + 1));
    run.vectors.push_back(sum.to(taps[0].captured.scalar_type()));
  }
  return run;
}

}  // namespace introspect
