// One column of a row group, page by page: what the rows are put together from.
#pragma once

#include "base/json.h"
#include "parquet/decode.h"
#include "parquet/metadata.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect::parquet {

// Walks over the entries of a column chunk: each has a repetition level (at which list it goes on), a definition level
// (how much of its path is there) and, if all of it is, a value.
class Column {
 public:
  Column(std::string_view file, const SchemaNode& leaf, const ColumnChunk& chunk, const std::string& label);

  bool at_end() { return left_ == 0; }
  // Of the entry at hand. Throws Error at the end.
  int repetition();
  int definition();
  Json take();  // null where there is no value; goes on to the next entry

 private:
  void load();  // the entry at hand, if it is not loaded
  void next_page();
  void read_dictionary(const PageHeader& header, std::string_view stored);
  void read_data(const PageHeader& header, std::string_view stored);
  [[noreturn]] void refuse_column(const std::string& message) const;

  std::string_view pages_;
  const SchemaNode& leaf_;
  const ColumnChunk& chunk_;
  std::string label_;
  int64_t left_;  // entries of the chunk that are not taken
  bool loaded_ = false;
  int repetition_ = 0, definition_ = 0;

  int64_t page_left_ = 0;
  std::string page_;  // without its codec
  std::optional<Runs> repetitions_, definitions_;
  std::string_view values_bytes_;
  int64_t page_values_ = 0, encoding_ = 0;
  std::unique_ptr<Values> values_;  // opened at the first value
  std::optional<std::vector<Json>> dictionary_;
};

}  // namespace introspect::parquet
