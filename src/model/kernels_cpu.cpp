// Compiled with -O3 -ffast-math (see CMakeLists.txt).
#include "model/kernels_cpu.h"

#include "model/clones.h"
#include "model/small_matmul.h"

#include <cmath>
#include <cstring>
#include <vector>

namespace introspect::kernel {

namespace {

// Query rows handled together: their scores stay in the first-level cache.
constexpr int64_t query_block = 24;

// Below this many query rows (all heads of the group together) copying the keys costs more than it saves.
constexpr int64_t direct_rows = 4;

typedef float Octet __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t OctetOrder __attribute__((vector_size(32)));

// target[column][row] = source[row][column] for 8 x 8 numbers: three rounds that exchange ever larger squares.
[[gnu::always_inline]] inline void transpose_octets(const float* source, int64_t stride, float* target,
                                                    int64_t target_stride) {
  Octet r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = *reinterpret_cast<const Octet*>(source + i * stride);
  for (int i = 0; i < 8; i += 2) {
    t[i] = __builtin_shuffle(r[i], r[i + 1], OctetOrder{0, 8, 2, 10, 4, 12, 6, 14});
    t[i + 1] = __builtin_shuffle(r[i], r[i + 1], OctetOrder{1, 9, 3, 11, 5, 13, 7, 15});
  }
  for (int i = 0; i < 8; i += i % 4 == 1 ? 3 : 1) {
    r[i] = __builtin_shuffle(t[i], t[i + 2], OctetOrder{0, 1, 8, 9, 4, 5, 12, 13});
    r[i + 2] = __builtin_shuffle(t[i], t[i + 2], OctetOrder{2, 3, 10, 11, 6, 7, 14, 15});
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = __builtin_shuffle(r[i], r[i + 4], OctetOrder{0, 1, 2, 3, 8, 9, 10, 11});
    t[i + 4] = __builtin_shuffle(r[i], r[i + 4], OctetOrder{4, 5, 6, 7, 12, 13, 14, 15});
  }
  for (int i = 0; i < 8; ++i) *reinterpret_cast<Octet*>(target + i * target_stride) = t[i];
}

// The rows of one head, in front of the sequence's own ones those of its prefix.
struct HeadRows {
  const float *prefix, *own;
  int64_t prefix_rows, own_rows, stride;
  int64_t rows() const { return prefix_rows + own_rows; }
};

inline HeadRows keys_of(const AttentionItem& item) {
  return {item.prefix_key, item.key, item.prefix, item.keys, item.key_stride};
}
inline HeadRows values_of(const AttentionItem& item) {
  return {item.prefix_value, item.value, item.prefix, item.keys, item.key_stride};
}

inline void grow(std::vector<float>& buffer, int64_t size) {
  if (static_cast<int64_t>(buffer.size()) < size) buffer.resize(size);
}

[[gnu::always_inline]] inline void transpose_part(float* target, int64_t columns, const float* source, int64_t stride,
                                                  int64_t rows, int64_t head_dim) {
  int64_t row = 0;
  for (; row + 8 <= rows; row += 8) {
    int64_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
      transpose_octets(source + row * stride + d, stride, target + d * columns + row, columns);
    }
    for (; d < head_dim; ++d) {
      for (int64_t i = 0; i < 8; ++i) target[d * columns + row + i] = source[(row + i) * stride + d];
    }
  }
  for (; row < rows; ++row) {
    for (int64_t d = 0; d < head_dim; ++d) target[d * columns + row] = source[row * stride + d];
  }
}

// [head_dim, padded(rows)]; the columns that pad are zero.
[[gnu::always_inline]] inline const float* transposed(std::vector<float>& buffer, const HeadRows& head,
                                                      int64_t head_dim) {
  const int64_t columns = padded(head.rows());
  grow(buffer, head_dim * columns);
  float* target = buffer.data();
  transpose_part(target, columns, head.prefix, head.stride, head.prefix_rows, head_dim);
  transpose_part(target + head.prefix_rows, columns, head.own, head.stride, head.own_rows, head_dim);
  for (int64_t d = 0; d < head_dim; ++d) {
    for (int64_t column = head.rows(); column < columns; ++column) target[d * columns + column] = 0;
  }
  return target;
}

// Rows of whole vectors: where they lie if the width is a multiple of 16, else a padded copy.
[[gnu::always_inline]] inline HeadRows in_vectors(std::vector<float>& buffer, const HeadRows& head, int64_t head_dim) {
  const int64_t width = padded(head_dim);
  if (width == head_dim) return head;
  grow(buffer, head.rows() * width);
  for (int64_t row = 0; row < head.rows(); ++row) {
    const float* source =
        row < head.prefix_rows ? head.prefix + row * head.stride : head.own + (row - head.prefix_rows) * head.stride;
    float* target = buffer.data() + row * width;
    for (int64_t d = 0; d < width; ++d) target[d] = d < head_dim ? source[d] : 0;
  }
  return {nullptr, buffer.data(), 0, head.rows(), width};
}

// C [count, width] = A [count, depth] times the first `depth` rows of the head; A's rows are `columns` apart.
[[gnu::always_inline]] inline void times_rows(float* c, int64_t width, const float* a, int64_t columns,
                                              const HeadRows& head, int64_t count, int64_t depth) {
  const int64_t front = depth < head.prefix_rows ? depth : head.prefix_rows;
  if (front > 0) small_matmul(c, width, a, columns, 1, head.prefix, head.stride, count, front, width, false);
  if (depth > front || front == 0) {
    small_matmul(c, width, a + front, columns, 1, head.own, head.stride, count, depth - front, width, front > 0);
  }
}

[[gnu::always_inline]] inline void dot_rows(float* result, const float* query, const float* rows, int64_t stride,
                                            int64_t count, int64_t head_dim) {
  for (int64_t j = 0; j < count; ++j) {
    const float* row = rows + j * stride;
    float sum = 0;
    for (int64_t d = 0; d < head_dim; ++d) sum += query[d] * row[d];
    result[j] = sum;
  }
}

// Whether a NaN or an infinity stands among the values. Told by their bits: -ffast-math takes every comparison of
// floats to be between numbers, and the clamp in fast_exp would turn a NaN into an innocent probability.
[[gnu::always_inline]] inline bool any_not_finite(const float* values, int64_t count) {
  constexpr uint32_t exponent = 0x7f800000u;
  uint32_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    found |= (bits & exponent) == exponent ? 1u : 0u;
  }
  return found != 0;
}

