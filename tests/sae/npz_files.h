// .npz files written byte by byte, so that every field can be made wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace introspect {

inline std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

// A .npy file with any text for a header.
inline std::string npy_file(std::string_view header, std::string_view data, int version = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  return file + little_endian(header.size(), version == 1 ? 2 : 4) + std::string(header) + std::string(data);
}

inline std::string npy_header(std::string_view type, const std::vector<int64_t>& shape, bool fortran_order = false) {
  return fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': ({}{}), }}\n", type,
                     fortran_order ? "True" : "False", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
}

// A float32 tensor; with fortran_order the first index runs fastest.
inline std::string npy_of(const at::Tensor& tensor, bool fortran_order = false) {
  const at::Tensor ordered = (fortran_order ? tensor.t() : tensor).contiguous();
  return npy_file(npy_header("<f4", tensor.sizes().vec(), fortran_order),
                  {static_cast<const char*>(ordered.data_ptr()), ordered.nbytes()});
}

inline uint32_t crc32_of(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

struct ZipEntry {
  std::string name, bytes;
  int64_t claimed_size = -1, claimed_stored = -1;  // in place of the true sizes
  int method = 0;                                  // 0: stored, 8: deflated
};

inline std::string zip_of(const std::vector<ZipEntry>& entries) {
  std::string file, directory;
  for (const ZipEntry& entry : entries) {
    const auto size = static_cast<uint64_t>(entry.claimed_size < 0 ? std::ssize(entry.bytes) : entry.claimed_size);
    const auto stored =
        static_cast<uint64_t>(entry.claimed_stored < 0 ? std::ssize(entry.bytes) : entry.claimed_stored);
    const std::string common = little_endian(20, 2) + little_endian(0, 2) +
                               little_endian(static_cast<uint64_t>(entry.method), 2) + little_endian(0x21 << 16, 4) +
                               little_endian(crc32_of(entry.bytes), 4) + little_endian(stored, 4) +
                               little_endian(size, 4) + little_endian(entry.name.size(), 2) + little_endian(0, 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + common + little_endian(0, 10) + little_endian(file.size(), 4) +
                 entry.name;
    file += "PK\x03\x04" + common + entry.name + entry.bytes;
  }
  const size_t begin = file.size();
  return file + directory + "PK\x05\x06" + little_endian(0, 4) + little_endian(entries.size(), 2) +
         little_endian(entries.size(), 2) + little_endian(directory.size(), 4) + little_endian(begin, 4) +
         little_endian(0, 2);
}

inline std::string npz_of(const std::vector<std::pair<std::string, at::Tensor>>& tensors, bool fortran_order = false) {
  std::vector<ZipEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back({name + ".npy", npy_of(tensor, fortran_order && tensor.dim() == 2), -1, -1, 0});
  }
  return zip_of(entries);
}

}  // namespace introspect
