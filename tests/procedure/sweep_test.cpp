#include "procedure/sweep.h"

#include "base/error.h"
#include "base/random.h"
#include "model/forward.h"
#include "procedure/tiny.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

constexpr int64_t vocabulary = 50;

std::vector<SweepPrompt> random_prompts(size_t count, uint64_t seed) {
  Random random(seed, "sweep_test");
  std::vector<SweepPrompt> prompts(count);
  for (SweepPrompt& prompt : prompts) {
    const size_t length = 5 + random.below(6), other = 5 + random.below(6);
    for (size_t t = 0; t < length; ++t) prompt.tokens.push_back(static_cast<int64_t>(random.below(vocabulary)));
    for (size_t t = 0; t < other; ++t) prompt.counterfactual.push_back(static_cast<int64_t>(random.below(vocabulary)));
    for (size_t i = 0; i < 1 + random.below(3); ++i)
      prompt.answer.push_back(static_cast<int64_t>(random.below(vocabulary)));
    for (size_t t = 0; t < length; ++t) {
      prompt.positions.push_back(static_cast<int64_t>(t));
      prompt.sources.push_back(static_cast<int64_t>(random.below(other)));
    }
  }
  return prompts;
}

// One patch with nothing shared: a full pass with captures for v, a full pass with replacements, logits everywhere.
at::Tensor patched_logits(const Model& model, const SweepPrompt& prompt, const LayerBlock& block, size_t cell) {
  Taps captures;
  for (int64_t layer = block.first; layer <= block.last; ++layer)
    captures.push_back(Tap::capture({PlaceKind::resid_post, layer}));
  ForwardOptions options;
  options.taps = &captures;
  forward(model, pack({prompt.counterfactual}), options);
  at::Tensor v = at::zeros({model.config.d_model});
  for (const Tap& tap : captures) v += tap.captured[prompt.sources[cell]] / static_cast<double>(captures.size());
  Taps taps;
  for (int64_t layer = block.first; layer <= block.last; ++layer) {
    taps.push_back(Tap::replace({PlaceKind::resid_post, layer}, at::tensor({prompt.positions[cell]}, at::kLong), v));
  }
  options.taps = &taps;
  return forward(model, pack({prompt.tokens}), options).logits[std::ssize(prompt.tokens) - 1];
}

void expect_equal_to_full_runs(int64_t layers, int64_t blocks, const std::string& family, int64_t rows_per_pass) {
  at::NoGradGuard no_gradients;
  const Model model = tiny::model(layers, vocabulary, 32, family);
  const auto prompts = random_prompts(6, static_cast<uint64_t>(layers * 10 + blocks));
  SweepSettings settings;
  settings.blocks = blocks;
  settings.only_correct = false;
  settings.keep_logits = true;
  settings.rows_per_pass = rows_per_pass;
  const auto results = sweep_prompts(model, prompts, settings);
  const auto full = sweep_by_full_runs(model, prompts, settings, 7);
  const auto layer_ranges = layer_blocks(layers, blocks);
  double largest_effect = 0, scale = 0;
  for (size_t p = 0; p < prompts.size(); ++p) {
    const at::Tensor clean = forward(model, pack({prompts[p].tokens})).logits[std::ssize(prompts[p].tokens) - 1];
    EXPECT_EQ(results[p].before, clean.argmax().item<int64_t>());
    EXPECT_EQ(results[p].before, full[p].before);
    const auto cells = std::ssize(prompts[p].positions);
    for (size_t b = 0; b < layer_ranges.size(); ++b) {
      for (size_t i = 0; i < prompts[p].positions.size(); ++i) {
        const at::Tensor expected = patched_logits(model, prompts[p], layer_ranges[b], i);
        const at::Tensor got = results[p].logits[static_cast<int64_t>(b) * cells + static_cast<int64_t>(i)];
        const at::Tensor packed = full[p].logits[static_cast<int64_t>(b) * cells + static_cast<int64_t>(i)];
        EXPECT_LT((got - expected).abs().max().item<double>(), 1e-4) << "block " << b << " cell " << i;
        EXPECT_LT((packed - expected).abs().max().item<double>(), 1e-4) << "block " << b << " cell " << i;
        EXPECT_EQ(results[p].after[b][i], expected.argmax().item<int64_t>());
        EXPECT_EQ(full[p].after[b][i], results[p].after[b][i]);
        largest_effect = std::max(largest_effect, (expected - clean).abs().max().item<double>());
        scale = std::max(scale, expected.abs().max().item<double>());
      }
    }
  }
  EXPECT_GT(largest_effect, 0.1);  // or the comparison would show nothing
  EXPECT_GT(scale, 1);
}

