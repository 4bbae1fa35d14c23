// Equality with independent references in float32: log-probabilities within 2e-4, residual states within 1e-4.
#include "base/json.h"
#include "base/safetensors.h"
#include "goldens.h"
#include "model/forward.h"
#include "model/kernels.h"
#include "model/lora.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

constexpr double log_probability_tolerance = 2e-4;
constexpr double residual_tolerance = 1e-4;

double log_probability_difference(const at::Tensor& logits, const at::Tensor& expected) {
  EXPECT_EQ(logits.sizes(), expected.sizes());
  return (at::log_softmax(logits.to(at::kDouble), -1) - at::log_softmax(expected.to(at::kDouble), -1))
      .abs()
      .max()
      .item<double>();
}

struct Golden {
  fs::path folder;
  Model model;
  std::vector<std::vector<int64_t>> prompts;
  Safetensors expected;

  explicit Golden(const fs::path& at) : folder(at), model(load_model(at)), expected(at / "expected.safetensors") {
    const Json json = read_json(at / "prompts.json");
    for (const Json& prompt : json["prompts"]) {
      prompts.push_back(prompt["tokens"].get<std::vector<int64_t>>());
    }
  }
};

class GoldenModel : public testing::TestWithParam<const char*> {};

TEST_P(GoldenModel, LogitsAndResidualStatesEqualTheReference) {
  const fs::path folder = test::golden_folder(GetParam());
  REQUIRE_GOLDENS(folder);
  c10::NoGradGuard guard;
  Golden golden(folder);
  double worst = 0;
  for (size_t i = 0; i < golden.prompts.size(); ++i) {
    const at::Tensor logits = forward(golden.model, pack({golden.prompts[i]})).logits;
    worst = std::max(worst, log_probability_difference(logits, golden.expected.get("logits." + std::to_string(i))));
  }
  EXPECT_LT(worst, log_probability_tolerance);
  if (!golden.expected.contains("resid.4.0")) {
    std::printf("%-12s log-probabilities %.1e (the reference holds no residual states)\n", GetParam(), worst);
    return;
  }

  Taps taps;
  taps.push_back(Tap::capture({PlaceKind::resid_pre, 0}));
  for (int64_t layer = 0; layer < golden.model.config.layers; ++layer) {
    taps.push_back(Tap::capture({PlaceKind::resid_post, layer}));
  }
  ForwardOptions options;
  options.taps = &taps;
  forward(golden.model, pack({golden.prompts[4]}), options);
  double worst_state = 0;
  for (size_t k = 0; k < taps.size(); ++k) {
    const at::Tensor expected = golden.expected.get("resid.4." + std::to_string(k));
    worst_state = std::max(worst_state, (taps[k].captured - expected).abs().max().item<double>());
  }
  EXPECT_LT(worst_state, residual_tolerance);
  std::printf("%-12s log-probabilities %.1e, residual states %.1e\n", GetParam(), worst, worst_state);
}

TEST_P(GoldenModel, PackedEqualsSingle) {
  const fs::path folder = test::golden_folder(GetParam());
  REQUIRE_GOLDENS(folder);
  c10::NoGradGuard guard;
  Golden golden(folder);
  const Packed packed = pack(golden.prompts);
  const at::Tensor together = forward(golden.model, packed).logits;
  for (size_t i = 0; i < golden.prompts.size(); ++i) {
    const at::Tensor alone = forward(golden.model, pack({golden.prompts[i]})).logits;
    EXPECT_LT(log_probability_difference(together.slice(0, packed.starts[i], packed.starts[i + 1]), alone), 5e-5);
  }
}

