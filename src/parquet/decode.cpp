#include "parquet/decode.h"

#include "base/error.h"
#include "text/utf8.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace introspect::parquet {

namespace {

// `width` bits, at most 64, from bit `at`. The bytes must be there.
uint64_t bits(std::string_view bytes, uint64_t at, int width) {
  uint64_t value = 0;
  for (int got = 0; got < width;) {
    const uint64_t byte = static_cast<uint8_t>(bytes[(at + got) / 8]);
    const int from = static_cast<int>((at + got) % 8), count = std::min(8 - from, width - got);
    value |= (byte >> from & ((uint64_t{1} << count) - 1)) << got;
    got += count;
  }
  return value;
}

}  // namespace

Runs::Runs(std::string_view bytes, int width, const std::string& label) : bytes_(bytes, label), width_(width) {
  if (width < 0 || width > 32) refuse(fmt::format("integers of {} bits, expected 0 to 32", width), label);
}

uint32_t Runs::next() {
  while (left_ == 0) {
    const uint64_t head = bytes_.varint();
    packed_ = head & 1;
    const uint64_t count = head >> 1;
    if (packed_) {
      // the last group may be cut off after the values that are wanted
      const uint64_t wanted = count > bytes_.left() ? bytes_.left() : count * static_cast<uint64_t>(width_);
      group_ = bytes_.take(std::min<uint64_t>(wanted, bytes_.left()));
      left_ = width_ == 0 ? std::min<uint64_t>(count, UINT64_MAX / 8) * 8
                          : std::min(std::min<uint64_t>(count, UINT32_MAX) * 8, group_.size() * 8 / width_);
      bit_ = 0;
      if (left_ == 0 && count > 0) refuse("packed integers that are cut off", bytes_.label());
    } else {
      value_ = 0;
      const std::string_view stored = bytes_.take(static_cast<uint64_t>((width_ + 7) / 8));
      for (size_t i = 0; i < stored.size(); ++i)
        value_ |= static_cast<uint32_t>(static_cast<uint8_t>(stored[i])) << (8 * i);
      left_ = count;
    }
  }
  --left_;
  if (!packed_) return value_;
  const auto value = static_cast<uint32_t>(bits(group_, bit_, width_));
  bit_ += static_cast<uint64_t>(width_);
  return value;
}

Deltas::Deltas(std::string_view bytes, uint64_t most, const std::string& label) : bytes_(bytes, label) {
  constexpr uint64_t kLargest = uint64_t{1} << 20;
  const uint64_t block = bytes_.varint();
  miniblocks_ = bytes_.varint();
  count_ = bytes_.varint();
  value_ = static_cast<uint64_t>(bytes_.zigzag());
  if (miniblocks_ == 0 || block == 0 || block > kLargest || block % miniblocks_ != 0 || block / miniblocks_ % 8 != 0) {
    refuse(fmt::format("differences in blocks of {} with {} parts", block, miniblocks_), label);
  }
  if (count_ > most) refuse(fmt::format("{} integers in a page of {} values", count_, most), label);
  per_miniblock_ = block / miniblocks_;
  miniblock_ = miniblocks_;  // the first block is still to come
  in_miniblock_ = per_miniblock_;
}

int64_t Deltas::next() {
  if (read_ >= count_) refuse(fmt::format("more than the {} integers of the page", count_), bytes_.label());
  if (read_++ == 0) return static_cast<int64_t>(value_);
  if (in_miniblock_ == per_miniblock_) {
    if (++miniblock_ >= miniblocks_) {
      smallest_ = static_cast<uint64_t>(bytes_.zigzag());
      widths_ = bytes_.take(miniblocks_);
      miniblock_ = 0;
    }
    const auto width = static_cast<uint8_t>(widths_[miniblock_]);
    if (width > 64) refuse(fmt::format("differences of {} bits", width), bytes_.label());
    packed_ = bytes_.take(per_miniblock_ * width / 8);
    in_miniblock_ = 0;
  }
  const int width = static_cast<uint8_t>(widths_[miniblock_]);
  value_ += smallest_ + bits(packed_, in_miniblock_++ * static_cast<uint64_t>(width), width);
  return static_cast<int64_t>(value_);
}

size_t Deltas::skip_to_end() {
  while (read_ < count_) next();
  return bytes_.at();
}

namespace {

Json integer_of(const SchemaNode& leaf, int64_t value) {
  if (leaf.type == Physical::int32) {
    if (leaf.is_unsigned) return static_cast<uint32_t>(value);
    return static_cast<int32_t>(value);
  }
  if (leaf.is_unsigned) return static_cast<uint64_t>(value);
  return value;
}

Json text_of(const SchemaNode& leaf, std::string_view bytes, const std::string& label) {
  if (!text::is_valid_utf8(bytes)) {
    fail("parquet", fmt::format("column '{}': bytes that are no UTF-8 text ({})", leaf.name, label),
         "leave the column out: only columns of text and numbers are read");
  }
  return std::string(bytes);
}

class Plain : public Values {
 public:
  Plain(const SchemaNode& leaf, std::string_view bytes, const std::string& label) : leaf_(leaf), bytes_(bytes, label) {}
  Json next() override {
    switch (leaf_.type) {
      case Physical::boolean:
        if (bit_ == 0) byte_ = bytes_.byte();
        bit_ = (bit_ + 1) % 8;
        return (byte_ >> ((bit_ + 7) % 8) & 1) != 0;
      case Physical::int32:
        return integer_of(leaf_, bytes_.number<int32_t>());
      case Physical::int64:
        return integer_of(leaf_, bytes_.number<int64_t>());
      case Physical::float32:
        return bytes_.number<float>();
      case Physical::float64:
        return bytes_.number<double>();
      default:
        return text_of(leaf_, bytes_.take(bytes_.number<uint32_t>()), bytes_.label());
    }
  }

