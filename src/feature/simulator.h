// Simulators: what a description says a feature does on a text.
#pragma once

#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

namespace introspect {

class Simulator {
 public:
  virtual ~Simulator() = default;
  // Activation on every token, in any unit: tokens [C, T] int32 (-1 behind the end) → [C, T] float32. Empty for a
  // description that it cannot read: an explainer's words that mean nothing to it, which are counted as such.
  virtual std::optional<at::Tensor> simulate(const std::string& description, const at::Tensor& tokens) const = 0;
};

}  // namespace introspect