[[gnu::always_inline]] inline float not_a_number() {
  constexpr uint32_t bits = 0x7fc00000u;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Scores to probabilities in place; returns log(sum(exp(scale * score))). Scores that are not all finite give NaN.
[[gnu::always_inline]] inline float softmax_row(float* row, int64_t seen, float scale) {
  if (any_not_finite(row, seen)) {
    for (int64_t j = 0; j < seen; ++j) row[j] = not_a_number();
    return not_a_number();
  }
  float largest = row[0];
  for (int64_t j = 1; j < seen; ++j) largest = row[j] > largest ? row[j] : largest;
  float sum = 0;
  for (int64_t j = 0; j < seen; ++j) {
    row[j] = fast_exp((row[j] - largest) * scale);
    sum += row[j];
  }
  const float inverse = 1.0f / sum;
  for (int64_t j = 0; j < seen; ++j) row[j] *= inverse;
  return largest * scale + std::log(sum);
}

inline int64_t longest_seen(const AttentionItem& item, int64_t first, int64_t count) {
  int64_t longest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t seen = item.prefix + item.visible[first + i];
    longest = seen > longest ? seen : longest;
  }
  return longest;
}

// Each thread keeps its buffers: allocating them for every head would cost as much as the work.
struct Buffers {
  std::vector<float> keys, key_rows, values, scores, score_gradients, rows, key_gradients, value_gradients;
};
Buffers& thread_buffers() {
  thread_local Buffers buffers;
  return buffers;
}

// A few queries against many keys (a step of generation): nothing is copied.
[[gnu::always_inline]] inline void attention_direct(const AttentionItem& item, Buffers& buffers) {
  const int64_t dim = item.head_dim, width = padded(dim), columns = padded(item.prefix + item.keys);
  const HeadRows values = in_vectors(buffers.values, values_of(item), dim);
  grow(buffers.scores, columns);
  grow(buffers.rows, width);
  float* row = buffers.scores.data();
  for (int64_t i = 0; i < item.queries; ++i) {
    for (int64_t head = 0; head < item.group; ++head) {
      const float* query = item.query + i * item.query_stride + head * dim;
      const int64_t own = item.visible[i];
      dot_rows(row, query, item.prefix_key, item.key_stride, item.prefix, dim);
      dot_rows(row + item.prefix, query, item.key, item.key_stride, own, dim);
      item.log_sum[i * item.log_sum_stride + head] = softmax_row(row, item.prefix + own, item.scale);
      times_rows(buffers.rows.data(), width, row, columns, values, 1, item.prefix + own);
      float* output = item.output + i * item.query_stride + head * dim;
      for (int64_t d = 0; d < dim; ++d) output[d] = buffers.rows[d];
    }
  }
}

}  // namespace

