// SHA-256 (FIPS 180-4), fed piece by piece. files.h has the calls most code wants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace introspect {

class Sha256 {
 public:
  void add(const void* bytes, size_t count);
  std::string finish();  // 64 hexadecimal digits; the object is used up

 private:
  void digest_block(const uint8_t* block);

  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t pending_[64] = {};
  size_t pending_count_ = 0;
  uint64_t total_ = 0;  // bytes
};

}  // namespace introspect
