#include "procedure/csv.h"

#include "base/error.h"

#include <algorithm>

#include <fmt/format.h>

namespace introspect {

namespace {

// Walks the text once; `line` is always that of `at`.
struct CsvReader {
  std::string_view text, label;
  size_t at = 0, line = 1;

  bool done() const { return at >= text.size(); }
  char peek() const { return done() ? '\n' : text[at]; }
  char take() {
    const char letter = text[at++];
    if (letter == '\n') ++line;
    if (letter == '\0') fail("csv", fmt::format("got a NUL byte, expected text ({}:{})", label, line));
    return letter;
  }
  bool at_line_end() const {
    return peek() == '\n' || (peek() == '\r' && (at + 1 >= text.size() || text[at + 1] == '\n'));
  }

  std::string quoted_field() {
    const size_t opened = line;
    std::string field;
    take();
    while (true) {
      if (done()) fail("csv", fmt::format("got a quote that never closes ({}:{})", label, opened));
      const char letter = take();
      if (letter != '"') {
        field += letter;
      } else if (!done() && peek() == '"') {
        field += take();
      } else {
        break;
      }
    }
    if (peek() != ',' && !at_line_end()) {
      fail("csv", fmt::format("got text behind a closing quote, expected a comma ({}:{})", label, line),
           "double every quote inside a quoted field");
    }
    return field;
  }

  std::string plain_field() {
    std::string field;
    while (peek() != ',' && !at_line_end()) field += take();
    return field;
  }

  CsvRow row() {
    CsvRow row;
    row.line = line;
    while (true) {
      row.fields.push_back(peek() == '"' && !done() ? quoted_field() : plain_field());
      if (done() || peek() != ',') break;
      take();
    }
    while (!done() && take() != '\n') {  // "\r\n" or "\n"
    }
    return row;
  }
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, std::string_view label) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark, as spreadsheets write it
  CsvReader reader{text, label};
  std::vector<CsvRow> rows;
  while (!reader.done()) {
    CsvRow row = reader.row();
    if (std::all_of(row.fields.begin(), row.fields.end(), [](const std::string& field) { return field.empty(); })) {
      continue;
    }
    if (!rows.empty() && row.fields.size() != rows[0].fields.size()) {
      fail("csv",
           fmt::format("got {} fields, expected {} as in the first row ({}:{})", row.fields.size(),
                       rows[0].fields.size(), label, row.line),
           "a field that holds a comma needs quotes");
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace introspect