CLONED void attention_forward(const AttentionItem& item) {
  Buffers& buffers = thread_buffers();
  if (item.queries * item.group <= direct_rows) return attention_direct(item, buffers);
  const int64_t dim = item.head_dim, columns = padded(item.prefix + item.keys), head_padded = padded(dim);
  const float* keys = transposed(buffers.keys, keys_of(item), dim);
  const HeadRows values = in_vectors(buffers.values, values_of(item), dim);
  grow(buffers.scores, query_block * columns);
  grow(buffers.rows, query_block * head_padded);
  float* scores = buffers.scores.data();
  float* rows = buffers.rows.data();

  for (int64_t head = 0; head < item.group; ++head) {
    for (int64_t first = 0; first < item.queries; first += query_block) {
      const int64_t count = item.queries - first < query_block ? item.queries - first : query_block;
      const int64_t longest = longest_seen(item, first, count), width = padded(longest);
      const float* query = item.query + first * item.query_stride + head * dim;
      small_matmul(scores, columns, query, item.query_stride, 1, keys, columns, count, dim, width, false);
      for (int64_t i = 0; i < count; ++i) {
        float* row = scores + i * columns;
        const int64_t seen = item.prefix + item.visible[first + i];
        item.log_sum[(first + i) * item.log_sum_stride + head] = softmax_row(row, seen, item.scale);
        for (int64_t j = seen; j < width; ++j) row[j] = 0;
      }
      times_rows(rows, head_padded, scores, columns, values, count, longest);
      for (int64_t i = 0; i < count; ++i) {
        float* output = item.output + (first + i) * item.query_stride + head * dim;
        for (int64_t d = 0; d < dim; ++d) output[d] = rows[i * head_padded + d];
      }
    }
  }
}

CLONED void attention_backward(const AttentionGradient& gradient) {
  const AttentionItem& item = gradient.item;
  Buffers& buffers = thread_buffers();
  const int64_t dim = item.head_dim;
  const int64_t columns = padded(item.prefix + item.keys), head_padded = padded(dim);
  const float* keys = transposed(buffers.keys, keys_of(item), dim);
  const float* values = transposed(buffers.values, values_of(item), dim);
  const HeadRows key_rows = in_vectors(buffers.key_rows, keys_of(item), dim);
  grow(buffers.scores, query_block * columns);
  grow(buffers.score_gradients, query_block * columns);
  // query and output-gradient rows padded to whole vectors, then room for the query gradient
  buffers.rows.assign(3 * query_block * head_padded, 0.0f);
  buffers.key_gradients.assign(columns * head_padded, 0.0f);
  buffers.value_gradients.assign(columns * head_padded, 0.0f);
  float* probability = buffers.scores.data();
  float* score_gradient = buffers.score_gradients.data();
  float* query_rows = buffers.rows.data();
  float* gradient_rows = query_rows + query_block * head_padded;
  float* query_gradient = gradient_rows + query_block * head_padded;

  for (int64_t head = 0; head < item.group; ++head) {
    for (int64_t first = 0; first < item.queries; first += query_block) {
      const int64_t count = item.queries - first < query_block ? item.queries - first : query_block;
      const int64_t longest = longest_seen(item, first, count), width = padded(longest);
      const int64_t offset = first * item.query_stride + head * dim;
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t d = 0; d < dim; ++d) {
          query_rows[i * head_padded + d] = item.query[offset + i * item.query_stride + d];
          gradient_rows[i * head_padded + d] = gradient.output_gradient[offset + i * item.query_stride + d];
        }
      }
      small_matmul(probability, columns, query_rows, head_padded, 1, keys, columns, count, dim, width, false);
      small_matmul(score_gradient, columns, gradient_rows, head_padded, 1, values, columns, count, dim, width, false);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t seen = item.prefix + item.visible[first + i];
        const float log_sum = item.log_sum[(first + i) * item.log_sum_stride + head];
        float* p = probability + i * columns;
        float* g = score_gradient + i * columns;
        const float* output = item.output + offset + i * item.query_stride;
        float delta = 0;
        for (int64_t d = 0; d < dim; ++d) delta += gradient_rows[i * head_padded + d] * output[d];
        for (int64_t j = 0; j < seen; ++j) {
          p[j] = fast_exp(p[j] * item.scale - log_sum);
          g[j] = p[j] * (g[j] - delta) * item.scale;
        }
        for (int64_t j = seen; j < width; ++j) p[j] = g[j] = 0;
      }
      times_rows(query_gradient, head_padded, score_gradient, columns, key_rows, count, longest);
      small_matmul(buffers.key_gradients.data(), head_padded, score_gradient, 1, columns, query_rows, head_padded,
                   longest, count, head_padded, true);
      small_matmul(buffers.value_gradients.data(), head_padded, probability, 1, columns, gradient_rows, head_padded,
                   longest, count, head_padded, true);
      for (int64_t i = 0; i < count; ++i) {
        float* out = gradient.query_gradient + offset + i * item.query_stride;
        for (int64_t d = 0; d < dim; ++d) out[d] = query_gradient[i * head_padded + d];
      }
    }
  }
  for (int64_t row = 0; row < item.keys; ++row) {
    const float* dk = buffers.key_gradients.data() + (item.prefix + row) * head_padded;
    const float* dv = buffers.value_gradients.data() + (item.prefix + row) * head_padded;
    for (int64_t d = 0; d < dim; ++d) {
      gradient.key_gradient[row * item.key_stride + d] = dk[d];
      gradient.value_gradient[row * item.key_stride + d] = dv[d];
    }
  }
}

