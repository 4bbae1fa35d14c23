// introspect parquet: what a Parquet file holds.
#include "parquet/parquet.h"

#include "base/error.h"
#include "cli/commands.h"

#include <cstdio>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  std::string file;
  std::vector<std::string> columns;
  int64_t head = 0;
  bool json = false;
};

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Lists of numbers would fill the screen: the first few, and how many there are.
Json shortened(const Json& value) {
  constexpr size_t kShown = 6;
  if (value.is_object()) {
    Json object = Json::object();
    for (const auto& [key, each] : value.items()) object[key] = shortened(each);
    return object;
  }
  if (!value.is_array()) return value;
  Json list = Json::array();
  for (size_t i = 0; i < value.size() && i < kShown; ++i) list.push_back(shortened(value[i]));
  if (value.size() > kShown) list.push_back(fmt::format("... {} in all", value.size()));
  return list;
}

void show(const Options& options) {
  const Parquet file(options.file);
  if (options.json) {
    Json columns = Json::array();
    for (const ParquetColumn& column : file.columns()) {
      columns.push_back({{"name", column.name},
                         {"type", column.type},
                         {"codec", column.codec},
                         {"encodings", column.encodings},
                         {"bytes", column.bytes}});
    }
    if (options.head == 0) {
      const Json whole{{"rows", file.rows()},
                       {"row_groups", file.row_groups()},
                       {"created_by", file.created_by()},
                       {"columns", columns}};
      std::printf("%s\n", dump(whole).c_str());
    }
  } else {
    std::printf("%lld rows in %lld row groups, written by %s\n", static_cast<long long>(file.rows()),
                static_cast<long long>(file.row_groups()), file.created_by().c_str());
    for (const ParquetColumn& column : file.columns()) {
      std::printf("  %-24s %s  (%.1f MB, %s, %s)\n", column.name.c_str(), column.type.c_str(),
                  static_cast<double>(column.bytes) / 1e6, column.codec.c_str(),
                  fmt::format("{}", fmt::join(column.encodings, " ")).c_str());
    }
  }
  if (options.head <= 0) return;
  file.for_each_row(options.columns, [&](int64_t row, const Json& values) {
    if (row >= options.head) return false;
    std::printf("%s\n", dump(options.json ? values : shortened(values)).c_str());
    return row + 1 < options.head;
  });
}

}  // namespace

void add_parquet_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("parquet", "Show a Parquet file's columns and rows");
  command->add_option("file", options->file, "a .parquet file")->required();
  command->add_option("--head", options->head, "the first so many rows, one JSON object a line")->capture_default_str();
  command->add_option("--column", options->columns, "with --head: only these columns");
  command->add_flag("--json", options->json, "the columns as one JSON object; with --head whole rows in place of it");
  command->footer("Example: introspect parquet train-00000-of-00004.parquet --head 2");
  command->callback([options] { show(*options); });
}

}  // namespace introspect
