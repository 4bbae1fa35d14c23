// What this machine can do: the rate of matrix products, to choose a type by and to measure training against.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace introspect {

// Floating-point operations a second of x [rows, in] times W [out, in] transposed, best of a few hundred milliseconds.
double matrix_product_rate(at::ScalarType dtype, int64_t rows = 2048, int64_t in = 512, int64_t out = 512);

// "fp32", "bf16", or "auto": bf16 where the processor multiplies it (AVX512-BF16; whatever has AMX has that too). Told
// by the processor and not by a stopwatch: how busy the machine is must not change a run's numbers. Throws Error for
// other names.
at::ScalarType choose_compute(const std::string& name);
std::string dtype_name(at::ScalarType dtype);  // "fp32", "bf16", ...

}  // namespace introspect
