// The simulator of the library's descriptions: 1 on the tokens on which a description holds, 0 on all others, exactly.
#pragma once

#include "feature/library.h"
#include "feature/simulator.h"

#include <memory>

namespace introspect {

class SymbolicSimulator : public Simulator {
 public:
  explicit SymbolicSimulator(std::shared_ptr<const DescriptionLibrary> library) : library_(std::move(library)) {}
  // Empty for what is no sentence of the library.
  std::optional<at::Tensor> simulate(const std::string& description, const at::Tensor& tokens) const override;

 private:
  std::shared_ptr<const DescriptionLibrary> library_;
};

}  // namespace introspect
