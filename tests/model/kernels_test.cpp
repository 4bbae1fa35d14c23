// Every kernel in float32 against the libtorch path in float64: values, gradients, and the gradients once more by
// finite differences. Attention against three plain loops too.
#include "model/kernels.h"

#include "base/temporary_folder.h"
#include "tiny_model.h"

#include <cmath>
#include <functional>

#include <ATen/Parallel.h>

namespace introspect {
namespace {

using test::difference;
using test::random_tensor;
using Inputs = std::vector<at::Tensor>;
using Kernel = std::function<at::Tensor(const Inputs&)>;

Inputs leaves(const Inputs& inputs, at::ScalarType type) {
  Inputs result;
  for (const at::Tensor& input : inputs) result.push_back(input.detach().to(type, false, true).requires_grad_(true));
  return result;
}

void check_kernel(const Kernel& kernel, const Inputs& inputs, double tolerance) {
  const Inputs narrow = leaves(inputs, at::kFloat), wide = leaves(inputs, at::kDouble);
  const at::Tensor y = kernel(narrow), y_wide = kernel(wide);
  ASSERT_EQ(y_wide.scalar_type(), at::kDouble);
  EXPECT_LT(difference(y, y_wide), tolerance);
  const at::Tensor upstream = random_tensor(y.sizes(), 99);
  (y * upstream).sum().backward();
  (y_wide * upstream).sum().backward();
  const auto value = [&](const Inputs& at_point) {
    return (kernel(at_point) * upstream.to(at::kDouble)).sum().item<double>();
  };
  Random random(5, "entries");
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_TRUE(narrow[i].grad().defined()) << "input " << i;
    EXPECT_LT(difference(narrow[i].grad(), wide[i].grad()), tolerance) << "gradient of input " << i;
    for (int trial = 0; trial < 4; ++trial) {
      const auto entry = static_cast<int64_t>(random.below(static_cast<uint64_t>(inputs[i].numel())));
      double sides[2];
      for (int side : {0, 1}) {
        Inputs moved;
        for (const at::Tensor& input : wide) moved.push_back(input.detach().clone());
        moved[i].data_ptr<double>()[entry] += side == 0 ? -1e-5 : 1e-5;
        sides[side] = value(moved);
      }
      const double slope = (sides[1] - sides[0]) / 2e-5;
      EXPECT_NEAR(narrow[i].grad().contiguous().data_ptr<float>()[entry], slope, tolerance * (1 + std::abs(slope)))
          << "input " << i << ", entry " << entry;
    }
  }
}

TEST(Kernels, RmsNorm) {
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 24}, {3, 72}, {200, 48}, {7, 1}}) {
    check_kernel([](const Inputs& in) { return rms_norm(in[0], in[1], 1e-5); },
                 {random_tensor({rows, width}, 1), random_tensor({width}, 2)}, 2e-4);
  }
}

TEST(Kernels, Rotate) {
  for (int64_t dim : {2, 24, 72}) {
    const at::Tensor angles = random_tensor({5, dim / 2}, 3);
    const at::Tensor cosine = angles.cos(), sine = angles.sin();
    check_kernel([&](const Inputs& in) { return rotate(in[0], cosine, sine); }, {random_tensor({5, 3, dim}, 1)}, 1e-5);
  }
}

TEST(Kernels, GatedSilu) {
  for (int64_t count : {1, 17, 40000}) {
    check_kernel([](const Inputs& in) { return gated_silu(in[0], in[1]); },
                 {random_tensor({count}, 1) * 5, random_tensor({count}, 2)}, 1e-4);
  }
  // far out, where the exponential would overflow
  const at::Tensor gate = at::tensor({-200.0f, -90.0f, 90.0f, 200.0f});
  EXPECT_LT(difference(gated_silu(gate, at::ones({4})), at::tensor({0.0f, 0.0f, 90.0f, 200.0f})), 1e-5);
}

