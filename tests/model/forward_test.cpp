// Passes from a layer, to a layer, for some logits, behind a prefix; what is refused.
#include "model/forward.h"

#include "base/temporary_folder.h"
#include "goldens.h"
#include "tiny_model.h"

#include <c10/core/GradMode.h>

namespace introspect {
namespace {

using test::difference;
using test::random_tokens;
using test::rows_of;
using test::tiny_model;

class ForwardTest : public testing::TestWithParam<std::string> {
 protected:
  Model model_ = tiny_model(test::tiny_config(GetParam()));
  std::vector<std::vector<int64_t>> sequences_{random_tokens(9, 1), random_tokens(1, 2), random_tokens(14, 3)};
  Packed input_ = pack(sequences_);
};

class EveryFamilyTest : public ForwardTest {};

// The same weights in double precision.
Model in_float64(const Model& model) {
  Model wide = clone_model(model);
  for (auto& [name, tensor] : parameters(wide)) tensor.set_data(tensor.to(at::kDouble));
  return wide;
}

// In fp32 up to rounding, which depends on the processor's matrix product and which this Mamba enlarges to 2e-4; in
// double precision nothing is left of it.
TEST_P(EveryFamilyTest, PackedEqualsAlone) {
  const Model wide = in_float64(model_);
  const at::Tensor together = forward(model_, input_).logits, together_wide = forward(wide, input_).logits;
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const int64_t begin = input_.starts[s], end = input_.starts[s + 1];
    EXPECT_LT(difference(together.slice(0, begin, end), test::run_logits(model_, sequences_[s])), 5e-4);
    EXPECT_LT(difference(together_wide.slice(0, begin, end), test::run_logits(wide, sequences_[s])), 1e-9);
  }
}

TEST_P(ForwardTest, ToALayerAndOnFromThere) {
  const ForwardResult full = forward(model_, input_);
  for (int64_t layer = 0; layer <= model_.config.layers; ++layer) {
    ForwardOptions to;
    to.last_layer = layer;
    const ForwardResult first = forward(model_, input_, to);
    EXPECT_EQ(first.logits.defined(), layer == model_.config.layers);
    ForwardOptions from;
    from.first_layer = layer;
    from.residual = first.residual;
    from.keep_cache = true;
    const ForwardResult second = forward(model_, input_, from);
    EXPECT_LT(difference(second.logits, full.logits), 1e-5) << layer;
    ASSERT_EQ(std::ssize(second.cache.keys), model_.config.layers) << "an index is a layer";
    for (int64_t i = 0; i < model_.config.layers; ++i) EXPECT_EQ(second.cache.keys[i].defined(), i >= layer);
  }
}

TEST_P(EveryFamilyTest, SomeLogits) {
  const at::Tensor full = forward(model_, input_).logits;
  for (const std::vector<int64_t>& wanted :
       {std::vector<int64_t>{8, 9, 23}, {23, 0, 9, 8}, {4, 4, 5}, {0}, {}, {10, 11, 12, 13}}) {
    ForwardOptions options;
    options.logits_at = rows_of(wanted);
    EXPECT_LT(difference(forward(model_, input_, options).logits, full.index_select(0, rows_of(wanted))), 1e-5);
    // a tap in the last layer sees every position all the same
    Taps taps{Tap::capture({PlaceKind::attention_out, model_.config.layers - 1}),
              Tap::capture({PlaceKind::final_norm, -1})};
    options.taps = &taps;
    EXPECT_LT(difference(forward(model_, input_, options).logits, full.index_select(0, rows_of(wanted))), 1e-5);
    EXPECT_EQ(taps[0].captured.size(0), input_.size());
    EXPECT_EQ(taps[1].captured.size(0), input_.size());
  }
}

TEST_P(ForwardTest, PrefixCacheEqualsTheFullPass) {
  // two sequences share a beginning of 6, a third has one of its own
  const std::vector<int64_t> shared = random_tokens(6, 7), other = random_tokens(3, 8);
  ForwardOptions keep;
  keep.keep_cache = true;
  keep.want_logits = false;
  const ForwardResult first = forward(model_, pack({shared, other}), keep);
  EXPECT_FALSE(first.logits.defined());
  const std::vector<std::vector<int64_t>> own{random_tokens(1, 9), random_tokens(8, 10), random_tokens(5, 11)};
  const Packed packed = pack(own, {6, 6, 3});
  Prefix prefix{&first.cache, {0, 0, 6}, {6, 6, 3}};
  ForwardOptions options;
  options.prefix = &prefix;
  const at::Tensor logits = forward(model_, packed, options).logits;
  options.logits_at = rows_of({0, 8, 13});
  const at::Tensor last = forward(model_, packed, options).logits;
  for (size_t s = 0; s < own.size(); ++s) {
    std::vector<int64_t> whole = s < 2 ? shared : other;
    const int64_t front = std::ssize(whole);
    whole.insert(whole.end(), own[s].begin(), own[s].end());
    const at::Tensor expected = test::run_logits(model_, whole).slice(0, front);
    EXPECT_LT(difference(logits.slice(0, packed.starts[s], packed.starts[s + 1]), expected), 1e-4);
    EXPECT_LT(difference(last[static_cast<int64_t>(s)], expected[expected.size(0) - 1]), 1e-4);
  }
}

TEST_P(ForwardTest, WhatIsKnownOfALayerIsNotComputedAgain) {
  const int64_t last = model_.config.layers - 1;
  for (const int64_t layer : {int64_t{0}, int64_t{1}, last}) {
    ForwardOptions to;
    to.last_layer = layer;
    const at::Tensor entering =
        layer == 0 ? model_.embedding.index_select(0, input_.tokens) : forward(model_, input_, to).residual;
    for (const bool narrowed : {false, true}) {
      ForwardOptions from;
      from.first_layer = layer;
      from.residual = entering;
      from.keep_cache = from.keep_queries = true;
      if (narrowed) from.logits_at = rows_of({3, 23});
      const KeyValues cache = forward(model_, input_, from).cache;
      // one position of the third sequence is another; the others are known, and in another order than they were
      const Packed order = pack({sequences_[2], sequences_[0]});
      Known known{&cache, rows_of({10, 11, 12, 13, -1, 15, 16, 17, 18, 19, 20, 21, 22, 23, 0, 1, 2, 3, 4, 5, 6, 7, 8})};
      ForwardOptions options;
      options.first_layer = layer;
      options.residual = entering.index_select(0, known.row.clamp_min(0));
      options.residual[4].neg_();
      for (const at::Tensor& wanted : {at::Tensor(), rows_of({4, 13, 22})}) {
        options.logits_at = wanted;
        options.known = nullptr;
        const at::Tensor expected = forward(model_, order, options).logits;
        options.known = &known;
        EXPECT_LT(difference(forward(model_, order, options).logits, expected), 1e-5) << layer;
        // it is taken indeed: residual states of known positions are read by nothing but the skip connection
        KeyValues other = cache;
        other.values[static_cast<size_t>(layer)] = -cache.values[static_cast<size_t>(layer)];
        Known wrong{&other, known.row};
        options.known = &wrong;
        EXPECT_GT(difference(forward(model_, order, options).logits, expected), 1e-3) << layer;
      }
    }
  }
}

TEST_P(EveryFamilyTest, GradientsReachEveryWeight) {
  require_gradients(model_, true);
  ForwardOptions options;
  options.logits_at = rows_of({3, 23});
  forward(model_, input_, options).logits.pow(2).sum().backward();
  for (auto& [name, tensor] : parameters(model_)) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_GT(tensor.grad().abs().max().item<double>(), 0) << name;
  }
}

