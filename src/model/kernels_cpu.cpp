// Compiled with -O3 -ffast-math (see CMakeLists.txt). CLONED builds each function for several processors and picks one
// when the program starts; sanitizers cannot run in front of that choice, so they get the plain version.
#include "model/kernels_cpu.h"

#include <cmath>
#include <vector>

#include "model/small_matmul.h"

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define CLONED __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONED
#endif

namespace introspect::kernel {

namespace {

// Query rows handled together: their scores stay in the first-level cache.
constexpr int64_t query_block = 24;

// Keys and values of one head gathered from prefix and own rows: plain [keys, head] and transposed [head, keys],
// padded with zeros to whole vectors.
struct Gathered {
  int64_t keys, keys_padded, head_padded;
  std::vector<float> plain, transposed;
};

[[gnu::always_inline]] inline void gather(Gathered& out, const float* prefix, const float* own, int64_t stride,
                                          int64_t prefix_rows, int64_t own_rows, int64_t head_dim) {
  out.keys = prefix_rows + own_rows;
  out.keys_padded = padded(out.keys);
  out.head_padded = padded(head_dim);
  out.plain.assign(out.keys_padded * out.head_padded, 0.0f);
  out.transposed.assign(out.head_padded * out.keys_padded, 0.0f);
  for (int64_t row = 0; row < out.keys; ++row) {
    const float* source = row < prefix_rows ? prefix + row * stride : own + (row - prefix_rows) * stride;
    for (int64_t d = 0; d < head_dim; ++d) {
      out.plain[row * out.head_padded + d] = source[d];
      out.transposed[d * out.keys_padded + row] = source[d];
    }
  }
}

// Each thread keeps its buffers: allocating them for every head would cost as much as the work.
struct Buffers {
  Gathered keys, values;
  std::vector<float> scores, score_gradients, rows, key_gradients, value_gradients;
};
Buffers& thread_buffers() {
  thread_local Buffers buffers;
  return buffers;
}

}  // namespace

CLONED void attention_forward(const AttentionItem& item) {
  Buffers& buffers = thread_buffers();
  const int64_t dim = item.head_dim;
  gather(buffers.keys, item.prefix_key, item.key, item.key_stride, item.prefix, item.keys, dim);
  gather(buffers.values, item.prefix_value, item.value, item.key_stride, item.prefix, item.keys, dim);
  const int64_t columns = buffers.keys.keys_padded, head_padded = buffers.keys.head_padded;
  buffers.scores.resize(query_block * columns);
  buffers.rows.resize(query_block * head_padded);
  float* scores = buffers.scores.data();
  float* rows = buffers.rows.data();

  for (int64_t head = 0; head < item.group; ++head) {
    for (int64_t first = 0; first < item.queries; first += query_block) {
      const int64_t count = item.queries - first < query_block ? item.queries - first : query_block;
      int64_t longest = 0;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t seen = item.prefix + item.visible[first + i];
        longest = seen > longest ? seen : longest;
      }
      const int64_t width = padded(longest);
      const float* query = item.query + first * item.query_stride + head * dim;
      small_matmul(scores, columns, query, item.query_stride, 1, buffers.keys.transposed.data(), columns, count, dim,
                   width, false);
      for (int64_t i = 0; i < count; ++i) {
        float* row = scores + i * columns;
        const int64_t seen = item.prefix + item.visible[first + i];
        float largest = row[0];
        for (int64_t j = 1; j < seen; ++j) largest = row[j] > largest ? row[j] : largest;
        float sum = 0;
        for (int64_t j = 0; j < seen; ++j) {
          row[j] = fast_exp((row[j] - largest) * item.scale);
          sum += row[j];
        }
        const float inverse = 1.0f / sum;
        for (int64_t j = 0; j < seen; ++j) row[j] *= inverse;
        for (int64_t j = seen; j < width; ++j) row[j] = 0;
        item.log_sum[(first + i) * item.log_sum_stride + head] = largest * item.scale + std::log(sum);
      }
      small_matmul(rows, head_padded, scores, columns, 1, buffers.values.plain.data(), head_padded, count, longest,
                   head_padded, false);
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
  gather(buffers.keys, item.prefix_key, item.key, item.key_stride, item.prefix, item.keys, dim);
  gather(buffers.values, item.prefix_value, item.value, item.key_stride, item.prefix, item.keys, dim);
  const int64_t columns = buffers.keys.keys_padded, head_padded = buffers.keys.head_padded;
  buffers.scores.resize(query_block * columns);
  buffers.score_gradients.resize(query_block * columns);
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
      int64_t longest = 0;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t seen = item.prefix + item.visible[first + i];
        longest = seen > longest ? seen : longest;
      }
      const int64_t width = padded(longest);
      const int64_t offset = first * item.query_stride + head * dim;
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t d = 0; d < dim; ++d) {
          query_rows[i * head_padded + d] = item.query[offset + i * item.query_stride + d];
          gradient_rows[i * head_padded + d] = gradient.output_gradient[offset + i * item.query_stride + d];
        }
      }
      small_matmul(probability, columns, query_rows, head_padded, 1, buffers.keys.transposed.data(), columns, count,
                   dim, width, false);
      small_matmul(score_gradient, columns, gradient_rows, head_padded, 1, buffers.values.transposed.data(), columns,
                   count, dim, width, false);
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
      small_matmul(query_gradient, head_padded, score_gradient, columns, 1, buffers.keys.plain.data(), head_padded,
                   count, longest, head_padded, false);
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

CLONED void rms_norm_forward(const float* x, const float* weight, float* y, float* inverse, int64_t rows,
                             int64_t width, float epsilon) {
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
