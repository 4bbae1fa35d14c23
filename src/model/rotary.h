// Rotary positions.
#pragma once

#include "model/config.h"

#include <ATen/core/Tensor.h>

namespace introspect {

struct Angles {
  at::Tensor cosine, sine;  // [N, rotary_dim / 2] float32; undefined where the family rotates nothing

  Angles at(const at::Tensor& rows) const;
};

// Angles of positions [N], with the frequency scaling of Llama 3.1 (Hugging Face modeling_rope_utils, "llama3").
// `furthest` is the largest position.
Angles rotary_angles(const ModelConfig& config, const at::Tensor& positions, int64_t furthest);

// The first rotary_dim dimensions of heads x [N, heads, head_dim] turned by the angles.
at::Tensor turned(const ModelConfig& config, const at::Tensor& x, const Angles& angles);

}  // namespace introspect