TEST(Kernels, WeightedCrossEntropy) {
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 3}, {13, 77}, {40, 300}}) {
    std::vector<int64_t> targets;
    Random random(4, "targets");
    for (int64_t i = 0; i < rows; ++i)
      targets.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(width))));
    const at::Tensor weights = random_tensor({rows}, 7).abs() / static_cast<double>(rows);
    const Kernel kernel = [&](const Inputs& in) {
      return weighted_cross_entropy(in[0].to(in[0].scalar_type(), false, true), test::rows_of(targets), weights)
          .to(in[0].scalar_type());
    };
    check_kernel(kernel, {random_tensor({rows, width}, 1) * 4}, 1e-4);
  }
  const at::Tensor logits = at::zeros({1, 4});
  EXPECT_TRUE(holds(error_of([&] { weighted_cross_entropy(logits, test::rows_of({4}), at::ones({1})); }), "4"));
  EXPECT_TRUE(holds(error_of([&] { weighted_cross_entropy(logits, test::rows_of({-1}), at::ones({1})); }), "-1"));
}

// One attention case: sequences of `keys` own positions, of which the last `queries` (or every second) ask.
struct AttentionCase {
  std::vector<int64_t> keys, prefix;  // prefix: rows that each sequence sees of one shared cache
  int64_t heads, kv_heads, dim;
  enum class Queries { all, last, every_second, none_of_some } queries = Queries::all;
};

std::ostream& operator<<(std::ostream& out, const AttentionCase& c) {
  return out << c.heads << "/" << c.kv_heads << " heads of " << c.dim << ", " << c.keys.size() << " sequences, queries "
             << static_cast<int>(c.queries);
}

class AttentionTest : public testing::TestWithParam<AttentionCase> {
 protected:
  AttentionShape shape_of(const AttentionCase& c) const {
    AttentionShape shape;
    shape.query_start = shape.key_start = {0};
    int64_t cached = 0;
    for (size_t s = 0; s < c.keys.size(); ++s) {
      shape.key_start.push_back(shape.key_start.back() + c.keys[s]);
      for (int64_t i = 0; i < c.keys[s]; ++i) {
        const bool last = i == c.keys[s] - 1;
        const bool asks = c.queries == AttentionCase::Queries::all ||
                          (c.queries == AttentionCase::Queries::last && last) ||
                          (c.queries == AttentionCase::Queries::every_second && i % 2 == 0) ||
                          (c.queries == AttentionCase::Queries::none_of_some && s % 2 == 1);
        if (asks) shape.visible.push_back(i + 1);
      }
      shape.query_start.push_back(std::ssize(shape.visible));
      if (c.prefix.empty()) continue;
      shape.prefix_begin.push_back(static_cast<int64_t>(s % 3));  // ranges overlap
      shape.prefix_length.push_back(c.prefix[s]);
      cached = std::max(cached, shape.prefix_begin.back() + c.prefix[s]);
    }
    if (!c.prefix.empty()) {
      shape.prefix_key = random_tensor({cached, c.kv_heads, c.dim}, 11);
      shape.prefix_value = random_tensor({cached, c.kv_heads, c.dim}, 12);
    }
    return shape;
  }

  // softmax(q k) v in loops over everything.
  at::Tensor loops(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionShape& shape) const {
    at::Tensor out = at::zeros_like(q);
    const int64_t group = q.size(1) / k.size(1);
    for (size_t s = 0; s + 1 < shape.key_start.size(); ++s) {
      for (int64_t i = shape.query_start[s]; i < shape.query_start[s + 1]; ++i) {
        for (int64_t h = 0; h < q.size(1); ++h) {
          std::vector<std::pair<double, at::Tensor>> seen;
          const auto see = [&](const at::Tensor& key, const at::Tensor& value) {
            seen.emplace_back((q[i][h] * key).sum().item<double>() / std::sqrt(static_cast<double>(q.size(2))), value);
          };
          const int64_t front = shape.prefix_key.defined() ? shape.prefix_length[s] : 0;
          for (int64_t j = 0; j < front; ++j) {
            see(shape.prefix_key[shape.prefix_begin[s] + j][h / group],
                shape.prefix_value[shape.prefix_begin[s] + j][h / group]);
          }
          for (int64_t j = 0; j < shape.visible[i]; ++j) {
            see(k[shape.key_start[s] + j][h / group], v[shape.key_start[s] + j][h / group]);
          }
          double sum = 0;
          for (const auto& [score, value] : seen) sum += std::exp(score);
          for (const auto& [score, value] : seen) out[i][h] += value * (std::exp(score) / sum);
        }
      }
    }
    return out;
  }
};

