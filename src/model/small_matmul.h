// Matrix products of the sizes inside one attention head, where a library call costs more than the product.
// Included by kernels_cpu.cpp alone: its functions must be inlined into the clones made there for each processor.
#pragma once

#include <cstdint>
#include <cstring>

namespace introspect::kernel {

// 16 floats; the compiler maps it to one AVX-512, two AVX2 or four SSE registers.
typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias));
constexpr int64_t vector_width = 16;

inline int64_t padded(int64_t columns) {
  return (columns + vector_width - 1) / vector_width * vector_width;
}

// C[0..Rows)[0..Columns*16) (+)= A B for a tile held in registers.
template <int Rows, int Columns>
[[gnu::always_inline]] inline void tile(float* c, int64_t c_stride, const float* a, int64_t a_row, int64_t a_column,
                                        const float* b, int64_t b_stride, int64_t depth, bool accumulate) {
  Vector sum[Rows][Columns];
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Columns; ++j) {
      if (accumulate) {
        sum[i][j] = *reinterpret_cast<const Vector*>(c + i * c_stride + j * vector_width);
      } else {
        sum[i][j] = Vector{};
      }
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector row[Columns];
    for (int j = 0; j < Columns; ++j) row[j] = *reinterpret_cast<const Vector*>(b + k * b_stride + j * vector_width);
    for (int i = 0; i < Rows; ++i) {
      const float factor = a[i * a_row + k * a_column];
      for (int j = 0; j < Columns; ++j) sum[i][j] += factor * row[j];
    }
  }
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Columns; ++j) *reinterpret_cast<Vector*>(c + i * c_stride + j * vector_width) = sum[i][j];
  }
}

template <int Rows>
[[gnu::always_inline]] inline void tile_row(float* c, int64_t c_stride, const float* a, int64_t a_row, int64_t a_column,
                                            const float* b, int64_t b_stride, int64_t depth, int64_t columns,
                                            bool accumulate) {
  int64_t column = 0;
  for (; column + 2 * vector_width <= columns; column += 2 * vector_width) {
    tile<Rows, 2>(c + column, c_stride, a, a_row, a_column, b + column, b_stride, depth, accumulate);
  }
  if (column < columns) {
    tile<Rows, 1>(c + column, c_stride, a, a_row, a_column, b + column, b_stride, depth, accumulate);
  }
}

// C [rows, columns] (+)= A [rows, depth] B [depth, columns]; A's element (i, k) is a[i * a_row + k * a_column], so it
// may be transposed; `columns` is a multiple of 16 (buffers are padded).
[[gnu::always_inline]] inline void small_matmul(float* c, int64_t c_stride, const float* a, int64_t a_row,
                                                int64_t a_column, const float* b, int64_t b_stride, int64_t rows,
                                                int64_t depth, int64_t columns, bool accumulate) {
  int64_t row = 0;
  for (; row + 6 <= rows; row += 6) {
    tile_row<6>(c + row * c_stride, c_stride, a + row * a_row, a_row, a_column, b, b_stride, depth, columns,
                accumulate);
  }
  for (; row + 2 <= rows; row += 2) {
    tile_row<2>(c + row * c_stride, c_stride, a + row * a_row, a_row, a_column, b, b_stride, depth, columns,
                accumulate);
  }
  if (row < rows) {
    tile_row<1>(c + row * c_stride, c_stride, a + row * a_row, a_row, a_column, b, b_stride, depth, columns,
                accumulate);
  }
}

// exp to about 2 units in the last place, written so that it vectorises.
[[gnu::always_inline]] inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  const float n = __builtin_rintf(x * 1.44269504f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

}  // namespace introspect::kernel
