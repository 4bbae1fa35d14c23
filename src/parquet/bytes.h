// Bytes of a file read from the front, with every end checked.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace introspect::parquet {

// Says what is wrong with a file; throws Error.
[[noreturn]] void refuse(const std::string& message, const std::string& label);

class Bytes {
 public:
  Bytes(std::string_view bytes, const std::string& label) : bytes_(bytes), label_(&label) {}

  size_t left() const { return bytes_.size() - at_; }
  size_t at() const { return at_; }
  std::string_view rest() const { return bytes_.substr(at_); }
  const std::string& label() const { return *label_; }

  std::string_view take(uint64_t count) {
    if (count > left()) refuse(fmt::format("got {} bytes, expected {} more", left(), count), *label_);
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }
  uint8_t byte() { return static_cast<uint8_t>(take(1)[0]); }
  template <class Number>
  Number number() {  // little-endian, as on every machine this runs on
    Number value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  // Seven bits a byte, the lowest first; a set top bit says that more follow.
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint64_t part = byte();
      if (shift == 63 && part > 1) break;
      value |= (part & 0x7f) << shift;
      if ((part & 0x80) == 0) return value;
    }
    refuse("a number longer than 64 bits", *label_);
  }
  int64_t zigzag() {
    const uint64_t value = varint();
    return static_cast<int64_t>(value >> 1 ^ (~(value & 1) + 1));
  }

 private:
  std::string_view bytes_;
  const std::string* label_;
  size_t at_ = 0;
};

}  // namespace introspect::parquet
