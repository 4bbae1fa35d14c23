// Activation checkpointing changes no gradient, not in its last bit.
#include "base/temporary_folder.h"
#include "model/kernels.h"
#include "model/lora.h"
#include "model/names.h"
#include "tiny_model.h"

#include <c10/core/GradMode.h>

namespace introspect {
namespace {

using test::random_tokens;
using test::rows_of;

class ActivationCheckpointTest : public testing::TestWithParam<std::string> {
 protected:
  Packed input_ = pack({random_tokens(9, 1), random_tokens(5, 2)});
  at::Tensor token_ = test::random_tensor({1, 48}, 3);    // a continuous token
  at::Tensor written_ = test::random_tensor({2, 48}, 4);  // added inside

  Model model(bool lora) const {
    Model model = test::tiny_model(test::tiny_config(GetParam()));
    if (!lora) return model;
    LoraConfig config;
    config.rank = 3;
    config.dropout = 0.2;
    config.targets = linear_modules(model.config);
    add_lora(model, config, 7);
    for (auto& [name, tensor] : lora_parameters(model)) {
      if (name.ends_with("lora_B.weight")) tensor.copy_(test::random_tensor(tensor.sizes(), 3) * 0.1);
    }
    return model;
  }

  // The gradients of everything that learns, and the loss in front of them.
  std::vector<at::Tensor> gradients(bool lora, bool twice) const {
    Model model = this->model(lora);
    std::vector<std::pair<std::string, at::Tensor>> learnt = lora ? lora_parameters(model) : parameters(model);
    for (auto& [name, tensor] : learnt) tensor.requires_grad_(true);
    at::Tensor token = token_.clone().requires_grad_(true), written = written_.clone().requires_grad_(true);
    at::Tensor loss;
    {
      // gone before the gradients are asked for
      const at::Tensor shifted = written * 2;
      Taps taps{Tap::replace({PlaceKind::embed, -1}, rows_of({4}), token),
                Tap::add({PlaceKind::resid_post, 1}, rows_of({2, 11}), shifted)};
      ForwardOptions options;
      options.taps = &taps;
      options.activation_checkpointing = twice;
      options.training = lora;
      options.dropout_seed = 5;
      options.logits_at = rows_of({3, 8, 12});
      const at::Tensor logits = forward(model, input_, options).logits;
      loss = weighted_cross_entropy(logits, rows_of({5, 6, 7}), at::ones({3}));
      EXPECT_EQ(taps[1].fired, 1);
    }
    std::vector<at::Tensor> made{loss.detach().clone()};
    loss.backward();
    for (const auto& [name, tensor] : learnt) {
      EXPECT_TRUE(tensor.grad().defined()) << name;
      made.push_back(tensor.grad());
    }
    made.push_back(token.grad());
    made.push_back(written.grad());
    return made;
  }
};

TEST_P(ActivationCheckpointTest, GradientsAreTheSameBitForBit) {
  for (const bool lora : {true, false}) {
    const std::vector<at::Tensor> plain = gradients(lora, false), twice = gradients(lora, true);
    ASSERT_EQ(plain.size(), twice.size());
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(plain[i].equal(twice[i])) << "lora " << lora << ", " << i;
    EXPECT_GT(plain.back().abs().max().item<double>(), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, ActivationCheckpointTest, testing::ValuesIn(test::attention_families()),
                         [](const auto& given) { return given.param; });

TEST(ActivationCheckpoint, WhatItCannotDo) {
  const Packed input = pack({{1, 2, 3}});
  ForwardOptions options;
  options.activation_checkpointing = true;
  const Model model = test::tiny_model();
  Taps taps{Tap::capture({PlaceKind::resid_post, 1})};
  options.taps = &taps;
  EXPECT_TRUE(holds(error_of([&] { forward(model, input, options); }), "blocks.1.hook_resid_post"));
  {
    c10::NoGradGuard guard;
    EXPECT_NO_THROW(forward(model, input, options)) << "without gradients nothing is run twice";
  }
  options.taps = nullptr;
  options.keep_cache = true;
  EXPECT_TRUE(holds(error_of([&] { forward(model, input, options); }), "cache"));
  options.keep_cache = false;
  EXPECT_TRUE(
      holds(error_of([&] { forward(test::tiny_model(test::tiny_config("mamba")), input, options); }), "recurrent"));
}

}  // namespace
}  // namespace introspect
