#include "base/json.h"

#include "base/temporary_folder.h"

#include <chrono>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

TEST(Json, KeepsOrderAndValues) {
  const Json value = parse_json(R"( {"z":[1,-2,0.5,true,null,"é\n"],"a":{},"m":18446744073709551615} )", "here");
  EXPECT_EQ(value.dump(), "{\"z\":[1,-2,0.5,true,null,\"é\\n\"],\"a\":{},\"m\":18446744073709551615}");
  EXPECT_EQ(value, Json::parse(value.dump()));
  EXPECT_EQ(parse_json("3", "here"), Json(3));
  EXPECT_EQ(parse_json("[[],[[{}]]]", "here").dump(), "[[],[[{}]]]");
}

TEST(Json, OfAKeyGivenTwiceTheLastValueCounts) {
  EXPECT_EQ(parse_json(R"({"a":1,"b":2,"a":[3]})", "here").dump(), R"({"a":[3],"b":2})");
  EXPECT_TRUE(holds(error_of([] { parse_json_unique(R"({"x":{"a":1,"a":2}})", "here"); }),
                    "[json] key 'a' is given twice (here)"));
  EXPECT_EQ(parse_json_unique(R"({"x":{"a":1},"a":2})", "here")["a"], 2);
}

TEST(Json, NamesThePlaceOfAFault) {
  const std::string text = error_of([] { parse_json("{\n \"a\": ]", "config.json"); });
  EXPECT_TRUE(holds(text, "[json] parse error at line 2, column 7"));
  EXPECT_TRUE(holds(text, "(config.json)"));
  for (const std::string bad :
       {"", "{", "[1,]", "{\"a\":1,}", "\"\xff\"", "1e999", "nul", "{}{}", "\"\\ud800\"", "NaN"}) {
    EXPECT_TRUE(holds(error_of([&] { parse_json(bad, "f"); }), "(f)")) << bad;
  }
}

TEST(Json, NestingHasALimit) {
  EXPECT_NO_THROW(parse_json(std::string(512, '[') + std::string(512, ']'), "f"));
  EXPECT_TRUE(holds(error_of([] { parse_json(std::string(513, '['), "f"); }), "nested deeper than 512 levels (f)"));
  EXPECT_NO_THROW(parse_json("\"" + std::string(1000, '[') + "\"", "f"));
}

// A vocabulary: with a search through all earlier keys this would take a minute.
TEST(Json, ManyKeysTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"word" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  const Json value = parse_json(text, "vocabulary");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(value.size(), 200'000u);
  EXPECT_LT(seconds.count(), 15);
}

TEST(Json, FilesAreNamed) {
  TemporaryFolder folder;
  EXPECT_EQ(read_json(folder.write("a.json", "{\"a\":1}"))["a"], 1);
  const fs::path bad = folder.write("b.json", "{");
  EXPECT_TRUE(holds(error_of([&] { read_json(bad); }), bad.string()));
  EXPECT_TRUE(holds(error_of([&] { read_json(folder / "none.json"); }), "No such file"));
}

TEST(JsonLines, ReadsEveryLine) {
  TemporaryFolder folder;
  const auto lines = read_json_lines(folder.write("a.jsonl", "{\"a\":1}\r\n\n  \n[2]\n3"));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["a"], 1);
  EXPECT_EQ(lines[2], 3);
  std::vector<size_t> numbers;
  for_each_json_line(folder / "a.jsonl", [&](size_t line, const Json&) { numbers.push_back(line); });
  EXPECT_EQ(numbers, (std::vector<size_t>{1, 4, 5}));
  EXPECT_TRUE(read_json_lines(folder.write("empty.jsonl", "")).empty());
}

TEST(JsonLines, NamesTheBrokenLine) {
  TemporaryFolder folder;
  const fs::path path = folder.write("a.jsonl", "1\n\n{\"a\":\n2\n");
  EXPECT_TRUE(holds(error_of([&] { read_json_lines(path); }), "(" + path.string() + ":3)"));
}

TEST(JsonLines, RoundTrip) {
  TemporaryFolder folder;
  const std::vector<Json> lines = {Json{{"b", 1}, {"a", "x\ny"}}, Json::array({1, 2.5})};
  write_json_lines(folder / "a.jsonl", lines);
  EXPECT_EQ(read_text(folder / "a.jsonl"), "{\"b\":1,\"a\":\"x\\ny\"}\n[1,2.5]\n");
  EXPECT_EQ(read_json_lines(folder / "a.jsonl"), lines);
}

TEST(Json, WritesIndentedAndSurvivesBrokenText) {
  TemporaryFolder folder;
  write_json(folder / "a.json", Json{{"a", {1}}});
  EXPECT_EQ(read_text(folder / "a.json"), "{\n  \"a\": [\n    1\n  ]\n}\n");
  write_json(folder / "a.json", Json("half a character: \xc3"));
  EXPECT_EQ(read_json(folder / "a.json"), Json("half a character: \xef\xbf\xbd"));
}