TEST_P(EveryFamilyTest, Float64IsTheSameModel) {
  const at::Tensor expected = forward(in_float64(model_), input_).logits;
  EXPECT_EQ(expected.scalar_type(), at::kDouble);
  const double largest = expected.abs().max().item<double>();
  EXPECT_LT(difference(forward(model_, input_).logits, expected), std::max(1e-4, 1e-4 * largest));
}

INSTANTIATE_TEST_SUITE_P(Attention, ForwardTest, testing::ValuesIn(test::attention_families()),
                         [](const auto& given) { return given.param; });
INSTANTIATE_TEST_SUITE_P(All, EveryFamilyTest, testing::ValuesIn(test::all_families()),
                         [](const auto& given) { return given.param; });

TEST(ForwardErrors, AreNamed) {
  const Model model = tiny_model();
  const Packed input = pack({random_tokens(4, 1)});
  const auto message = [&](const Packed& packed, const ForwardOptions& options = {}) {
    return error_of([&] { forward(model, packed, options); });
  };
  EXPECT_TRUE(holds(message(pack({{1, 300}})), "token 300: the vocabulary has 300 tokens"));
  EXPECT_TRUE(holds(message(pack({{1, -2}})), "token -2"));
  EXPECT_TRUE(holds(message(pack({})), "no tokens"));
  EXPECT_TRUE(holds(message(pack({random_tokens(129, 1)})), "a sequence of 129 positions: the model has 128"));
  EXPECT_TRUE(holds(error_of([] { pack({{1}, {2}}, {0}); }), "1 first positions for 2 sequences"));
  ForwardOptions options;
  options.logits_at = rows_of({4});
  EXPECT_TRUE(holds(message(input, options), "logits_at 4: the input has 4 positions"));
  options = {};
  options.first_layer = 1;
  EXPECT_TRUE(holds(message(input, options), "needs the residual stream"));
  options.residual = at::zeros({4, 47});
  EXPECT_TRUE(holds(message(input, options), "expected shape [4, 48]"));
  options = {};
  options.last_layer = 4;
  EXPECT_TRUE(holds(message(input, options), "the model has 3"));
  KeyValues cache;
  Prefix prefix{&cache, {0}, {1}};
  options = {};
  options.prefix = &prefix;
  EXPECT_TRUE(holds(message(input, options), "no keys of layer 0"));
  prefix.begin = {0, 0};
  EXPECT_TRUE(holds(message(input, options), "one for each of 1 sequences"));
  Known known{&cache, rows_of({-1, 0, 1, 2})};
  options = {};
  options.known = &known;
  EXPECT_TRUE(holds(message(input, options), "known: the cache holds no queries, keys and values of layer 0"));
  ForwardOptions keep;
  keep.keep_cache = keep.keep_queries = true;
  const KeyValues kept = forward(model, pack({{1, 2}}), keep).cache;
  known.cache = &kept;
  EXPECT_TRUE(holds(message(input, options), "known: row 2: the cache of layer 0 has 2"));
  Taps taps{Tap::scale({PlaceKind::resid_pre, 0}, rows_of({0}), 2)};
  options.taps = &taps;
  EXPECT_TRUE(holds(message(input, options), "would not see the tap"));
  options.taps = nullptr;
  known.row = rows_of({0});
  EXPECT_TRUE(holds(message(input, options), "known: expected 4 rows"));
}

