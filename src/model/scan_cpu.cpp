// Compiled with -O3 -ffast-math -fno-finite-math-only (see CMakeLists.txt): what is no number stays none.
#include "model/scan_cpu.h"

#include "model/clones.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace introspect::kernel {

namespace {

// 16 numbers that lie anywhere in memory.
typedef float FloatLanes __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t IntegerLanes __attribute__((vector_size(64)));
typedef double DoubleLanes __attribute__((vector_size(128), aligned(8), may_alias));
template <class Number>
struct LanesOf {
  using Type = FloatLanes;
};
template <>
struct LanesOf<double> {
  using Type = DoubleLanes;
};
template <class Number>
using Lanes = typename LanesOf<Number>::Type;

template <class Number>
[[gnu::always_inline]] inline Lanes<Number> load(const Number* from, int64_t width) {
  if (width >= scan_lanes) return *reinterpret_cast<const Lanes<Number>*>(from);
  Lanes<Number> lanes{};
  for (int64_t i = 0; i < width; ++i) lanes[i] = from[i];
  return lanes;
}
template <class Number>
[[gnu::always_inline]] inline void store(Number* to, const Lanes<Number>& lanes, int64_t width) {
  if (width >= scan_lanes) {
    *reinterpret_cast<Lanes<Number>*>(to) = lanes;
    return;
  }
  for (int64_t i = 0; i < width; ++i) to[i] = lanes[i];
}

// exp of numbers that are not above zero, to about 2 units in the last place.
[[gnu::always_inline]] inline FloatLanes decay_of(FloatLanes x) {
  x = x < -87.0f ? FloatLanes{} - 87.0f : x;
  const IntegerLanes n = __builtin_convertvector(x * 1.44269504f - 0.5f, IntegerLanes);
  const FloatLanes whole = __builtin_convertvector(n, FloatLanes);
  const FloatLanes r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  FloatLanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntegerLanes bits = (n + 127) << 23;
  FloatLanes scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}
[[gnu::always_inline]] inline DoubleLanes decay_of(DoubleLanes x) {
  for (int i = 0; i < scan_lanes; ++i) x[i] = std::exp(x[i]);
  return x;
}

typedef float FloatEight __attribute__((vector_size(32)));
typedef float FloatFour __attribute__((vector_size(16)));
[[gnu::always_inline]] inline float sum_of(const FloatLanes& x) {
  const FloatEight eight = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
                           __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  const FloatFour four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  const FloatFour two = four + __builtin_shufflevector(four, four, 2, 3, 2, 3);
  return two[0] + two[1];
}
[[gnu::always_inline]] inline double sum_of(const DoubleLanes& x) {
  double sum = 0;
  for (int i = 0; i < scan_lanes; ++i) sum += x[i];
  return sum;
}

// Each thread keeps its buffers.
template <class Number>
struct Buffers {
  std::vector<Number> parts[8];
  Lanes<Number>* lanes(int part, int64_t count) {
    std::vector<Number>& buffer = parts[part];
    if (static_cast<int64_t>(buffer.size()) < count * scan_lanes) buffer.resize(count * scan_lanes);
    return reinterpret_cast<Lanes<Number>*>(buffer.data());
  }
  Lanes<Number>* zeros(int part, int64_t count) {
    Lanes<Number>* made = lanes(part, count);
    std::fill_n(parts[part].begin(), count * scan_lanes, Number{});
    return made;
  }
};
template <class Number>
Buffers<Number>& thread_buffers() {
  thread_local Buffers<Number> buffers;
  return buffers;
}

// [width, count] to `count` rows of lanes, and back.
template <class Number>
[[gnu::always_inline]] inline void turn_in(Lanes<Number>* to, const Number* from, int64_t count, int64_t width) {
  for (int64_t j = 0; j < count; ++j) {
    Lanes<Number> lanes{};
    for (int64_t i = 0; i < width; ++i) lanes[i] = from[i * count + j];
    to[j] = lanes;
  }
}
template <class Number>
[[gnu::always_inline]] inline void turn_out(Number* to, const Lanes<Number>* from, int64_t count, int64_t width,
                                            bool add) {
  for (int64_t i = 0; i < width; ++i) {
    for (int64_t j = 0; j < count; ++j) {
      to[i * count + j] = (add ? to[i * count + j] : Number{}) + from[j][i];
    }
  }
}

template <class Number>
[[gnu::always_inline]] inline void convolve_rows(const Convolution<Number>& w) {
  for (int64_t t = 0; t < w.rows; ++t) {
    Number* y = w.output + t * w.channels;
    for (int64_t c = 0; c < w.channels; ++c) y[c] = w.bias[c];
    for (int64_t lag = 0; lag < w.lags; ++lag) {
      const int64_t from = t - lag;
      if (from < 0 && !w.before) break;
      const Number* x = from >= 0 ? w.x + from * w.x_stride : w.before + (w.lags - 1 + from) * w.channels;
      const Number* weight = w.weight + lag * w.channels;
      for (int64_t c = 0; c < w.channels; ++c) y[c] += weight[c] * x[c];
    }
  }
}

template <class Number>
[[gnu::always_inline]] inline void convolve_rows_backward(const ConvolutionGradient<Number>& g) {
  const Convolution<Number>& w = g.work;
  for (int64_t t = 0; t < w.rows; ++t) {
    Number* dx = g.x_gradient + t * w.channels;
    for (int64_t c = 0; c < w.channels; ++c) dx[c] = 0;
    for (int64_t lag = 0; lag < w.lags && t + lag < w.rows; ++lag) {
      const Number* dy = g.output_gradient + (t + lag) * w.channels;
      const Number* weight = w.weight + lag * w.channels;
      for (int64_t c = 0; c < w.channels; ++c) dx[c] += weight[c] * dy[c];
    }
    const Number* dy = g.output_gradient + t * w.channels;
    for (int64_t lag = 0; lag < w.lags; ++lag) {
      const int64_t from = t - lag;
      if (from < 0 && !w.before) break;
      const Number* x = from >= 0 ? w.x + from * w.x_stride : w.before + (w.lags - 1 + from) * w.channels;
      Number* dw = g.weight_gradient + lag * w.channels;
      for (int64_t c = 0; c < w.channels; ++c) dw[c] += dy[c] * x[c];
    }
    for (int64_t c = 0; c < w.channels; ++c) g.bias_gradient[c] += dy[c];
  }
}

template <class Number>
[[gnu::always_inline]] inline void scan_forward(const SelectiveScan<Number>& w) {
  const int64_t S = w.states, in_chunk = scan_padded(w.channels) / scan_lanes * S;
  Buffers<Number>& buffers = thread_buffers<Number>();
  Lanes<Number>* memory = buffers.lanes(0, S);
  Lanes<Number>* decay = buffers.lanes(1, S);
  Lanes<Number>* kept = reinterpret_cast<Lanes<Number>*>(w.kept);
  for (int64_t c = w.first; c < w.last; c += scan_lanes) {
    const int64_t width = std::min(scan_lanes, w.last - c);
    turn_in(memory, w.memory + c * S, S, width);
    turn_in(decay, w.decay + c * S, S, width);
    for (int64_t t = 0; t < w.rows; ++t) {
      if (kept && t % scan_chunk == 0) {
        std::copy_n(memory, S, kept + t / scan_chunk * in_chunk + c / scan_lanes * S);
      }
      const Lanes<Number> step = load(w.step + t * w.channels + c, width);
      const Lanes<Number> in = step * load(w.u + t * w.channels + c, width);
      const Number *written = w.written + t * S, *read = w.read + t * S;
      Lanes<Number> y{};
      for (int64_t j = 0; j < S; ++j) {
        memory[j] = decay_of(step * decay[j]) * memory[j] + in * written[j];
        y += memory[j] * read[j];
      }
      store(w.output + t * w.channels + c, y, width);
    }
    turn_out(w.memory + c * S, memory, S, width, false);
  }
}

template <class Number>
[[gnu::always_inline]] inline void scan_backward(const SelectiveScanGradient<Number>& g) {
  const SelectiveScan<Number>& w = g.work;
  const int64_t S = w.states, in_chunk = scan_padded(w.channels) / scan_lanes * S;
  const int64_t blocks = (w.last - w.first + scan_lanes - 1) / scan_lanes;
  Buffers<Number>& buffers = thread_buffers<Number>();
  Lanes<Number>* gradients = buffers.lanes(0, blocks * S);  // of the memory behind the position
  Lanes<Number>* decays = buffers.lanes(1, blocks * S);
  Lanes<Number>* decay_sums = buffers.zeros(2, blocks * S);
  Lanes<Number>* memories = buffers.lanes(3, (scan_chunk + 1) * S);
  Lanes<Number>* factors = buffers.lanes(4, scan_chunk * S);
  const auto width_of = [&](int64_t c) { return std::min(scan_lanes, w.last - c); };
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t c = w.first + b * scan_lanes;
    turn_in(gradients + b * S, g.memory_gradient + c * S, S, width_of(c));
    turn_in(decays + b * S, w.decay + c * S, S, width_of(c));
  }
  for (int64_t chunk = scan_chunks(w.rows) - 1; chunk >= 0; --chunk) {
    const int64_t begin = chunk * scan_chunk, rows = std::min(scan_chunk, w.rows - begin);
    Lanes<Number>* written_sums = buffers.zeros(5, scan_chunk * S);
    Lanes<Number>* read_sums = buffers.zeros(6, scan_chunk * S);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t c = w.first + b * scan_lanes, width = width_of(c);
      const Lanes<Number>* decay = decays + b * S;
      Lanes<Number>* gradient = gradients + b * S;
      Lanes<Number>* decay_sum = decay_sums + b * S;
      std::copy_n(reinterpret_cast<const Lanes<Number>*>(w.kept) + chunk * in_chunk + c / scan_lanes * S, S, memories);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t at = (begin + i) * w.channels + c;
        const Lanes<Number> step = load(w.step + at, width), in = step * load(w.u + at, width);
        const Number* written = w.written + (begin + i) * S;
        const Lanes<Number>* memory = memories + i * S;
        Lanes<Number>* behind = memories + (i + 1) * S;
        Lanes<Number>* factor = factors + i * S;
        for (int64_t j = 0; j < S; ++j) {
          factor[j] = decay_of(step * decay[j]);
          behind[j] = factor[j] * memory[j] + in * written[j];
        }
      }
      for (int64_t i = rows - 1; i >= 0; --i) {
        const int64_t at = (begin + i) * w.channels + c;
        const Lanes<Number> step = load(w.step + at, width), u = load(w.u + at, width), in = step * u;
        const Lanes<Number> dy = load(g.output_gradient + at, width);
        const Number *written = w.written + (begin + i) * S, *read = w.read + (begin + i) * S;
        const Lanes<Number>*memory = memories + i * S, *behind = memory + S, *factor = factors + i * S;
        Lanes<Number>*written_sum = written_sums + i * S, *read_sum = read_sums + i * S;
        Lanes<Number> of_in{}, of_step{};
        for (int64_t j = 0; j < S; ++j) {
          const Lanes<Number> of_memory = gradient[j] + dy * read[j];
          read_sum[j] += dy * behind[j];
          written_sum[j] += of_memory * in;
          of_in += of_memory * written[j];
          const Lanes<Number> handed = of_memory * factor[j];
          const Lanes<Number> of_exponent = handed * memory[j];
          of_step += of_exponent * decay[j];
          decay_sum[j] += of_exponent * step;
          gradient[j] = handed;
        }
        store(g.step_gradient + at, of_step + of_in * u, width);
        store(g.u_gradient + at, of_in * step, width);
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < S; ++j) {
        g.written_gradient[(begin + i) * S + j] = sum_of(written_sums[i * S + j]);
        g.read_gradient[(begin + i) * S + j] = sum_of(read_sums[i * S + j]);
      }
    }
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t c = w.first + b * scan_lanes;
    turn_out(g.memory_gradient + c * S, gradients + b * S, S, width_of(c), false);
    turn_out(g.decay_gradient + c * S, decay_sums + b * S, S, width_of(c), true);
  }
}

