// Comma-separated values, as RFC 4180 has them: fields may be quoted, a quote inside is doubled, quoted fields may
// hold commas and line breaks.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace introspect {

struct CsvRow {
  size_t line = 0;  // where the row begins, counted from 1
  std::vector<std::string> fields;
};

// All rows with at least one non-empty field, the header included. `label` (a path) stands in errors. Throws Error
// "(label:line)" for a quote that never closes, text behind a closing quote, a row of another width than the first,
// and a byte that text does not have (NUL).
std::vector<CsvRow> parse_csv(std::string_view text, std::string_view label);

}  // namespace introspect
