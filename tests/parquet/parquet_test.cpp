#include "parquet/parquet.h"

#include "base/temporary_folder.h"
#include "parquet/decode.h"
#include "parquet/parquet_files.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace introspect {
namespace {

const fs::path kData = fs::path(INTROSPECT_SOURCE_DIR) / "tests/parquet/data";

std::vector<Json> rows_of(const Parquet& file, const std::vector<std::string>& columns = {}) {
  std::vector<Json> rows;
  file.for_each_row(columns, [&](int64_t row, const Json& values) {
    EXPECT_EQ(row, std::ssize(rows));
    rows.push_back(values);
    return true;
  });
  return rows;
}

TEST(Parquet, ReadsWhatAnotherWriterWrote) {
  const std::vector<Json> expected = read_json_lines(kData / "rows.jsonl");
  for (const char* name : {"dictionary_snappy", "plain_gzip", "deltas_zstd_v2", "lengths_v2", "plain_pages"}) {
    const Parquet file(kData / (std::string(name) + ".parquet"));
    EXPECT_EQ(file.rows(), 24) << name;
    const std::vector<Json> rows = rows_of(file);
    ASSERT_EQ(rows.size(), expected.size()) << name;
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], expected[i]) << name << ", row " << i;
  }
}

TEST(Parquet, TellsItsColumns) {
  const Parquet file(kData / "dictionary_snappy.parquet");
  EXPECT_EQ(file.row_groups(), 2);
  EXPECT_TRUE(holds(file.created_by(), "parquet-rs"));
  const auto type_of = [&](const std::string& name) {
    for (const ParquetColumn& column : file.columns()) {
      if (column.name == name) return column.type;
    }
    return std::string("not there");
  };
  EXPECT_EQ(type_of("positive"), "uint32?");
  EXPECT_EQ(type_of("layer"), "list<int64?>?");
  EXPECT_EQ(type_of("patch_position"),
            "struct<counterfact_pos: int64?, counterfact_text_token: text?, intervention_vector: list<float?>?, "
            "orig_pos: int64?, orig_text_token: text?>?");
  EXPECT_EQ(type_of("pairs"), "list<struct<a: int32?, b: list<text?>?>?>?");
  EXPECT_EQ(file.columns().front().codec, "SNAPPY");
}

TEST(Parquet, ReadsOnlyTheColumnsNamedAndStopsWhereItIsTold) {
  const Parquet file(kData / "plain_pages.parquet");
  for (const Json& row : rows_of(file, {"layer", "id"})) EXPECT_EQ(row.size(), 2);
  int64_t seen = 0;
  file.for_each_row({"id"}, [&](int64_t, const Json&) { return ++seen < 5; });
  EXPECT_EQ(seen, 5);
  EXPECT_TRUE(holds(error_of([&] { rows_of(file, {"nothing"}); }), "no column 'nothing'"));
}

// The writer of the tests, so that other tests may rely on it.
TEST(Parquet, RoundTripsTheWriterOfTheTests) {
  const std::vector<test::Field> fields = {
      {"a", "int64"},
      {"b", "bool"},
      {"t", "text"},
      {"v", "list", {{"item", "float"}}},
      {"s", "struct", {{"x", "double"}, {"l", "list", {{"item", "struct", {{"n", "int32"}, {"m", "text"}}}}}}}};
  std::vector<Json> rows;
  for (int i = 0; i < 40; ++i) {
    Json list = Json::array();
    for (int k = 0; k < i % 4; ++k)
      list.push_back(k == 2 ? Json() : Json{{"n", i - k}, {"m", k == 1 ? Json() : Json("m")}});
    rows.push_back({{"a", i % 6 == 1 ? Json() : Json(i - 3)},
                    {"b", i % 3 == 0},
                    {"t", i % 7 == 2 ? Json() : Json(std::string(static_cast<size_t>(i), 'x'))},
                    {"v", i % 5 == 0 ? Json::array() : Json::array({0.5f * static_cast<float>(i), nullptr, -1.0f})},
                    {"s", i % 4 == 3 ? Json() : Json{{"x", i / 4.0}, {"l", list}}}});
  }
  const TemporaryFolder folder;
  const fs::path path = folder.write("a.parquet", test::parquet_of(fields, rows));
  EXPECT_EQ(rows_of(Parquet(path)), rows);
}

