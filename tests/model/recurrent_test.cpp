// Recurrent models: states carry a text on, sequences do not see each other, what needs keys and values is refused.
#include "base/temporary_folder.h"
#include "model/recurrence.h"
#include "tiny_model.h"

#include <c10/core/GradMode.h>

namespace introspect {
namespace {

using test::difference;
using test::random_tensor;
using test::random_tokens;
using test::rows_of;
using test::tiny_config;
using test::tiny_model;

TEST(Lagged, RowsBeforeAcrossTheBeginning) {
  const std::vector<int64_t> starts{0, 4, 5};
  const at::Tensor x = at::arange(1, 6).to(at::kFloat).view({5, 1});
  const at::Tensor kept = at::arange(-6, 0).to(at::kFloat).view({2, 3, 1});  // -6 -5 -4 before 1, -3 -2 -1 before 5
  const auto row = [](const at::Tensor& values) { return values.reshape({-1}); };
  const Lagged lagged(starts, x, kept, 3);
  EXPECT_EQ(difference(row(lagged.at(1)), at::tensor({-4.f, 1.f, 2.f, 3.f, -1.f})), 0);
  EXPECT_EQ(difference(row(lagged.at(3)), at::tensor({-6.f, -5.f, -4.f, 1.f, -3.f})), 0);
  EXPECT_EQ(difference(row(lagged.last()), at::tensor({2.f, 3.f, 4.f, -2.f, -1.f, 5.f})), 0);
  const Lagged fresh(starts, x, {}, 1);
  EXPECT_EQ(difference(row(fresh.at(1)), at::tensor({0.f, 1.f, 2.f, 3.f, 0.f})), 0);
}

// Sums scaled by a shared weight, over sequences that end within and at the borders of what is walked again.
TEST(TimeOrder, SumsOfEachSequenceAndTheirGradients) {
  const std::vector<int64_t> starts{0, 2, 72, 73, 105, 138};
  const at::Tensor x = random_tensor({138, 3}, 1), before = random_tensor({5, 3}, 2), weight = random_tensor({3}, 3);
  const at::Tensor of_sums = random_tensor({138, 3}, 4), of_memory = random_tensor({5, 3}, 5);
  const auto leaves = [&] {
    TimeOrder::Tensors copies{x.clone(), before.clone(), weight.clone()};
    for (at::Tensor& copy : copies) copy.requires_grad_(true);
    return copies;
  };
  const TimeOrder::Tensors plain = leaves(), stepped = leaves();

  at::Tensor memory = stepped[1];
  const auto add = [](const TimeOrder::Tensors& rows, const TimeOrder::Tensors& shared, const at::Tensor& old) {
    const at::Tensor behind = old + rows[0] * shared[0];
    return std::pair(behind, behind * behind);
  };
  const at::Tensor sums = TimeOrder(starts, at::kCPU).run(memory, {stepped[0]}, {stepped[2]}, add);
  ((sums * of_sums).sum() + (memory * of_memory).sum()).backward();

  std::vector<at::Tensor> expected, ends;
  for (int64_t s = 0; s < 5; ++s) {
    expected.push_back(plain[1][s] + (plain[0].slice(0, starts[s], starts[s + 1]) * plain[2]).cumsum(0));
    ends.push_back(expected.back()[expected.back().size(0) - 1]);
  }
  const at::Tensor all = at::cat(expected).square(), behind = at::stack(ends);
  ((all * of_sums).sum() + (behind * of_memory).sum()).backward();
  EXPECT_LT(difference(sums, all), 1e-3);
  EXPECT_LT(difference(memory, behind), 1e-4);
  for (size_t i = 0; i < plain.size(); ++i) {
    const double largest = plain[i].grad().abs().max().item<double>();
    EXPECT_LT(difference(stepped[i].grad(), plain[i].grad()), 1e-5 * largest) << i;
  }
}

class RecurrentTest : public testing::TestWithParam<std::string> {
 protected:
  Model model_ = tiny_model(tiny_config(GetParam()));
  std::string message(const ForwardOptions& options, int64_t sequences = 1) const {
    const std::vector<std::vector<int64_t>> tokens(static_cast<size_t>(sequences), random_tokens(4, 1));
    return error_of([&] { forward(model_, pack(tokens), options); });
  }
};

TEST_P(RecurrentTest, StatesGoOnWhereAPassEnded) {
  const std::vector<std::vector<int64_t>> whole{random_tokens(9, 1), random_tokens(13, 2), random_tokens(6, 3)};
  const std::vector<int64_t> cuts{4, 1, 5};
  std::vector<std::vector<int64_t>> fronts, rests;
  for (size_t s = 0; s < whole.size(); ++s) {
    fronts.emplace_back(whole[s].begin(), whole[s].begin() + cuts[s]);
    rests.emplace_back(whole[s].begin() + cuts[s], whole[s].end());
  }
  ForwardOptions keep;
  keep.keep_states = true;
  const ForwardResult front = forward(model_, pack(fronts), keep);
  ASSERT_EQ(std::ssize(front.states), model_.config.layers);
  ForwardOptions options;
  options.states = &front.states;
  const Packed packed = pack(rests, cuts);
  const at::Tensor logits = forward(model_, packed, options).logits;
  for (size_t s = 0; s < whole.size(); ++s) {
    const at::Tensor expected = test::run_logits(model_, whole[s]).slice(0, cuts[s]);
    EXPECT_LT(difference(logits.slice(0, packed.starts[s], packed.starts[s + 1]), expected), 1e-4) << s;
  }
  // rows of states are sequences
  const States second = select_rows(front.states, rows_of({1}));
  options.states = &second;
  const at::Tensor alone = forward(model_, pack({rests[1]}, {1}), options).logits;
  EXPECT_LT(difference(alone, logits.slice(0, packed.starts[1], packed.starts[2])), 1e-4);
}

TEST_P(RecurrentTest, WhatNeedsKeysAndValuesIsRefusedByName) {
  KeyValues cache;
  const Prefix prefix{&cache, {0}, {1}};
  const Known known{&cache, rows_of({-1, 0, 1, 2})};
  ForwardOptions options;
  options.prefix = &prefix;
  EXPECT_TRUE(holds(message(options), GetParam() + " is recurrent"));
  options = {};
  options.known = &known;
  EXPECT_TRUE(holds(message(options), GetParam() + " is recurrent"));
  options = {};
  options.keep_cache = true;
  EXPECT_TRUE(holds(message(options), "keep_states"));
  options = {};
  options.keep_states = true;
  const States states = forward(model_, pack({{1, 2}}), options).states;
  options = {};
  options.states = &states;
  EXPECT_TRUE(holds(message(options, 2), "for every one of 2 sequences"));
  const Model attention = tiny_model();
  EXPECT_TRUE(holds(error_of([&] { forward(attention, pack({{1, 2}}), options); }), "llama keeps keys and values"));
}

INSTANTIATE_TEST_SUITE_P(Families, RecurrentTest, testing::Values("mamba", "rwkv7"),
                         [](const auto& given) { return given.param; });

TEST(Mamba, StartsAtALayer) {
  const Model model = tiny_model(tiny_config("mamba"));
  const Packed input = pack({random_tokens(7, 1), random_tokens(3, 2)});
  ForwardOptions to;
  to.last_layer = 2;
  ForwardOptions from;
  from.first_layer = 2;
  from.residual = forward(model, input, to).residual;
  EXPECT_LT(difference(forward(model, input, from).logits, forward(model, input).logits), 1e-5);
}

TEST(Rwkv7, StartsAtLayerZero) {
  const Model model = tiny_model(tiny_config("rwkv7"));
  ForwardOptions options;
  options.first_layer = 1;
  options.residual = at::zeros({2, 48});
  EXPECT_TRUE(holds(error_of([&] { forward(model, pack({{1, 2}}), options); }), "reads the values of layer 0"));
}

}  // namespace
}  // namespace introspect
