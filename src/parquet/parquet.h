// Parquet files as Hugging Face serves data sets: columns of booleans, numbers and text, that may be null, with structs
// and lists of them nested at will. Read without Arrow; nothing is kept in memory but the pages at hand.
//
// Read: data pages of versions 1 and 2; PLAIN, dictionaries, RLE, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY and
// DELTA_BYTE_ARRAY; UNCOMPRESSED, SNAPPY, GZIP and ZSTD. Refused by name: INT96, fixed-length bytes,
// BYTE_STREAM_SPLIT, other codecs, encryption.
// Specification: github.com/apache/parquet-format.
#pragma once

#include "base/json.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace introspect {

struct ParquetColumn {
  std::string name;   // "layer"
  std::string type;   // "list<int64>", "struct<counterfact_pos: int64, ...>", with "?" behind what may be null
  std::string codec;  // of its first leaf; empty in a file without rows
  std::vector<std::string> encodings;
  int64_t bytes = 0;  // as stored
};

class Parquet {
 public:
  // Reads the footer. Throws Error for what is no Parquet file or says impossible things of itself.
  explicit Parquet(const fs::path& path);

  const fs::path& path() const;
  int64_t rows() const;
  int64_t row_groups() const;
  const std::string& created_by() const;
  const std::map<std::string, std::string>& metadata() const;
  const std::vector<ParquetColumn>& columns() const;
  bool contains(const std::string& column) const;

  // Each row in order as a JSON object of the columns named (all, if none is), until `visit` returns false. A null is
  // null, a list an array, a struct an object. Throws Error for a column that is not there and for broken pages.
  void for_each_row(const std::vector<std::string>& columns,
                    const std::function<bool(int64_t row, const Json& values)>& visit) const;

 private:
  struct File;
  std::shared_ptr<const File> file_;
};

}  // namespace introspect