// A row of a head, padded with zeros.
template <int vectors, class Number>
[[gnu::always_inline]] inline void load_row(Lanes<Number>* to, const Number* from, int64_t width) {
  for (int n = 0; n < vectors; ++n) to[n] = load(from + n * scan_lanes, width - n * scan_lanes);
}
template <int vectors, class Number>
[[gnu::always_inline]] inline void store_row(Number* to, const Lanes<Number>* from, int64_t width) {
  for (int n = 0; n < vectors; ++n) store(to + n * scan_lanes, from[n], width - n * scan_lanes);
}

// What a position gives to its step, one row each.
enum DeltaInput { decay_in, removal_in, rated_in, key_in, query_in, delta_inputs };

template <int vectors, class Number>
[[gnu::always_inline]] inline void load_inputs(Lanes<Number>* to, const DeltaScan<Number>& w, int64_t t) {
  const Number* const rows[] = {w.decay, w.removal, w.rated, w.key, w.query};
  for (int k = 0; k < delta_inputs; ++k) load_row<vectors>(to + k * vectors, rows[k] + t * w.stride, w.width);
}

// One row of the memory through a step; returns what lay under the removal key.
template <int vectors, class Number>
[[gnu::always_inline]] inline Number step_row(Lanes<Number>* to, const Lanes<Number>* row, const Lanes<Number>* in,
                                              Number value) {
  Lanes<Number> under{};
  for (int n = 0; n < vectors; ++n) under += row[n] * in[removal_in * vectors + n];
  const Number found = sum_of(under);
  for (int n = 0; n < vectors; ++n) {
    to[n] = row[n] * in[decay_in * vectors + n] - found * in[rated_in * vectors + n] + value * in[key_in * vectors + n];
  }
  return found;
}