 private:
  const SchemaNode& leaf_;
  Bytes bytes_;
  uint8_t byte_ = 0;
  int bit_ = 0;
};

class Dictionary : public Values {
 public:
  Dictionary(std::string_view bytes, const std::vector<Json>& values, const std::string& label)
      : values_(values), label_(label), runs_(bytes.substr(1), static_cast<uint8_t>(bytes[0]), label) {}
  Json next() override {
    const uint32_t index = runs_.next();
    if (index >= values_.size()) {
      refuse(fmt::format("value {} of a dictionary of {}", index, values_.size()), label_);
    }
    return values_[index];
  }

 private:
  const std::vector<Json>& values_;
  const std::string& label_;
  Runs runs_;
};

class RunBooleans : public Values {
 public:
  RunBooleans(std::string_view bytes, const std::string& label) : runs_(bytes, 1, label) {}
  Json next() override { return runs_.next() != 0; }

 private:
  Runs runs_;
};

class DeltaIntegers : public Values {
 public:
  DeltaIntegers(const SchemaNode& leaf, std::string_view bytes, uint64_t most, const std::string& label)
      : leaf_(leaf), deltas_(bytes, most, label) {}
  Json next() override { return integer_of(leaf_, deltas_.next()); }

 private:
  const SchemaNode& leaf_;
  Deltas deltas_;
};

// DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes. With `shared`, DELTA_BYTE_ARRAY: in front of them how many
// bytes each takes over from the one before.
class DeltaTexts : public Values {
 public:
  DeltaTexts(const SchemaNode& leaf, std::string_view bytes, uint64_t most, bool shared, const std::string& label)
      : leaf_(leaf), label_(label) {
    if (shared) {
      shared_.emplace(bytes, most, label);
      bytes.remove_prefix(Deltas(bytes, most, label).skip_to_end());
    }
    lengths_.emplace(bytes, most, label);
    bytes.remove_prefix(Deltas(bytes, most, label).skip_to_end());
    text_.emplace(bytes, label);
  }
  Json next() override {
    const int64_t kept = shared_ ? shared_->next() : 0, length = lengths_->next();
    if (kept < 0 || kept > std::ssize(last_) || length < 0) {
      refuse(fmt::format("text of {} bytes that takes over {} of {}", length, kept, last_.size()), label_);
    }
    last_.resize(static_cast<size_t>(kept));
    last_ += text_->take(static_cast<uint64_t>(length));
    return text_of(leaf_, last_, label_);
  }

 private:
  const SchemaNode& leaf_;
  const std::string& label_;
  std::optional<Deltas> shared_, lengths_;
  std::optional<Bytes> text_;
  std::string last_;
};

}  // namespace

std::unique_ptr<Values> open_values(const SchemaNode& leaf, int64_t encoding, std::string_view bytes, uint64_t most,
                                    const std::vector<Json>* dictionary, const std::string& label) {
  const bool integers = leaf.type == Physical::int32 || leaf.type == Physical::int64;
  if (leaf.type == Physical::int96 || leaf.type == Physical::fixed_bytes) {
    fail("parquet", fmt::format("column '{}': values of the type {}, which is not supported ({})", leaf.name,
                                physical_name(leaf.type), label));
  }
  switch (static_cast<Encoding>(encoding)) {
    case Encoding::plain:
      return std::make_unique<Plain>(leaf, bytes, label);
    case Encoding::plain_dictionary:
    case Encoding::rle_dictionary:
      if (!dictionary) refuse(fmt::format("column '{}' has no dictionary", leaf.name), label);
      if (bytes.empty()) refuse(fmt::format("column '{}': a page without values", leaf.name), label);
      return std::make_unique<Dictionary>(bytes, *dictionary, label);
    case Encoding::rle:
      if (leaf.type == Physical::boolean) {
        Bytes all(bytes, label);
        const auto length = all.number<uint32_t>();
        return std::make_unique<RunBooleans>(all.take(length), label);
      }
      break;
    case Encoding::delta_binary_packed:
      if (integers) return std::make_unique<DeltaIntegers>(leaf, bytes, most, label);
      break;
    case Encoding::delta_length_byte_array:
    case Encoding::delta_byte_array:
      if (leaf.type == Physical::bytes) {
        return std::make_unique<DeltaTexts>(leaf, bytes, most,
                                            encoding == static_cast<int64_t>(Encoding::delta_byte_array), label);
      }
      break;
    default:
      break;
  }
  fail("parquet",
       fmt::format("column '{}': {} for values of the type {}, which is not supported ({})", leaf.name,
                   encoding_name(encoding), physical_name(leaf.type), label),
       "write the file again in Python: pyarrow.parquet.write_table(pyarrow.parquet.read_table(A), B)");
}

}  // namespace introspect::parquet