TEST_P(GoldenModel, PatchedAndContinuousTokenCases) {
  const fs::path folder = test::golden_folder(GetParam());
  REQUIRE_GOLDENS(folder);
  c10::NoGradGuard guard;
  Golden golden(folder);
  if (!golden.expected.contains("patched.block1.logits")) {
    GTEST_SKIP() << GetParam() << " has no patched cases";
  }
  const Packed input = pack({golden.prompts[4]});
  const auto patched = [&](const std::vector<int64_t>& blocks) {
    Taps taps;
    for (int64_t block : blocks) {
      taps.push_back(Tap::replace({PlaceKind::resid_post, block}, at::scalar_tensor(8, at::kLong).reshape({1}),
                                  golden.expected.get("given.patch_vec.block" + std::to_string(block))));
    }
    ForwardOptions options;
    options.taps = &taps;
    return forward(golden.model, input, options).logits;
  };
  EXPECT_LT(log_probability_difference(patched({1}), golden.expected.get("patched.block1.logits")), 2e-4);
  EXPECT_LT(log_probability_difference(patched({2}), golden.expected.get("patched.block2.logits")), 2e-4);
  EXPECT_LT(log_probability_difference(patched({1, 2}), golden.expected.get("patched.block1_and_2.logits")), 2e-4);

  const at::Tensor vector = golden.expected.get("given.cont_vec");
  const auto continuous = [&](std::vector<int64_t> tokens) {
    Taps taps{Tap::replace({PlaceKind::embed, -1}, at::scalar_tensor(12, at::kLong).reshape({1}), vector)};
    ForwardOptions options;
    options.taps = &taps;
    return forward(golden.model, pack({std::move(tokens)}), options).logits;
  };
  std::vector<int64_t> inserted = golden.prompts[4];
  inserted.insert(inserted.begin() + 12, 0);
  EXPECT_LT(log_probability_difference(continuous(golden.prompts[4]), golden.expected.get("cont.replace.logits")),
            2e-4);
  EXPECT_LT(log_probability_difference(continuous(inserted), golden.expected.get("cont.insert.logits")), 2e-4);
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenModel,
                         testing::Values("llama3", "smollm", "llama_bias", "qwen3", "qwen3_tied", "qwen2", "gpt2",
                                         "gpt_neox", "gemma2", "mamba", "rwkv7"),
                         [](const auto& given) { return std::string(given.param); });

TEST(GoldenLora, LogitsLossAndGradients) {
  const fs::path folder = test::golden_folder("llama3");
  REQUIRE_GOLDENS(folder);
  Golden golden(folder);
  load_lora(golden.model, folder / "lora");
  const Safetensors expected(folder / "lora" / "expected.safetensors");
  for (int i : {2, 4}) {
    c10::NoGradGuard guard;
    const at::Tensor logits = forward(golden.model, pack({golden.prompts[i]})).logits;
    EXPECT_LT(log_probability_difference(logits, expected.get("lora.logits." + std::to_string(i))), 2e-4);
  }
  const Json prompts = read_json(folder / "prompts.json");
  std::vector<int64_t> labels = prompts["lora"]["loss"]["labels"].get<std::vector<int64_t>>();
  for (auto& [name, tensor] : lora_parameters(golden.model)) tensor.requires_grad_(true);
  std::vector<int64_t> rows, targets;
  for (size_t k = 1; k < labels.size(); ++k) {
    if (labels[k] < 0) continue;
    rows.push_back(static_cast<int64_t>(k) - 1);
    targets.push_back(labels[k]);
  }
  ForwardOptions options;
  options.logits_at = at::tensor(rows, at::kLong);
  const at::Tensor logits = forward(golden.model, pack({golden.prompts[4]}), options).logits;
  const at::Tensor weights = at::full({std::ssize(rows)}, 1.0 / static_cast<double>(rows.size()));
  const at::Tensor loss = weighted_cross_entropy(logits, at::tensor(targets, at::kLong), weights);
  EXPECT_NEAR(loss.item<double>(), expected.get("lora.loss").item<double>(), 1e-4);
  loss.backward();
  double worst = 0;
  for (auto& [name, tensor] : lora_parameters(golden.model)) {
    const at::Tensor reference = expected.get("grad." + name);
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const double relative = ((tensor.grad().to(at::kDouble) - reference).norm() / reference.norm()).item<double>();
    EXPECT_LT(relative, 1e-4) << name;
    worst = std::max(worst, relative);
  }
  std::printf("largest relative error of a LoRA gradient: %.1e\n", worst);
}

}  // namespace
}  // namespace introspect
