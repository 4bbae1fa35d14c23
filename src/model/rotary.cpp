#include "model/rotary.h"

#include "model/kernels.h"

#include <cmath>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

Angles Angles::at(const at::Tensor& rows) const {
  if (!cosine.defined()) return *this;
  return {cosine.index_select(0, rows), sine.index_select(0, rows)};
}

Angles rotary_angles(const ModelConfig& config, const at::Tensor& positions, int64_t furthest) {
  const int64_t half = config.rotary_dim() / 2;
  if (half == 0) return {};
  std::vector<double> frequency(half);
  const RopeScaling& scaling = config.rope_scaling;
  for (int64_t i = 0; i < half; ++i) {
    double f = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(2 * half));
    if (scaling.kind == RopeScaling::Kind::linear) f /= scaling.factor;
    if (scaling.kind == RopeScaling::Kind::llama3) {
      const double wavelength = 2 * M_PI / f;
      const double longest = scaling.original_positions / scaling.low_frequency_factor;
      const double shortest = scaling.original_positions / scaling.high_frequency_factor;
      if (wavelength > longest) {
        f /= scaling.factor;
      } else if (wavelength > shortest) {
        const double smooth = (scaling.original_positions / wavelength - scaling.low_frequency_factor) /
                              (scaling.high_frequency_factor - scaling.low_frequency_factor);
        f = (1 - smooth) * f / scaling.factor + smooth * f;
      }
    }
    frequency[i] = f;
  }
  const at::Tensor f = at::tensor(frequency, at::kDouble).to(positions.device());
  // many sequences share their positions: each cosine is computed once
  const bool table = furthest + 1 < positions.size(0);
  const at::Tensor distinct = table ? at::arange(furthest + 1, positions.options()) : positions;
  const at::Tensor angles = distinct.to(at::kDouble).unsqueeze(1) * f.unsqueeze(0);
  const at::Tensor cosine = angles.cos().to(at::kFloat), sine = angles.sin().to(at::kFloat);
  if (!table) return {cosine, sine};
  return {cosine.index_select(0, positions), sine.index_select(0, positions)};
}

at::Tensor turned(const ModelConfig& config, const at::Tensor& x, const Angles& angles) {
  const int64_t width = config.rotary_dim();
  if (width == 0) return x;
  if (width == config.head_dim) return rotate(x, angles.cosine, angles.sine);
  return at::cat({rotate(x.slice(2, 0, width), angles.cosine, angles.sine), x.slice(2, width)}, 2);
}

}  // namespace introspect