TEST(JsonGet, ReturnsTypedValues) {
  const Json object =
      parse_json(R"({"b":true,"i":-3,"d":2.5,"s":"x","li":[1,2],"ld":[1,2.5],"ls":["a"],"n":null})", "f");
  EXPECT_EQ(json_get<bool>(object, "b", "f"), true);
  EXPECT_EQ(json_get<int>(object, "i", "f"), -3);
  EXPECT_EQ(json_get<int64_t>(object, "i", "f"), -3);
  EXPECT_EQ(json_get<double>(object, "i", "f"), -3);
  EXPECT_EQ(json_get<double>(object, "d", "f"), 2.5);
  EXPECT_EQ(json_get<std::string>(object, "s", "f"), "x");
  EXPECT_EQ(json_get<std::vector<int64_t>>(object, "li", "f"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(json_get<std::vector<double>>(object, "ld", "f"), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(json_get<std::vector<std::string>>(object, "ls", "f"), std::vector<std::string>{"a"});
  EXPECT_EQ(json_get_or<int>(object, "n", 7, "f"), 7);
  EXPECT_EQ(json_get_or<int>(object, "none", 7, "f"), 7);
  EXPECT_EQ(json_get_or<int>(object, "i", 7, "f"), -3);
}

TEST(JsonGet, SaysWhatStoodThere) {
  const Json object = parse_json(
      R"({"hidden_size":"abc","d":2.5,"big":3000000000,"huge":18446744073709551615,"b":1,"l":[1,"x"],"n":null})", "f");
  EXPECT_TRUE(holds(error_of([&] { json_get<int64_t>(object, "hidden_size", "config.json"); }),
                    "config.json: key 'hidden_size': got \"abc\" (string), expected an integer"));
  EXPECT_TRUE(holds(error_of([&] { json_get<int64_t>(object, "none", "config.json"); }),
                    "config.json: key 'none' is missing, expected an integer"));
  EXPECT_TRUE(holds(error_of([&] { json_get<int>(object, "d", "f"); }), "got 2.5 (decimal number)"));
  EXPECT_TRUE(holds(error_of([&] { json_get<int>(object, "big", "f"); }), "an integer of 32 bits"));
  EXPECT_TRUE(holds(error_of([&] { json_get<int64_t>(object, "huge", "f"); }), "got 18446744073709551615 (integer)"));
  EXPECT_TRUE(holds(error_of([&] { json_get<bool>(object, "b", "f"); }), "expected true or false"));
  EXPECT_TRUE(holds(error_of([&] { json_get<std::string>(object, "b", "f"); }), "expected a string"));
  EXPECT_TRUE(
      holds(error_of([&] { json_get<std::vector<int64_t>>(object, "l", "f"); }), "expected a list of integers"));
  EXPECT_TRUE(holds(error_of([&] { json_get_or<int>(object, "hidden_size", 1, "f"); }), "got \"abc\" (string)"));
  EXPECT_TRUE(holds(error_of([&] { json_get<int>(object, "n", "f"); }), "got null (null)"));
  EXPECT_TRUE(holds(error_of([] { json_get<int>(Json(3), "a", "f"); }), "expected an object with key 'a'"));
}

TEST(Toml, BecomesJson) {
  const Json value = parse_toml(
      "rate = 5e-5\nname = \"x\"\ncount = 3\nflag = true\nday = 2024-05-01\n[part.inner]\nlist = [1, [2.5, \"a\"]]\n"
      "[[step]]\na = 1\n[[step]]\na = 2\n",
      "recipe.toml");
  EXPECT_EQ(value["rate"], 5e-5);
  EXPECT_TRUE(value["rate"].is_number_float());
  EXPECT_TRUE(value["count"].is_number_integer());
  EXPECT_EQ(value["flag"], true);
  EXPECT_EQ(value["day"], "2024-05-01");
  EXPECT_EQ(value["part"]["inner"]["list"].dump(), "[1,[2.5,\"a\"]]");
  EXPECT_EQ(value["step"][1]["a"], 2);
}

TEST(Toml, NamesLineAndColumn) {
  TemporaryFolder folder;
  const fs::path path = folder.write("recipe.toml", "a = 1\nb = = 2\n");
  EXPECT_TRUE(holds(error_of([&] { read_toml(path); }), "(" + path.string() + ":2:5)"));
  EXPECT_TRUE(holds(error_of([] { parse_toml("a = 1\na = 2\n", "f"); }), "(f:2:"));
  EXPECT_TRUE(holds(error_of([] { parse_toml("a = \"\xff\"", "f"); }), "(f:1:"));
  error_of([] { parse_toml("a = " + std::string(100'000, '['), "f"); });
}

}  // namespace
}  // namespace introspect
