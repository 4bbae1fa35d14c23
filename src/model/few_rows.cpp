// The loops behind int8.h, compiled as kernels_cpu.cpp is.
#include "model/clones.h"
#include "model/kernels_cpu.h"
#include "model/small_matmul.h"

#include <bit>

namespace introspect::kernel {

namespace {

typedef int8_t Bytes __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint16_t Words __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t Wide __attribute__((vector_size(64)));
typedef int16_t Shorts __attribute__((vector_size(32)));
typedef int32_t Integers __attribute__((vector_size(64)));

[[gnu::always_inline]] inline Vector widened(const int8_t* w) {
  // in steps that double the width: in larger ones g++ 12 converts number by number
  const Shorts shorts = __builtin_convertvector(*reinterpret_cast<const Bytes*>(w), Shorts);
  return __builtin_convertvector(__builtin_convertvector(shorts, Integers), Vector);
}
[[gnu::always_inline]] inline Vector widened(const uint16_t* w) {
  return std::bit_cast<Vector>(__builtin_convertvector(*reinterpret_cast<const Words*>(w), Wide) << 16);
}
[[gnu::always_inline]] inline float widened_one(int8_t w) {
  return static_cast<float>(w);
}
[[gnu::always_inline]] inline float widened_one(uint16_t w) {
  return std::bit_cast<float>(static_cast<uint32_t>(w) << 16);
}

// sum[o][r] over the depth for Outputs rows of the weight and Rows of x, which stay in registers.
template <int Outputs, int Rows, class Weight>
[[gnu::always_inline]] inline void few_tile(const float* x, int64_t in, const Weight* weight, const float* scale,
                                            float* y, int64_t y_stride) {
  Vector sum[Outputs][Rows];
  for (int o = 0; o < Outputs; ++o) {
    for (int r = 0; r < Rows; ++r) sum[o][r] = Vector{};
  }
  int64_t i = 0;
  for (; i + vector_width <= in; i += vector_width) {
    Vector row[Rows];
    for (int r = 0; r < Rows; ++r) row[r] = *reinterpret_cast<const Vector*>(x + r * in + i);
    for (int o = 0; o < Outputs; ++o) {
      const Vector w = widened(weight + o * in + i);
      for (int r = 0; r < Rows; ++r) sum[o][r] += w * row[r];
    }
  }
  for (int o = 0; o < Outputs; ++o) {
    for (int r = 0; r < Rows; ++r) {
      float total = 0;
      for (int64_t k = 0; k < vector_width; ++k) total += sum[o][r][k];
      for (int64_t k = i; k < in; ++k) total += widened_one(weight[o * in + k]) * x[r * in + k];
      y[r * y_stride + o] = scale ? total * scale[o] : total;
    }
  }
}

template <int Outputs, class Weight>
[[gnu::always_inline]] inline void few_outputs(const float* x, int64_t rows, int64_t in, const Weight* weight,
                                               const float* scale, float* y, int64_t y_stride) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) few_tile<Outputs, 4>(x + r * in, in, weight, scale, y + r * y_stride, y_stride);
  for (; r + 2 <= rows; r += 2) few_tile<Outputs, 2>(x + r * in, in, weight, scale, y + r * y_stride, y_stride);
  if (r < rows) few_tile<Outputs, 1>(x + r * in, in, weight, scale, y + r * y_stride, y_stride);
}

template <class Weight>
[[gnu::always_inline]] inline void few_rows(const float* x, int64_t rows, int64_t in, const Weight* weight,
                                            const float* scale, int64_t out, float* y, int64_t y_stride) {
  int64_t o = 0;
  for (; o + 4 <= out; o += 4) {
    few_outputs<4>(x, rows, in, weight + o * in, scale ? scale + o : nullptr, y + o, y_stride);
  }
  for (; o < out; ++o) few_outputs<1>(x, rows, in, weight + o * in, scale ? scale + o : nullptr, y + o, y_stride);
}

}  // namespace

CLONED void few_rows_bf16(const float* x, int64_t rows, int64_t in, const uint16_t* weight, int64_t out, float* y,
                          int64_t y_stride) {
  few_rows<uint16_t>(x, rows, in, weight, nullptr, out, y, y_stride);
}

CLONED void few_rows_int8(const float* x, int64_t rows, int64_t in, const int8_t* weight, const float* scale,
                          int64_t out, float* y, int64_t y_stride) {
  few_rows<int8_t>(x, rows, in, weight, scale, out, y, y_stride);
}

CLONED bool quantise_int8(const float* weight, int8_t* result, float* scale, int64_t rows, int64_t in) {
  // positive numbers are ordered as their bits are, with infinity and NaN above all others: -ffast-math does not matter
  constexpr uint32_t infinity = 0x7F800000;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = weight + r * in;
    uint32_t largest = 0;
    for (int64_t i = 0; i < in; ++i) {
      const uint32_t size = std::bit_cast<uint32_t>(row[i]) & 0x7FFFFFFF;
      largest = size > largest ? size : largest;
    }
    if (largest >= infinity) return false;
    scale[r] = std::bit_cast<float>(largest) / 127;
    const float steps = scale[r] > 1e-30f ? 1 / scale[r] : 0;  // a row of zeros stays one
    for (int64_t i = 0; i < in; ++i) {
      result[r * in + i] = static_cast<int8_t>(static_cast<int32_t>(__builtin_rintf(row[i] * steps)));
    }
  }
  return true;
}

CLONED void widen_int8(const int8_t* weight, const float* scale, uint16_t* result, int64_t rows, int64_t in) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < in; ++i) {
      const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(weight[r * in + i]) * scale[r]);
      result[r * in + i] = static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }
  }
}

}  // namespace introspect::kernel
