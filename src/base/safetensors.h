// The safetensors file format: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.
// Specification: github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

namespace fs = std::filesystem;

struct TensorInfo {
  std::string dtype;  // as written in the file: "F32", "BF16", ...
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of the first byte, from the beginning of the file
  uint64_t bytes = 0;
};

// One memory-mapped safetensors file. Cheap to copy; tensors keep the mapping alive.
// Opening checks: header length and JSON, known dtypes, shapes without overflow, offsets that are inside the file,
// do not overlap, leave no hole, and agree with shape times dtype. Throws Error naming the tensor and the path.
class Safetensors {
 public:
  explicit Safetensors(const fs::path& path);

  const fs::path& path() const;
  const std::map<std::string, TensorInfo>& tensors() const;
  const std::map<std::string, std::string>& metadata() const;  // "__metadata__"
  bool contains(const std::string& name) const;

  // A view of the mapped bytes (read-only: never write to it), no copy. Throws Error if there is no such tensor
  // or this libtorch has no such type (the F8 types need libtorch 2.1).
  at::Tensor get(const std::string& name) const;

  // The memory that reading a tensor took may be taken back; whoever reads it again, reads the file again.
  void let_go(const std::string& name) const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

// A checkpoint folder: model.safetensors, or the shards of model.safetensors.index.json.
// `stem` is "model" or, for adapters, "adapter_model". A shard, or a tensor in a shard, that the index names and that
// is not there is an Error.
class Checkpoint {
 public:
  explicit Checkpoint(const fs::path& folder, const std::string& stem = "model");
  bool contains(const std::string& name) const;
  at::Tensor get(const std::string& name) const;  // as Safetensors::get
  void let_go(const std::string& name) const;     // as Safetensors::let_go
  const TensorInfo& info(const std::string& name) const;
  std::vector<std::string> names() const;  // sorted
  uint64_t bytes() const;                  // of all tensors

 private:
  fs::path folder_;
  std::map<std::string, Safetensors> where_;
};

// Writes tensors in the order given, contiguous, 8-byte aligned header, atomically (a killed process leaves no
// file under the final name). Tensors on other devices are copied one at a time.
void write_safetensors(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

// The same for more tensors than fit in memory: `values(i)` gives tensor i when it is to be written, and must have the
// type and shape announced.
struct TensorOutline {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
};
void write_safetensors(const fs::path& path, const std::vector<TensorOutline>& tensors,
                       const std::function<at::Tensor(size_t)>& values,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace introspect
