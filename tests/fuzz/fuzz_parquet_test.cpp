// The reader of Parquet files under mutated input.
#include "base/files.h"
#include "fuzz/fuzz.h"
#include "parquet/parquet.h"
#include "parquet/parquet_files.h"

#include <filesystem>
#include <unistd.h>

#include <gtest/gtest.h>

namespace introspect {
namespace {

TEST(FuzzParquet, File) {
  const fs::path data = fs::path(INTROSPECT_SOURCE_DIR) / "tests/parquet/data";
  std::vector<std::string> seeds = {
      test::parquet_of({{"v", "list", {{"item", "float"}}}, {"t", "text"}, {"b", "bool"}},
                       {{{"v", {1.5, 2.5}}, {"t", "text"}, {"b", true}}, {{"v", Json::array()}, {"t", nullptr}}}),
      test::parquet_of({{"s", "struct", {{"n", "int64"}, {"l", "list", {{"item", "text"}}}}}},
                       {{{"s", {{"n", 1}, {"l", {"a", "b"}}}}}})};
  for (const auto& entry : fs::directory_iterator(data)) {
    if (entry.path().extension() == ".parquet") seeds.push_back(read_text(entry.path()));
  }
  const fs::path path = fs::temp_directory_path() / ("introspect_fuzz_" + std::to_string(::getpid()) + ".parquet");
  const auto read = [&](std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<int64_t>(bytes.size()));
    Parquet(path).for_each_row({}, [](int64_t row, const Json&) { return row < 200; });
  };
  const FuzzResult result = run_fuzzer("parquet", seeds, fuzz_seconds(), read);
  fs::remove(path);
  EXPECT_EQ(result.failure, "");
  EXPECT_GE(result.accepted, std::ssize(seeds));
  EXPECT_LT(result.accepted, result.runs);
  ::testing::Test::RecordProperty("runs", std::to_string(result.runs));
}

}  // namespace
}  // namespace introspect
