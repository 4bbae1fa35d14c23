// The encodings of Parquet's pages. Specification: github.com/apache/parquet-format, Encodings.md.
//
// Everything is decoded as it is asked for: a page that says it holds a billion nulls takes no memory.
#pragma once

#include "base/json.h"
#include "parquet/bytes.h"
#include "parquet/metadata.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::parquet {

// Integers of `width` bits in runs of equal ones and packed groups of eight: levels, numbers into a dictionary.
class Runs {
 public:
  Runs(std::string_view bytes, int width, const std::string& label);
  uint32_t next();

 private:
  Bytes bytes_;
  int width_;
  uint64_t left_ = 0;  // of the run at hand
  bool packed_ = false;
  uint32_t value_ = 0;      // of a run of equal ones
  std::string_view group_;  // packed: its bytes
  uint64_t bit_ = 0;
};

// DELTA_BINARY_PACKED: differences of integers, in blocks of miniblocks.
class Deltas {
 public:
  // `most`: so many integers at most may there be.
  Deltas(std::string_view bytes, uint64_t most, const std::string& label);
  uint64_t count() const { return count_; }
  int64_t next();
  // Reads what is left; returns how many bytes all of it took.
  size_t skip_to_end();

 private:
  Bytes bytes_;
  uint64_t miniblocks_ = 0, per_miniblock_ = 0, count_ = 0, read_ = 0, value_ = 0, smallest_ = 0;
  std::string_view widths_;  // of the block's miniblocks
  uint64_t miniblock_ = 0, in_miniblock_ = 0;
  std::string_view packed_;
};

// The values of a page that are there, one after the other, as JSON: booleans, integers, numbers, text.
class Values {
 public:
  virtual ~Values() = default;
  virtual Json next() = 0;
};
// `most`: how many values the page may have. `dictionary`: the column's, for the encodings that need one. Throws Error
// for an encoding that the type cannot have.
std::unique_ptr<Values> open_values(const SchemaNode& leaf, int64_t encoding, std::string_view bytes, uint64_t most,
                                    const std::vector<Json>* dictionary, const std::string& label);

}  // namespace introspect::parquet
