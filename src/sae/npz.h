// numpy's .npz files: a zip archive with one .npy file an array. Zip is libzip's work, the .npy header is read here.
// Specification: numpy.lib.format (versions 1.0, 2.0 and 3.0).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

namespace fs = std::filesystem;

struct NpyHeader {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  bool fortran_order = false;  // the first index runs fastest
  uint64_t header_bytes = 0;   // where the numbers begin
  uint64_t data_bytes = 0;     // shape times dtype
};

// The header at the beginning of a .npy file. Little-endian f2, f4, f8, i4 and i8 are read; pickled objects, records
// and other types are refused by name. Throws Error naming `label`.
NpyHeader parse_npy_header(std::string_view bytes, const std::string& label);

// One .npz file. Opening reads every array's header and checks it against the entry's size, and that size against what
// the file can hold at all: stored entries are as large as they say, deflate shrinks by at most a factor of 1032. So a
// small file cannot make get() ask for much memory. Throws Error naming array and path.
class Npz {
 public:
  explicit Npz(const fs::path& path);

  const std::map<std::string, NpyHeader>& arrays() const;  // by name, without ".npy"
  // The array in a type and memory of its own; of Fortran order: a view with the strides swapped. The checksum is
  // compared. Throws Error if there is no such array or its bytes cannot be read.
  at::Tensor get(const std::string& name) const;

 private:
  struct Archive;
  std::shared_ptr<const Archive> archive_;
};

}  // namespace introspect
