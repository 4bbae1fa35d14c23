#include "feature/symbolic_simulator.h"

#include "base/error.h"

#include <ATen/Functions.h>

namespace introspect {

std::optional<at::Tensor> SymbolicSimulator::simulate(const std::string& description, const at::Tensor& tokens) const {
  const std::optional<Predicate> predicate = library_->parse(description);
  if (!predicate) return std::nullopt;
  if (tokens.dim() != 2 || tokens.scalar_type() != at::kInt) {
    fail("symbolic simulator", fmt::format("tokens: got {} dimensions of another type, expected [C, T] int32", tokens.dim()));
  }
  const at::Tensor rows = tokens.contiguous();
  const auto length = static_cast<size_t>(rows.size(1));
  at::Tensor simulated = at::zeros({rows.size(0), rows.size(1)}, at::kFloat);
  for (int64_t c = 0; c < rows.size(0); ++c) {
    const TextWords text = library_->splitter().split({rows.data_ptr<int32_t>() + c * rows.size(1), length});
    const std::vector<uint8_t> holds = library_->holds(*predicate, text);
    float* row = simulated.data_ptr<float>() + c * rows.size(1);
    for (size_t t = 0; t < length; ++t) row[t] = holds[t];
  }
  return simulated;
}

}  // namespace introspect
