// What this machine can do: the rate of matrix products, to choose a type by and to measure training against.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace introspect {

// Floating-point operations a second of x [rows, in] times W [out, in] transposed, best of a few hundred milliseconds.
double matrix_product_rate(at::ScalarType dtype, int64_t rows = 2048, int64_t in = 512, int64_t out = 512);

// "fp32", "bf16", or "auto": bf16 if its products are at least 1.3 times as fast here. Throws Error for other names.
at::ScalarType choose_compute(const std::string& name);
std::string dtype_name(at::ScalarType dtype);  // "fp32", "bf16", ...

}  // namespace introspect