TEST(Parquet, RefusesWhatIsNoParquetFile) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& bytes) {
    return error_of([&] { rows_of(Parquet(folder.write("a.parquet", bytes))); });
  };
  EXPECT_TRUE(holds(refusal("version https://git-lfs.github.com/spec/v1"), "no Parquet file"));
  EXPECT_TRUE(holds(refusal(""), "not a file with bytes"));
  EXPECT_TRUE(holds(refusal("PAR1....PARE"), "encrypted"));
  EXPECT_TRUE(holds(refusal("PAR1\xff\xff\xff\x7fPAR1"), "footer"));
  const std::string good = read_text(kData / "plain_pages.parquet");
  EXPECT_TRUE(holds(refusal(good.substr(0, good.size() / 2)), "no Parquet file"));
  EXPECT_TRUE(holds(error_of([&] { Parquet(folder / "none.parquet"); }), "cannot open"));
}

// A leaf that says other things than its siblings, a page that says impossible things of itself.
TEST(Parquet, RefusesPagesThatDisagree) {
  const TemporaryFolder folder;
  const std::vector<test::Field> fields = {{"s", "struct", {{"x", "int64"}, {"y", "int64"}}}};
  const std::string good = test::parquet_of(fields, {{{"s", {{"x", 1}, {"y", 2}}}}});
  // a page holds the length of its levels, one run of one level 2, and the number
  const std::string page = std::string("\2\0\0\0\2\2\2", 7);
  const size_t second = good.find(page, good.find(test::raw_bytes(int64_t{1})));
  ASSERT_NE(second, std::string::npos);
  const auto with = [&](size_t at, char byte) {
    std::string bytes = good;
    bytes[at] = byte;
    return error_of([&] { rows_of(Parquet(folder.write("a.parquet", bytes))); });
  };
  EXPECT_TRUE(holds(with(second + 5, 0), "disagree"));
  EXPECT_TRUE(holds(with(second + 5, 3), "levels"));
  EXPECT_TRUE(holds(with(second, 99), "bytes"));
}

TEST(ParquetEncodings, RunsOfTheSpecification) {
  // 0 to 7 with 3 bits: the worked example of Encodings.md
  const std::string packed = "\x03\x88\xc6\xfa", label = "test";
  parquet::Runs runs(packed, 3, label);
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(runs.next(), i);
  EXPECT_TRUE(holds(error_of([&] { runs.next(); }), "expected 1 more"));
  parquet::Runs equal("\x0a\x2c\x01", 9, label);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(equal.next(), 300u);
  parquet::Runs empty(std::string_view("\xff\xff\x03\x00", 4), 0, label);
  EXPECT_EQ(empty.next(), 0u);
}

TEST(ParquetEncodings, DifferencesOfTheSpecification) {
  const std::string label = "test";
  // 7, 5, 3, 1, 2, 3, 4, 5: first 7; smallest difference -2; the rest 0 0 0 3 3 3 3 in 2 bits (Encodings.md, example 2)
  std::string bytes = test::varint(128) + test::varint(4) + test::varint(8) + test::zigzag(7) + test::zigzag(-2) +
                      std::string("\2\0\0\0", 4) + "\xc0\x3f" + std::string(6, '\0');
  parquet::Deltas deltas(bytes, 8, label);
  for (const int64_t value : {7, 5, 3, 1, 2, 3, 4, 5}) EXPECT_EQ(deltas.next(), value);
  EXPECT_EQ(parquet::Deltas(bytes + "rest", 8, label).skip_to_end(), bytes.size());
  EXPECT_TRUE(holds(error_of([&] { parquet::Deltas(bytes, 7, label); }), "8 integers in a page of 7"));
  const std::string billions = test::varint(128) + test::varint(4) + test::varint(uint64_t{1} << 60) + test::zigzag(0);
  EXPECT_TRUE(holds(error_of([&] { parquet::Deltas(billions, 100, label); }), "integers in a page"));
}

}  // namespace
}  // namespace introspect