// bf16 weights and activations: a stated distance from fp32 on models of random weights, whose next-token
// distributions are flat (3.7 nats), so that near ties are common. Products with an accurate type would not miss this.
TEST(Bfloat16, StaysNearFloat32) {
  c10::NoGradGuard guard;
  for (const char* name : {"llama3", "qwen3"}) {
    const fs::path folder = test::golden_folder(name);
    REQUIRE_GOLDENS(folder);
    LoadOptions narrow;
    narrow.dtype = at::kBFloat16;
    const Model exact = load_model(folder), rounded = load_model(folder, narrow);
    const Packed input = pack({random_tokens(60, 1), random_tokens(60, 2), random_tokens(60, 3)});
    const ForwardResult result = forward(rounded, input);
    ASSERT_EQ(result.logits.scalar_type(), at::kBFloat16);
    const at::Tensor expected = at::log_softmax(forward(exact, input).logits.to(at::kDouble), -1);
    const at::Tensor got = at::log_softmax(result.logits.to(at::kDouble), -1);
    const double divergence = (expected.exp() * (expected - got)).sum(-1).mean().item<double>();
    const double agreement = (expected.argmax(-1) == got.argmax(-1)).to(at::kDouble).mean().item<double>();
    EXPECT_LT(divergence, 3e-3) << name;
    EXPECT_GT(agreement, 0.9) << name;
    std::printf("%s in bf16: mean KL %.1e nats, top-1 agreement %.1f%%\n", name, divergence, 100 * agreement);
  }
}

}  // namespace
}  // namespace introspect
