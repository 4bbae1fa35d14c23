#include "feature/directions.h"

#include "base/temporary_folder.h"
#include "model/forward.h"
#include "model/tiny_model.h"

#include <cmath>
#include <set>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

using test::tiny_model;
using test::tiny_tokenizer;

constexpr int64_t pieces = 70, length = 9;

// Pieces of 5 to 9 tokens with BOS in front, some with a special token inside.
at::Tensor a_pool() {
  at::Tensor tokens = at::full({pieces, length}, -1, at::kInt);
  Random random(4, "pool");
  for (int64_t p = 0; p < pieces; ++p) {
    const auto end = static_cast<int64_t>(5 + random.below(5));
    for (int64_t t = 0; t < end; ++t) {
      const auto token = t == 0 ? *tiny_tokenizer().bos() : static_cast<int64_t>(10 + random.below(200));
      tokens[p][t] = t == 3 && p % 5 == 0 ? *tiny_tokenizer().id("<|end|>") : token;
    }
  }
  return tokens;
}

TEST(Directions, ContextsHaveTheInnerProductsOfEachPieceAlone) {
  const Model model = tiny_model();
  const at::Tensor tokens = a_pool(), directions = test::random_tensor({3, 48}, 8);
  const PoolStates pool(model, tiny_tokenizer(), tokens, {0, 2});
  DirectionSettings settings;
  settings.top = 6;
  settings.random = 4;
  const std::vector<FeatureContexts> all = contexts_of_directions(pool, 2, directions, settings);
  ASSERT_EQ(all.size(), 3u);
  for (int64_t d = 0; d < 3; ++d) {
    at::Tensor expected = at::zeros({pieces, length}), highest = at::full({pieces}, -INFINITY);
    for (int64_t p = 0; p < pieces; ++p) {
      std::vector<int64_t> sequence;
      for (int64_t t = 0; t < length && tokens[p][t].item<int32_t>() >= 0; ++t) {
        sequence.push_back(tokens[p][t].item<int32_t>());
      }
      Taps taps{Tap::capture({PlaceKind::resid_post, 2})};
      test::run_logits(model, sequence, &taps);
      for (int64_t t = 1; t < std::ssize(sequence); ++t) {
        if (t == 3 && p % 5 == 0) continue;
        expected[p][t] = at::dot(taps[0].captured[t], directions[d]);
        highest[p] = at::maximum(highest[p], expected[p][t]);
      }
    }
    const FeatureContexts& contexts = all[static_cast<size_t>(d)];
    EXPECT_EQ(contexts.layer, 2);
    EXPECT_EQ(contexts.latent, d);
    ASSERT_EQ(contexts.kinds.size(), 10u);
    const at::Tensor order = highest.argsort(0, true);
    std::set<int64_t> seen;
    for (int64_t c = 0; c < 10; ++c) {
      EXPECT_EQ(contexts.kinds[static_cast<size_t>(c)], c < 6 ? ContextKind::top : ContextKind::random);
      int64_t piece = -1;
      for (int64_t p = 0; p < pieces; ++p) {
        if (at::equal(contexts.tokens[c], tokens[p])) piece = p;
      }
      ASSERT_GE(piece, 0);
      EXPECT_TRUE(seen.insert(piece).second);
      if (c < 6) {
        EXPECT_EQ(piece, order[c].item<int64_t>());
      }
      EXPECT_LT(test::difference(contexts.activations[c], expected[piece]), 1e-3);
      EXPECT_NEAR(contexts.values[c].item<double>(), highest[piece].item<double>(), 1e-3);
    }
    // one direction alone is the same
    const FeatureContexts alone = contexts_of_direction(pool, 2, directions[d], settings);
    EXPECT_TRUE(at::equal(alone.tokens, contexts.tokens));
    EXPECT_LT(test::difference(alone.activations, contexts.activations), 1e-4);
  }
  settings.top = settings.random = 1000;
  EXPECT_EQ(contexts_of_direction(pool, 0, directions[0], settings).kinds.size(), static_cast<size_t>(pieces));
}

TEST(Directions, WhatCannotBeDoneIsAnError) {
  const Model model = tiny_model();
  at::Tensor tokens = a_pool();
  const PoolStates pool(model, tiny_tokenizer(), tokens, {1});
  EXPECT_TRUE(holds(error_of([&] { contexts_of_direction(pool, 0, at::ones({48})); }), "not run up to it"));
  EXPECT_TRUE(holds(error_of([&] { contexts_of_direction(pool, 1, at::ones({47})); }), "got 47 numbers"));
  EXPECT_TRUE(holds(error_of([&] { contexts_of_direction(pool, 1, at::full({48}, NAN)); }), "not finite"));
  EXPECT_TRUE(holds(error_of([&] { PoolStates(model, tiny_tokenizer(), tokens, {3}); }), "the model has 3"));
  EXPECT_TRUE(holds(error_of([&] { PoolStates(model, tiny_tokenizer(), tokens, {}); }), "no layer"));
  tokens[4][1] = -1;
  EXPECT_TRUE(holds(error_of([&] { PoolStates(model, tiny_tokenizer(), tokens, {1}); }), "piece 4"));
  EXPECT_TRUE(holds(error_of([&] { PoolStates(model, tiny_tokenizer(), at::empty({0, 4}), {1}); }), "0 tokens"));
}

}  // namespace
}  // namespace introspect
