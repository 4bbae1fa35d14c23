#include "model/int8.h"

#include "base/error.h"
#include "model/kernels_cpu.h"

#include <algorithm>
#include <atomic>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

namespace introspect {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr int64_t few_rows = 16;     // above, a library's product of blocks is faster (bench_real_size int8)
constexpr int64_t block_rows = 256;  // of a weight made wide at a time: they stay in the second-level cache

// What the blocks are widened to for an x of this type.
at::ScalarType product_type(at::ScalarType x) {
  return x == at::kHalf || x == at::kBFloat16 ? x : at::kFloat;
}

at::Tensor forward_product(const Linear& linear, const at::Tensor& x) {
  if (reads_few_rows(linear.weight, x)) return few_rows_product(linear.weight, linear.scale, x);
  const int64_t out = linear.weight.size(0);
  const at::ScalarType type = product_type(x.scalar_type());
  const at::Tensor wide = x.to(type);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < out; first += block_rows) {
    parts.push_back(at::linear(wide, dequantised(linear, first, std::min(out, first + block_rows), type)));
  }
  return at::cat(parts, 1).to(x.scalar_type());
}

// The context keeps tensors alone; the bias and LoRA of a layer are not its business.
struct Int8Product : Function<Int8Product> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& scale) {
    context->save_for_backward({weight, scale});
    return forward_product({weight, {}, nullptr, scale}, x);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Linear linear{saved[0], {}, nullptr, saved[1]};
    const at::ScalarType type = product_type(gradients[0].scalar_type());
    const at::Tensor dy = gradients[0].to(type);
    const int64_t out = linear.weight.size(0);
    at::Tensor dx = at::zeros({dy.size(0), linear.weight.size(1)}, dy.options().dtype(at::kFloat));
    for (int64_t first = 0; first < out; first += block_rows) {
      const int64_t last = std::min(out, first + block_rows);
      dx.add_(at::mm(dy.slice(1, first, last), dequantised(linear, first, last, type)));
    }
    return {dx.to(gradients[0].scalar_type()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void quantise(Linear& linear, const at::Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1);
  linear.weight = at::empty({out, in}, at::kChar);
  linear.scale = at::empty({out}, at::kFloat);
  std::atomic<bool> finite = true;
  at::parallel_for(0, out, 64, [&](int64_t begin, int64_t end) {
    constexpr int64_t few = 16;  // a thread's copy in float32 stays in its cache
    for (int64_t first = begin; first < end; first += few) {
      const int64_t last = std::min(end, first + few);
      const at::Tensor rows = weight.slice(0, first, last).to(at::kFloat).contiguous();
      const bool good = kernel::quantise_int8(rows.data_ptr<float>(), linear.weight.data_ptr<int8_t>() + first * in,
                                              linear.scale.data_ptr<float>() + first, last - first, in);
      if (!good) finite = false;
    }
  });
  if (!finite) fail("int8", "a weight is not finite", "the checkpoint may be damaged");
}

at::Tensor dequantised(const Linear& linear, int64_t first, int64_t last, at::ScalarType dtype) {
  const at::Tensor weight = linear.weight.slice(0, first, last), scale = linear.scale.slice(0, first, last);
  if (!weight.is_cpu() || dtype != at::kBFloat16) return (weight.to(at::kFloat) * scale.unsqueeze(1)).to(dtype);
  at::Tensor result = at::empty(weight.sizes(), weight.options().dtype(dtype));
  const int64_t in = weight.size(1);
  at::parallel_for(0, last - first, 16, [&](int64_t begin, int64_t end) {
    kernel::widen_int8(weight.data_ptr<int8_t>() + begin * in, scale.data_ptr<float>() + begin,
                       reinterpret_cast<uint16_t*>(result.data_ptr()) + begin * in, end - begin, in);
  });
  return result;
}

at::Tensor int8_product(const Linear& linear, const at::Tensor& x) {
  return Int8Product::apply(x, linear.weight, linear.scale);
}

bool reads_few_rows(const at::Tensor& weight, const at::Tensor& x) {
  const bool narrow = weight.scalar_type() == at::kBFloat16 || weight.scalar_type() == at::kChar;
  return narrow && weight.is_cpu() && weight.is_contiguous() && x.dim() == 2 && x.size(0) <= few_rows && x.size(0) > 0;
}

at::Tensor few_rows_product(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kFloat).contiguous();
  const int64_t rows = x.size(0), in = weight.size(1), out = weight.size(0);
  at::Tensor y = at::empty({rows, out}, wide.options());
  at::parallel_for(0, out, std::max<int64_t>(4, 65536 / in), [&](int64_t begin, int64_t end) {
    float* target = y.data_ptr<float>() + begin;
    if (weight.scalar_type() == at::kChar) {
      kernel::few_rows_int8(wide.data_ptr<float>(), rows, in, weight.data_ptr<int8_t>() + begin * in,
                            scale.data_ptr<float>() + begin, end - begin, target, out);
    } else {
      kernel::few_rows_bf16(wide.data_ptr<float>(), rows, in,
                            static_cast<const uint16_t*>(weight.data_ptr()) + begin * in, end - begin, target, out);
    }
  });
  return y.to(x.scalar_type());
}

}  // namespace introspect
