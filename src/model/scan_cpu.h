// The loops behind scan.h on the processor: one sequence after another in time, side by side over channels or keys. Raw
// pointers, one thread: the callers cut the work. All are built for float and double.
#pragma once

#include <cstdint>

namespace introspect::kernel {

// Gradients need the memory in front of every position. Kept is the one in front of every `scan_chunk`; those between
// are computed again.
constexpr int64_t scan_chunk = 16;
constexpr int64_t scan_lanes = 16;  // numbers that are computed together
inline int64_t scan_chunks(int64_t rows) {
  return (rows + scan_chunk - 1) / scan_chunk;
}
inline int64_t scan_padded(int64_t width) {
  return (width + scan_lanes - 1) / scan_lanes * scan_lanes;
}

// Each channel's weighted sum of its last inputs: y[t] = bias + sum over lags of weight[lag] x[t - lag].
template <class Number>
struct Convolution {
  int64_t rows, channels, lags;
  const Number* x;  // [rows, channels], rows x_stride apart
  int64_t x_stride;
  const Number* before;  // [lags - 1, channels] inputs in front of x, or null: zeros
  const Number* weight;  // [lags, channels]
  const Number* bias;    // [channels]
  Number* output;        // [rows, channels]
};
void convolve(const Convolution<float>& work);
void convolve(const Convolution<double>& work);

template <class Number>
struct ConvolutionGradient {
  Convolution<Number> work;  // without output
  const Number* output_gradient;
  Number* x_gradient;       // [rows, channels], written
  Number* weight_gradient;  // [lags, channels], added to
  Number* bias_gradient;    // [channels], added to
};
void convolve_backward(const ConvolutionGradient<float>& work);
void convolve_backward(const ConvolutionGradient<double>& work);

// Mamba's recurrence for some channels of a sequence:
// memory = exp(step decay) memory + step u written, output = memory read.
template <class Number>
struct SelectiveScan {
  int64_t rows, channels, states;
  int64_t first, last;           // the channels that are computed; first is a multiple of scan_lanes
  const Number *step, *u;        // [rows, channels], step >= 0
  const Number *written, *read;  // [rows, states]
  const Number* decay;           // [channels, states] <= 0
  Number* memory;                // [channels, states] in front of the sequence, becomes the one behind it
  Number* output;                // [rows, channels]
  Number* kept;                  // [scan_chunks(rows), states * scan_padded(channels)] or null
};
void selective_scan(const SelectiveScan<float>& work);
void selective_scan(const SelectiveScan<double>& work);

template <class Number>
struct SelectiveScanGradient {
  SelectiveScan<Number> work;  // with kept, without memory and output
  const Number* output_gradient;
  Number* memory_gradient;                   // of the memory behind, becomes the one of the memory in front
  Number *step_gradient, *u_gradient;        // [rows, channels], written
  Number *written_gradient, *read_gradient;  // [rows, states], written: sums over the channels that are computed
  Number* decay_gradient;                    // [channels, states], added to
};
void selective_scan_backward(const SelectiveScanGradient<float>& work);
void selective_scan_backward(const SelectiveScanGradient<double>& work);

// RWKV-7's recurrence for one head of a sequence, memory [values, keys]:
// memory = memory (diag(decay) - removal rated') + value key', output = memory query.
template <class Number>
struct DeltaScan {
  int64_t rows, width, stride;  // width: of the head; stride: between rows of the inputs
  const Number *decay, *removal, *rated, *key, *value, *query;
  Number* memory;  // [width, width] in front of the sequence, becomes the one behind it
  Number* output;  // like value
  Number* kept;    // [scan_chunks(rows), width * delta_scan_padded(width)] or null
};
constexpr int64_t delta_scan_widest = 128;  // head
inline int64_t delta_scan_padded(int64_t width) {
  return width <= scan_lanes ? scan_lanes : 2 * delta_scan_padded((width + 1) / 2);
}
void delta_scan(const DeltaScan<float>& work);
void delta_scan(const DeltaScan<double>& work);

template <class Number>
struct DeltaScanGradient {
  DeltaScan<Number> work;  // with kept, without memory and output
  const Number* output_gradient;
  Number* memory_gradient;  // of the memory behind, becomes the one of the memory in front
  Number *decay_gradient, *removal_gradient, *rated_gradient, *key_gradient, *value_gradient, *query_gradient;
};
void delta_scan_backward(const DeltaScanGradient<float>& work);
void delta_scan_backward(const DeltaScanGradient<double>& work);

}  // namespace introspect::kernel
