// The reader of chat templates and what runs them, and the reader of recipes, under mutated input.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "experiment/recipe.h"
#include "fuzz/fuzz.h"
#include "jinja/template.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

void expect_clean(const FuzzResult& result, size_t seeds) {
  EXPECT_EQ(result.failure, "");
  EXPECT_GE(result.accepted, static_cast<int64_t>(seeds));
}

TEST(Fuzz, ChatTemplates) {
  const Json file = read_json(INTROSPECT_SOURCE_DIR "/tests/jinja/cases.json");
  jinja::Dict variables;
  for (const auto& [name, value] : file.at("variables").items()) {
    variables.emplace_back(jinja::Value(name), jinja::Value::from_json(value));
  }
  std::vector<std::string> seeds;
  for (const Json& each : file.at("cases")) {
    if (!each.at("expected").is_null()) seeds.push_back(each.at("template").get<std::string>());
  }
  expect_clean(
      run_fuzzer("template", seeds, fuzz_seconds(),
                 [&](std::string_view source) { jinja::Template(std::string(source), "fuzz").render(variables); }),
      seeds.size());
}

TEST(Fuzz, Recipes) {
  std::vector<std::string> seeds;
  for (const char* name :
       {"demo-patching", "demo-full-patching", "demo-ablation", "demo-full-ablation", "mmlu-ablation"}) {
    seeds.push_back(read_text(fs::path(INTROSPECT_SOURCE_DIR) / "recipes" / (std::string(name) + ".toml")));
  }
  expect_clean(run_fuzzer("recipe", seeds, fuzz_seconds(),
                          [](std::string_view text) { parse_recipe(parse_toml(text, "fuzz.toml"), "fuzz.toml"); }),
               seeds.size());
}

}  // namespace
}  // namespace introspect
