#include "train/rate.h"

#include "base/error.h"

#include <algorithm>
#include <chrono>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

bool multiplies_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace

double matrix_product_rate(at::ScalarType dtype, int64_t rows, int64_t in, int64_t out) {
  using Clock = std::chrono::steady_clock;
  c10::NoGradGuard guard;
  const at::Tensor x = at::rand({rows, in}).to(dtype), weight = at::rand({out, in}).to(dtype);
  at::linear(x, weight);
  double best = 0;
  const auto begin = Clock::now();
  do {
    const auto start = Clock::now();
    at::linear(x, weight);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::max(best, 2.0 * static_cast<double>(rows * in * out) / seconds);
  } while (Clock::now() - begin < std::chrono::milliseconds(150));
  return best;
}

at::ScalarType choose_compute(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  if (name == "auto") return multiplies_bf16() ? at::kBFloat16 : at::kFloat;
  fail_usage("compute", fmt::format("got '{}', expected auto, fp32 or bf16", name));
}

std::string dtype_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "fp32";
    case at::kBFloat16:
      return "bf16";
    case at::kHalf:
      return "fp16";
    case at::kDouble:
      return "fp64";
    default:
      return "other";
  }
}

}  // namespace introspect
