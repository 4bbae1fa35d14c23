// The tensors of a saved SAE, each checked as it is taken out of its file. For the layouts of saved_sae.h.
#pragma once

#include "base/safetensors.h"
#include "sae/npz.h"

#include <filesystem>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

class SavedTensors {
 public:
  explicit SavedTensors(const fs::path& path);  // .safetensors or .npz

  const fs::path& path() const { return path_; }
  bool contains(const std::string& name) const;
  // Its extents; Error if it is not there or has another number of dimensions.
  std::vector<int64_t> shape(const std::string& name, size_t dimensions) const;
  // A float32 copy. Error if the tensor is not there, has another shape or no floating-point type, or holds a number
  // that is not finite. Memory: the copy, and little more for a mapped file.
  at::Tensor take(const std::string& name, const std::vector<int64_t>& shape);
  // Error naming a tensor that nobody took: it would mean something that is not done here.
  void expect_all_taken() const;

  [[noreturn]] void refuse(const std::string& message, std::string_view hint = {}) const;  // Error with the path

 private:
  const std::vector<int64_t>& extents(const std::string& name) const;
  std::vector<std::string> names() const;

  fs::path path_;
  std::variant<Safetensors, Npz> file_;
  std::set<std::string> taken_;
};

}  // namespace introspect
