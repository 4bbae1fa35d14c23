// Weight-only int8: what it rounds, what it computes and its gradients, and where it is refused.
#include "model/int8.h"

#include "base/temporary_folder.h"
#include "model/generate.h"
#include "model/lora.h"
#include "tiny_model.h"

namespace introspect {
namespace {

using test::difference;
using test::random_tensor;

Linear quantised(const at::Tensor& weight) {
  Linear linear;
  quantise(linear, weight);
  return linear;
}

TEST(Int8, RoundsToHalfAStepOfEachRow) {
  at::Tensor weight = random_tensor({300, 37}, 1);  // more than one block of rows
  weight.mul_(random_tensor({300, 1}, 2).exp());
  weight[7].zero_();
  const Linear linear = quantised(weight);
  EXPECT_EQ(linear.weight.scalar_type(), at::kChar);
  const at::Tensor error = (dequantised(linear, 0, 300, at::kFloat) - weight).abs();
  EXPECT_TRUE((error <= linear.scale.unsqueeze(1) * 0.5001).all().item<bool>());
  EXPECT_EQ(linear.weight.abs().max().item<int8_t>(), 127);
  EXPECT_EQ(error[7].max().item<float>(), 0) << "a row of zeros";
  weight[299][3] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(holds(error_of([&] { quantised(weight); }), "not finite"));
}

TEST(Int8, ProductsOfFewAndManyRowsAreTheWeightsTheyStandFor) {
  for (const int64_t in : {16, 37, 200}) {
    for (const int64_t out : {3, 64, 301}) {
      const Linear linear = quantised(random_tensor({out, in}, 1));
      const at::Tensor weight = dequantised(linear, 0, out, at::kFloat);
      for (const int64_t rows : {1, 2, 3, 7, 16, 17, 40}) {
        const at::Tensor x = random_tensor({rows, in}, 5);
        EXPECT_LT(difference(int8_product(linear, x), at::linear(x, weight)), 1e-4) << in << " " << out << " " << rows;
        const at::Tensor narrow = x.to(at::kBFloat16), expected = at::linear(narrow.to(at::kFloat), weight);
        EXPECT_LT(difference(int8_product(linear, narrow), expected), 0.02 * expected.abs().max().item<double>());
      }
    }
  }
}

TEST(Int8, FewRowsOfBfloat16) {
  for (const int64_t in : {16, 37}) {
    const at::Tensor weight = random_tensor({50, in}, 1).to(at::kBFloat16);
    for (const int64_t rows : {1, 5, 16}) {
      const at::Tensor x = random_tensor({rows, in}, 2).to(at::kBFloat16);
      ASSERT_TRUE(reads_few_rows(weight, x));
      const at::Tensor expected = at::linear(x.to(at::kFloat), weight.to(at::kFloat));
      EXPECT_TRUE(few_rows_product(weight, {}, x).equal(expected.to(at::kBFloat16)) ||
                  difference(few_rows_product(weight, {}, x), expected) < 0.01 * expected.abs().max().item<double>());
    }
  }
  EXPECT_FALSE(reads_few_rows(random_tensor({4, 4}, 1), random_tensor({1, 4}, 1))) << "float32 is the reference";
}

TEST(Int8, TheGradientOfTheInputFlows) {
  const Linear linear = quantised(random_tensor({300, 20}, 1));
  const at::Tensor weight = dequantised(linear, 0, 300, at::kFloat);
  for (const int64_t rows : {2, 30}) {
    const at::Tensor dy = random_tensor({rows, 300}, 3);
    at::Tensor x = random_tensor({rows, 20}, 2).requires_grad_(true);
    (int8_product(linear, x) * dy).sum().backward();
    EXPECT_LT(difference(x.grad(), at::matmul(dy, weight)), 1e-3);
  }
}

class Int8Model : public testing::TestWithParam<std::string> {
 protected:
  TemporaryFolder folder_;
  Model load(at::ScalarType dtype) const {
    LoadOptions options;
    options.dtype = dtype;
    options.mapped = true;
    return load_model(folder_.path(), options);
  }
};

TEST_P(Int8Model, StaysNearTheModelInBfloat16) {
  save_model(test::tiny_model(test::tiny_config(GetParam())), folder_.path(), at::kBFloat16);
  const Model narrow = load(at::kBFloat16), int8 = load(at::kChar);
  EXPECT_EQ(int8.embedding.scalar_type(), at::kBFloat16);
  uint64_t bytes = 0;
  Model shared = int8;
  for (auto& [name, tensor] : parameters(shared)) bytes += tensor.nbytes();
  const uint64_t planned = weight_bytes(int8.config, at::kChar);
  EXPECT_LT(bytes, planned) << "the scales come on top";
  EXPECT_GT(static_cast<double>(bytes), 0.8 * static_cast<double>(planned));
  const std::vector<int64_t> tokens = test::random_tokens(20, 1);
  const at::Tensor a = at::log_softmax(test::run_logits(narrow, tokens).to(at::kFloat), -1);
  const at::Tensor b = at::log_softmax(test::run_logits(int8, tokens).to(at::kFloat), -1);
  const double divergence = (a.exp() * (a - b)).sum(-1).mean().item<double>();
  EXPECT_GT(divergence, 0);
  // weights that were drawn large; Mamba's recurrence takes the exponential of what it projects
  EXPECT_LT(divergence, GetParam() == "mamba" ? 0.5 : 0.05);
}

TEST_P(Int8Model, IsRefusedWhereItCannotWork) {
  save_model(test::tiny_model(test::tiny_config(GetParam())), folder_.path(), at::kFloat);
  Model model = load(at::kChar);
  EXPECT_TRUE(holds(error_of([&] { require_gradients(model, true); }), "int8"));
  EXPECT_TRUE(holds(error_of([&] { save_model(model, folder_ / "again", at::kFloat); }), "int8"));
  Model clone = clone_model(model);
  EXPECT_TRUE(holds(error_of([&] { require_gradients(clone, true); }), "int8"));
  if (GetParam() != "llama") return;
  LoraConfig lora;
  lora.rank = 2;
  add_lora(model, lora, 1);
  EXPECT_TRUE(holds(error_of([&] { merge_lora(model); }), "int8"));
  for (auto& [name, tensor] : lora_parameters(model)) tensor.requires_grad_(true);
  forward(model, pack({{1, 2, 3}})).logits.to(at::kFloat).square().sum().backward();
  for (auto& [name, tensor] : lora_parameters(model)) EXPECT_TRUE(tensor.grad().defined()) << name;
}

INSTANTIATE_TEST_SUITE_P(Families, Int8Model, testing::ValuesIn(test::all_families()),
                         [](const auto& given) { return given.param; });

}  // namespace
}  // namespace introspect