template <int vectors, class Number>
[[gnu::always_inline]] inline void delta_forward(const DeltaScan<Number>& w) {
  Buffers<Number>& buffers = thread_buffers<Number>();
  Lanes<Number>* memory = buffers.lanes(0, w.width * vectors);
  Lanes<Number>* in = buffers.lanes(1, delta_inputs * vectors);
  Lanes<Number>* kept = reinterpret_cast<Lanes<Number>*>(w.kept);
  for (int64_t i = 0; i < w.width; ++i) load_row<vectors>(memory + i * vectors, w.memory + i * w.width, w.width);
  for (int64_t t = 0; t < w.rows; ++t) {
    if (kept && t % scan_chunk == 0) {
      std::copy_n(memory, w.width * vectors, kept + t / scan_chunk * w.width * vectors);
    }
    load_inputs<vectors>(in, w, t);
    for (int64_t i = 0; i < w.width; ++i) {
      Lanes<Number>* row = memory + i * vectors;
      step_row<vectors>(row, row, in, w.value[t * w.stride + i]);
      Lanes<Number> y{};
      for (int n = 0; n < vectors; ++n) y += row[n] * in[query_in * vectors + n];
      w.output[t * w.stride + i] = sum_of(y);
    }
  }
  for (int64_t i = 0; i < w.width; ++i) store_row<vectors>(w.memory + i * w.width, memory + i * vectors, w.width);
}

