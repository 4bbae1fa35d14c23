#include "feature/correlation.h"

#include "base/error.h"

#include <cmath>
#include <limits>

#include <ATen/Functions.h>
#include <fmt/format.h>

namespace introspect {

double correlation(const at::Tensor& activations, const at::Tensor& simulated, const at::Tensor& tokens) {
  if (activations.dim() != 2 || activations.sizes() != simulated.sizes() || activations.sizes() != tokens.sizes()) {
    fail("correlation", fmt::format("got activations of {} numbers, simulated ones of {} and {} tokens, expected three "
                                    "tensors of one shape [contexts, tokens]",
                                    activations.numel(), simulated.numel(), tokens.numel()));
  }
  const at::Tensor x = activations.to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor y = simulated.to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor t = tokens.to(at::kCPU, at::kLong).contiguous();
  const double *xs = x.data_ptr<double>(), *ys = y.data_ptr<double>();
  const int64_t* token = t.data_ptr<int64_t>();
  const int64_t width = x.size(1);

  // Two passes: means first, so that large activations with little variance do not cancel.
  double n = 0, mean_x = 0, mean_y = 0;
  const auto counted = [&](int64_t i) { return i % width != 0 && token[i] >= 0; };
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (!counted(i)) continue;
    if (!std::isfinite(xs[i]) || !std::isfinite(ys[i])) {
      fail("correlation", fmt::format("the {} activation of context {}, token {} is not a finite number",
                                      std::isfinite(xs[i]) ? "simulated" : "true", i / width, i % width));
    }
    n += 1;
    mean_x += (xs[i] - mean_x) / n;
    mean_y += (ys[i] - mean_y) / n;
  }
  double xx = 0, yy = 0, xy = 0, largest_x = 0, largest_y = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (!counted(i)) continue;
    const double dx = xs[i] - mean_x, dy = ys[i] - mean_y;
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
    largest_x = std::max(largest_x, std::abs(xs[i]));
    largest_y = std::max(largest_y, std::abs(ys[i]));
  }
  // A constant side has, but for the rounding of its mean, no variance.
  const auto constant = [n](double sum, double largest) { return !(sum > n * largest * largest * 1e-24); };
  if (constant(xx, largest_x) || constant(yy, largest_y)) return std::numeric_limits<double>::quiet_NaN();
  return xy / std::sqrt(xx * yy);
}

}  // namespace introspect