TEST(Sweep, EqualsFullRunsOfEveryCell) {
  expect_equal_to_full_runs(8, 4, "llama", 64);
}
TEST(Sweep, EqualsFullRunsWithUnevenBlocks) {
  expect_equal_to_full_runs(5, 3, "qwen3", 1000);
}
TEST(Sweep, EqualsFullRunsWithBlocksOfOneLayer) {
  expect_equal_to_full_runs(3, 3, "llama", 1);
}
TEST(Sweep, EqualsFullRunsWithOneBlock) {
  expect_equal_to_full_runs(3, 1, "qwen3", 30);
}

TEST(Sweep, OfRecurrentModelsEqualsFullRunsOfEveryCell) {
  for (const char* family : {"mamba", "rwkv7"}) {
    SCOPED_TRACE(family);
    expect_equal_to_full_runs(5, 3, family, 40);
    expect_equal_to_full_runs(3, 1, family, 1);
  }
}

class SweepOf : public testing::TestWithParam<const char*> {};

TEST_P(SweepOf, CorrectMeansTheWholeAnswer) {
  const Model model = tiny::model(2, vocabulary, 32, GetParam());
  auto prompts = random_prompts(3, 5);
  for (SweepPrompt& prompt : prompts) {  // two greedy tokens
    prompt.answer.clear();
    std::vector<int64_t> text = prompt.tokens;
    for (int i = 0; i < 2; ++i) {
      const at::Tensor logits = forward(model, pack({text})).logits;
      text.push_back(logits[std::ssize(text) - 1].argmax().item<int64_t>());
      prompt.answer.push_back(text.back());
    }
  }
  prompts[1].answer[1] = (prompts[1].answer[1] + 1) % vocabulary;
  prompts[2].answer[0] = (prompts[2].answer[0] + 1) % vocabulary;
  SweepSettings settings;
  settings.blocks = 2;
  const auto results = sweep_prompts(model, prompts, settings);
  EXPECT_TRUE(results[0].correct && results[0].swept);
  EXPECT_FALSE(results[1].correct || results[1].swept);
  EXPECT_FALSE(results[2].correct || results[2].swept);
  EXPECT_TRUE(results[1].after.empty());
  EXPECT_EQ(results[0].after.size(), 2u);
}

INSTANTIATE_TEST_SUITE_P(Families, SweepOf, testing::Values("llama", "mamba", "rwkv7"),
                         [](const auto& given) { return std::string(given.param); });

TEST(Sweep, VectorsAreTheMeanOverTheBlock) {
  const Model model = tiny::model(4, vocabulary, 32);
  const auto prompts = random_prompts(2, 9);
  SweepSettings settings;
  settings.blocks = 2;
  const auto vectors = counterfactual_vectors(model, prompts, settings);
  Taps taps = {Tap::capture({PlaceKind::resid_post, 2}), Tap::capture({PlaceKind::resid_post, 3})};
  ForwardOptions options;
  options.taps = &taps;
  forward(model, pack({prompts[1].counterfactual}), options);
  const at::Tensor expected = (taps[0].captured + taps[1].captured) / 2;
  for (size_t i = 0; i < prompts[1].sources.size(); ++i) {
    const at::Tensor got = vectors[1][1][static_cast<int64_t>(i)];
    EXPECT_LT((got - expected[prompts[1].sources[i]]).abs().max().item<double>(), 1e-4);
  }
}

TEST(Sweep, BadInput) {
  const Model model = tiny::model(2, vocabulary, 32);
  auto prompts = random_prompts(1, 1);
  SweepSettings settings;
  settings.blocks = 3;
  EXPECT_THROW(sweep_prompts(model, prompts, settings), Error);
  settings.blocks = 2;
  EXPECT_THROW(sweep_prompts(model, {}, settings), Error);
  prompts[0].positions[0] = 100;
  EXPECT_THROW(sweep_prompts(model, prompts, settings), Error);
  prompts = random_prompts(1, 1);
  prompts[0].sources.pop_back();
  EXPECT_THROW(sweep_prompts(model, prompts, settings), Error);
  prompts = random_prompts(1, 1);
  at::NoGradGuard no_gradients;
  Model broken = clone_model(model);
  broken.final_norm.fill_(std::nanf(""));
  EXPECT_THROW(sweep_prompts(broken, prompts, settings), Error);
}

}  // namespace
}  // namespace introspect