CLONED void rms_norm_forward(const float* x, const float* weight, float* y, float* inverse, int64_t rows, int64_t width,
                             float epsilon) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = x + row * width;
    float* out = y + row * width;
    float sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += in[i] * in[i];
    const float r = 1.0f / std::sqrt(sum / static_cast<float>(width) + epsilon);
    inverse[row] = r;
    for (int64_t i = 0; i < width; ++i) out[i] = in[i] * r * weight[i];
  }
}

CLONED void rms_norm_backward(const float* x, const float* weight, const float* inverse, const float* dy, float* dx,
                              float* weight_gradient, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = x + row * width;
    const float* g = dy + row * width;
    float* out = dx + row * width;
    const float r = inverse[row];
    float dot = 0;
    for (int64_t i = 0; i < width; ++i) dot += g[i] * weight[i] * in[i];
    const float shift = dot * r * r * r / static_cast<float>(width);
    for (int64_t i = 0; i < width; ++i) {
      out[i] = g[i] * weight[i] * r - in[i] * shift;
      weight_gradient[i] += g[i] * in[i] * r;
    }
  }
}

CLONED void rotate(const float* x, const float* cosine, const float* sine, float* y, int64_t rows, int64_t heads,
                   int64_t head_dim, float sign) {
  const int64_t half = head_dim / 2;
  for (int64_t row = 0; row < rows; ++row) {
    const float* c = cosine + row * half;
    const float* s = sine + row * half;
    for (int64_t head = 0; head < heads; ++head) {
      const float* in = x + (row * heads + head) * head_dim;
      float* out = y + (row * heads + head) * head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const float a = in[i], b = in[i + half];
        out[i] = a * c[i] - sign * b * s[i];
        out[i + half] = b * c[i] + sign * a * s[i];
      }
    }
  }
}

CLONED void gated_silu_forward(const float* gate, const float* up, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
}

CLONED void gated_silu_backward(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                                int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float s = 1.0f / (1.0f + fast_exp(-gate[i]));
    const float silu = gate[i] * s;
    dup[i] = dy[i] * silu;
    dgate[i] = dy[i] * up[i] * (s + silu * (1.0f - s));
  }
}

CLONED void log_sum_exp(const float* logits, float* result, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = logits + row * width;
    if (any_not_finite(in, width)) {
      result[row] = not_a_number();
      continue;
    }
    float largest = in[0];
    for (int64_t i = 1; i < width; ++i) largest = in[i] > largest ? in[i] : largest;
    float sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += fast_exp(in[i] - largest);
    result[row] = largest + std::log(sum);
  }
}

CLONED void cross_entropy_backward(const float* logits, const float* log_sums, const int64_t* targets,
                                   const float* weights, float* gradient, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = logits + row * width;
    float* out = gradient + row * width;
    const float log_sum = log_sums[row], weight = weights[row];
    for (int64_t i = 0; i < width; ++i) out[i] = fast_exp(in[i] - log_sum) * weight;
    out[targets[row]] -= weight;
  }
}

}  // namespace introspect::kernel
