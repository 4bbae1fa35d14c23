// Weight-only int8 for a model that stays as it is: each output channel of a linear layer has one scale, the largest
// absolute weight of its row divided by 127, and the weights are rounded to multiples of it (symmetric, round to
// nearest; Dettmers et al. 2022, "absmax" by rows). Activations keep their type.
#pragma once

#include "model/model.h"

namespace introspect {

// Weight [out, in] of any floating-point type, on the processor, in place of which int8 values and scales stand. Throws
// Error for weights that are not finite. Memory: the result, and a few rows in float32.
void quantise(Linear& linear, const at::Tensor& weight);

// Rows [first, last) as `dtype` again: [last - first, in].
at::Tensor dequantised(const Linear& linear, int64_t first, int64_t last, at::ScalarType dtype);

// x [N, in] times the weight → [N, out] in x's type; no bias, no LoRA. Few rows are multiplied by a loop that reads
// the int8 values alone; many by blocks of the weight as bfloat16 (x of float32: as float32). The gradient of x flows.
at::Tensor int8_product(const Linear& linear, const at::Tensor& x);

// Products of few rows with a bfloat16 or int8 weight are bound by reading it, which libtorch's own do at a quarter of
// the memory's rate. Sums in float32.
bool reads_few_rows(const at::Tensor& weight, const at::Tensor& x);
at::Tensor few_rows_product(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& x);

}  // namespace introspect
