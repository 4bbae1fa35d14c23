#include "feature/correlation.h"

#include "base/temporary_folder.h"

#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

at::Tensor matrix(const std::vector<float>& values, int64_t columns) {
  return at::tensor(values).reshape({-1, columns});
}

at::Tensor some_tokens(int64_t rows, int64_t columns) {
  return at::ones({rows, columns}, at::kInt);
}

TEST(Correlation, IsPearsonsOverAllTokensTogether) {
  // of (1, 2, 4, 3) and (2, 1, 5, 5), by hand
  const double expected = 6.5 / std::sqrt(5 * 12.75);
  const at::Tensor x = matrix({9, 1, 2, -7, 4, 3}, 3), y = matrix({0, 2, 1, 50, 5, 5}, 3);
  EXPECT_NEAR(correlation(x, y, some_tokens(2, 3)), expected, 1e-12);
  EXPECT_NEAR(correlation(x, -3 * y + 10, some_tokens(2, 3)), -expected, 1e-6);
}

TEST(Correlation, LeavesOutFirstPositionsAndWhatIsBehindTheEnd) {
  const at::Tensor x = matrix({5, 1, 2, 9, 5, 3, 4, 9}, 4), y = matrix({1, 2, 3, 0, 8, 4, 5, 0}, 4);
  at::Tensor tokens = some_tokens(2, 4);
  EXPECT_LT(correlation(x, y, tokens), 0.9);
  tokens.select(1, 3).fill_(-1);
  EXPECT_NEAR(correlation(x, y, tokens), 1, 1e-12);
}

TEST(Correlation, IsNotANumberWhereASideIsConstant) {
  const at::Tensor x = matrix({0, 1, 2, 3}, 4), tokens = some_tokens(1, 4);
  EXPECT_TRUE(std::isnan(correlation(x, at::zeros({1, 4}), tokens)));
  EXPECT_TRUE(std::isnan(correlation(at::full({1, 4}, 0.1), x, tokens)));
  EXPECT_TRUE(std::isnan(correlation(x, x, at::full({1, 4}, -1, at::kInt))));
  // large numbers with little between them are not constant
  EXPECT_NEAR(correlation(x + 10000, x, tokens), 1, 1e-9);
}

TEST(Correlation, RefusesOtherShapesAndWhatIsNoNumber) {
  const at::Tensor x = matrix({0, 1, 2, 3}, 4), tokens = some_tokens(1, 4);
  EXPECT_TRUE(holds(error_of([&] { correlation(x, matrix({1, 2}, 2), tokens); }), "one shape"));
  EXPECT_TRUE(holds(error_of([&] { correlation(x, x, tokens.reshape({2, 2})); }), "one shape"));
  at::Tensor broken = x.clone();
  broken[0][2] = NAN;
  EXPECT_TRUE(holds(error_of([&] { correlation(x, broken, tokens); }), "simulated activation of context 0, token 2"));
}

}  // namespace
}  // namespace introspect