// Rows of the memory are independent but for the sums over them: some rows go through a chunk at a time, so that their
// memories stay in the nearest cache.
constexpr int64_t rows_together = 16;

template <int vectors, class Number>
[[gnu::always_inline]] inline void delta_backward(const DeltaScanGradient<Number>& g) {
  const DeltaScan<Number>& w = g.work;
  Buffers<Number>& buffers = thread_buffers<Number>();
  Lanes<Number>* gradients = buffers.lanes(0, w.width * vectors);  // of the memory behind the position
  Lanes<Number>* inputs = buffers.lanes(1, scan_chunk * delta_inputs * vectors);
  Lanes<Number>* memories = buffers.lanes(2, (scan_chunk + 1) * rows_together * vectors);
  Number* found = reinterpret_cast<Number*>(buffers.lanes(3, scan_chunk * rows_together / scan_lanes));
  for (int64_t i = 0; i < w.width; ++i) {
    load_row<vectors>(gradients + i * vectors, g.memory_gradient + i * w.width, w.width);
  }
  for (int64_t chunk = scan_chunks(w.rows) - 1; chunk >= 0; --chunk) {
    const int64_t begin = chunk * scan_chunk, rows = std::min(scan_chunk, w.rows - begin);
    Lanes<Number>* sums = buffers.zeros(4, scan_chunk * delta_inputs * vectors);
    for (int64_t t = 0; t < rows; ++t) load_inputs<vectors>(inputs + t * delta_inputs * vectors, w, begin + t);
    for (int64_t first = 0; first < w.width; first += rows_together) {
      const int64_t count = std::min(rows_together, w.width - first);
      std::copy_n(reinterpret_cast<const Lanes<Number>*>(w.kept) + (chunk * w.width + first) * vectors, count * vectors,
                  memories);
      for (int64_t t = 0; t < rows; ++t) {
        const Number* value = w.value + (begin + t) * w.stride + first;
        Lanes<Number>* memory = memories + t * rows_together * vectors;
        for (int64_t i = 0; i < count; ++i) {
          found[t * rows_together + i] = step_row<vectors>(memory + (rows_together + i) * vectors, memory + i * vectors,
                                                           inputs + t * delta_inputs * vectors, value[i]);
        }
      }
      for (int64_t t = rows - 1; t >= 0; --t) {
        const Number* value = w.value + (begin + t) * w.stride + first;
        const Number* dy = g.output_gradient + (begin + t) * w.stride + first;
        const Lanes<Number>* in = inputs + t * delta_inputs * vectors;
        Lanes<Number>* sum = sums + t * delta_inputs * vectors;
        for (int64_t i = 0; i < count; ++i) {
          const Lanes<Number>* memory = memories + (t * rows_together + i) * vectors;
          const Lanes<Number>* behind = memory + rows_together * vectors;
          Lanes<Number>* gradient = gradients + (first + i) * vectors;
          Lanes<Number> under_key{}, under_rated{};
          for (int n = 0; n < vectors; ++n) {
            gradient[n] += dy[i] * in[query_in * vectors + n];
            under_key += gradient[n] * in[key_in * vectors + n];
            under_rated += gradient[n] * in[rated_in * vectors + n];
          }
          g.value_gradient[(begin + t) * w.stride + first + i] = sum_of(under_key);
          const Number of_found = -sum_of(under_rated), lay = found[t * rows_together + i];
          for (int n = 0; n < vectors; ++n) {
            sum[query_in * vectors + n] += dy[i] * behind[n];
            sum[key_in * vectors + n] += value[i] * gradient[n];
            sum[decay_in * vectors + n] += gradient[n] * memory[n];
            sum[rated_in * vectors + n] -= lay * gradient[n];
            sum[removal_in * vectors + n] += of_found * memory[n];
            gradient[n] = gradient[n] * in[decay_in * vectors + n] + of_found * in[removal_in * vectors + n];
          }
        }
      }
    }
    Number* const to[] = {g.decay_gradient, g.removal_gradient, g.rated_gradient, g.key_gradient, g.query_gradient};
    for (int64_t t = 0; t < rows; ++t) {
      for (int k = 0; k < delta_inputs; ++k) {
        store_row<vectors>(to[k] + (begin + t) * w.stride, sums + (t * delta_inputs + k) * vectors, w.width);
      }
    }
  }
  for (int64_t i = 0; i < w.width; ++i) {
    store_row<vectors>(g.memory_gradient + i * w.width, gradients + i * vectors, w.width);
  }
}