TEST_P(AttentionTest, ValuesAndGradients) {
  const AttentionCase& c = GetParam();
  const AttentionShape shape = shape_of(c);
  const Inputs inputs{random_tensor({shape.query_start.back(), c.heads, c.dim}, 1),
                      random_tensor({shape.key_start.back(), c.kv_heads, c.dim}, 2),
                      random_tensor({shape.key_start.back(), c.kv_heads, c.dim}, 3)};
  check_kernel(
      [&](const Inputs& in) {
        AttentionShape same_type = shape;
        if (shape.prefix_key.defined()) {
          same_type.prefix_key = shape.prefix_key.to(in[0].scalar_type());
          same_type.prefix_value = shape.prefix_value.to(in[0].scalar_type());
        }
        return attention(in[0], in[1], in[2], same_type);
      },
      inputs, 1e-4);
  const at::Tensor y = attention(inputs[0], inputs[1], inputs[2], shape);
  EXPECT_LT(difference(attention_plain(inputs[0], inputs[1], inputs[2], shape), y), 1e-5);
  if (inputs[0].size(0) <= 60) {
    EXPECT_LT(difference(loops(inputs[0], inputs[1], inputs[2], shape), y), 1e-5);
  }
  // 16 bits widened: as far from float32 as rounding the inputs and the result takes it
  const auto rounded = [&](size_t i) { return inputs[i].to(at::kBFloat16); };
  const at::Tensor narrow = attention(rounded(0), rounded(1), rounded(2), shape);
  EXPECT_EQ(narrow.scalar_type(), at::kBFloat16);
  EXPECT_LT(difference(narrow, y), 0.1);
}

using Queries = AttentionCase::Queries;
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest,
                         testing::Values(AttentionCase{{1}, {}, 1, 1, 2},
                                         AttentionCase{{1, 2, 7, 40, 33}, {}, 4, 2, 24},
                                         AttentionCase{{5, 1, 9}, {3, 17, 0}, 4, 2, 24},
                                         AttentionCase{{25, 26}, {31, 8}, 3, 1, 72},
                                         AttentionCase{{8, 16, 3}, {}, 2, 2, 16, Queries::last},
                                         AttentionCase{{8, 16, 40}, {40, 1, 5}, 8, 2, 32, Queries::last},
                                         AttentionCase{{11, 30, 2}, {}, 6, 3, 10, Queries::every_second},
                                         AttentionCase{{11, 30, 2}, {9, 0, 24}, 2, 1, 64, Queries::every_second},
                                         AttentionCase{{4, 5, 6, 50}, {}, 2, 2, 24, Queries::none_of_some},
                                         AttentionCase{{1, 1, 1, 1}, {40, 39, 1, 16}, 4, 1, 24}));

TEST(Attention, RefusesWhatDoesNotFit) {
  AttentionShape shape;
  shape.query_start = shape.key_start = {0, 2};
  shape.visible = {1, 2};
  const at::Tensor rows = random_tensor({2, 1, 8}, 1);
  shape.prefix_key = shape.prefix_value = random_tensor({5, 1, 8}, 2);
  shape.prefix_begin = {2};
  shape.prefix_length = {4};
  EXPECT_TRUE(holds(error_of([&] { attention(rows, rows, rows, shape); }), "rows 2 to 6, the cache has 5"));
  shape.prefix_length = {3, 1};
  EXPECT_TRUE(holds(error_of([&] { attention(rows, rows, rows, shape); }), "one for each of 1 sequences"));
  shape.prefix_length = {3};
  shape.visible = {1};
  EXPECT_TRUE(holds(error_of([&] { attention(rows, rows, rows, shape); }), "do not fit"));
}

}  // namespace
}  // namespace introspect