// Runs `body` built for the number of vectors that a row of the head fills.
template <class Body>
[[gnu::always_inline]] inline void by_width(int64_t width, const Body& body) {
  switch (delta_scan_padded(width) / scan_lanes) {
    case 1:
      return body.template run<1>();
    case 2:
      return body.template run<2>();
    case 4:
      return body.template run<4>();
    default:
      return body.template run<8>();
  }
}
template <class Number>
struct Forward {
  const DeltaScan<Number>& work;
  template <int vectors>
  [[gnu::always_inline]] inline void run() const {
    delta_forward<vectors>(work);
  }
};
template <class Number>
struct Backward {
  const DeltaScanGradient<Number>& work;
  template <int vectors>
  [[gnu::always_inline]] inline void run() const {
    delta_backward<vectors>(work);
  }
};

}  // namespace

CLONED void convolve(const Convolution<float>& work) {
  convolve_rows(work);
}
CLONED void convolve(const Convolution<double>& work) {
  convolve_rows(work);
}
CLONED void convolve_backward(const ConvolutionGradient<float>& work) {
  convolve_rows_backward(work);
}
CLONED void convolve_backward(const ConvolutionGradient<double>& work) {
  convolve_rows_backward(work);
}
CLONED void selective_scan(const SelectiveScan<float>& work) {
  scan_forward(work);
}
CLONED void selective_scan(const SelectiveScan<double>& work) {
  scan_forward(work);
}
CLONED void selective_scan_backward(const SelectiveScanGradient<float>& work) {
  scan_backward(work);
}
CLONED void selective_scan_backward(const SelectiveScanGradient<double>& work) {
  scan_backward(work);
}
CLONED void delta_scan(const DeltaScan<float>& work) {
  by_width(work.width, Forward<float>{work});
}
CLONED void delta_scan(const DeltaScan<double>& work) {
  by_width(work.width, Forward<double>{work});
}
CLONED void delta_scan_backward(const DeltaScanGradient<float>& work) {
  by_width(work.work.width, Backward<float>{work});
}
CLONED void delta_scan_backward(const DeltaScanGradient<double>& work) {
  by_width(work.work.width, Backward<double>{work});
}

}  // namespace introspect::kernel
