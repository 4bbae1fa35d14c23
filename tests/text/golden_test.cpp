// Every string of the golden cases, against Hugging Face's own ids.
#include "base/json.h"
#include "text/tokenizer.h"

#include <cstdlib>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

fs::path goldens() {
  const char* given = std::getenv("INTROSPECT_GOLDENS");
  return (given != nullptr ? fs::path(given) : fs::path(INTROSPECT_SOURCE_DIR) / "../shared/goldens") / "tokenizers";
}

std::string shown(const std::vector<int64_t>& ids) {
  return fmt::format("[{}]", fmt::join(ids, ", "));
}

struct Count {
  int total = 0, wrong = 0;
  template <class T>
  void compare(const T& got, const T& wanted, const char* what, const std::string& given) {
    ++total;
    if (got == wanted) return;
    ++wrong;
    if constexpr (std::is_same_v<T, std::string>) {
      ADD_FAILURE() << what << " of " << Json(given).dump() << "\n got " << Json(got).dump() << "\nwant "
                    << Json(wanted).dump();
    } else {
      ADD_FAILURE() << what << " of " << Json(given).dump() << "\n got " << shown(got) << "\nwant " << shown(wanted);
    }
  }
};

void compare_with_cases(const Tokenizer& tokenizer, const fs::path& folder) {
  Count ids, with_special, decoded, skipping;
  for (const char* name : {"cases.json", "cases_two_of_three.json", "cases_rust_alone.json"}) {
    if (!fs::exists(folder / name)) continue;
    const Json file = read_json(folder / name);
    for (const Json& each : file.at("cases")) {
      const auto text = each.at("text").get<std::string>();
      const auto want = each.at("ids").get<std::vector<int64_t>>();
      const auto want_special = each.at("ids_with_special").get<std::vector<int64_t>>();
      ids.compare(tokenizer.encode(text, false), want, "ids", text);
      with_special.compare(tokenizer.encode(text, true), want_special, "ids with special tokens", text);
      ids.compare(tokenizer.encode_with_offsets(text, false).ids, want, "ids with offsets", text);
      decoded.compare(tokenizer.decode(want, false), each.at("decoded").get<std::string>(), "decoding", shown(want));
      skipping.compare(tokenizer.decode(want_special, true), each.at("decoded_skip_special").get<std::string>(),
                       "decoding without special tokens", shown(want_special));
    }
  }
  const Json decode_cases = read_json(folder / "decode_cases.json");
  for (const Json& each : decode_cases.at("cases")) {
    const auto given = each.at("ids").get<std::vector<int64_t>>();
    decoded.compare(tokenizer.decode(given, false), each.at("decoded").get<std::string>(), "decoding", shown(given));
    skipping.compare(tokenizer.decode(given, true), each.at("decoded_skip_special").get<std::string>(),
                     "decoding without special tokens", shown(given));
  }
  EXPECT_GT(ids.total, 0);
  EXPECT_GT(decoded.total, ids.total / 2);
  const auto report = [](const char* what, const Count& count) {
    fmt::print("  {:<34} {} of {} agree\n", what, count.total - count.wrong, count.total);
  };
  fmt::print("{}\n", folder.filename().string());
  report("encode (twice a case)", ids);
  report("encode with special tokens", with_special);
  report("decode", decoded);
  report("decode without special tokens", skipping);
}

// No special token comes out of plain text, whatever is written there.
void check_plain_text(const Tokenizer& tokenizer) {
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.is_special(id)) continue;
    for (const int64_t each : tokenizer.encode_plain("a" + tokenizer.token(id) + " b")) {
      ASSERT_FALSE(tokenizer.is_special(each)) << tokenizer.token(id);
    }
  }
}

// Offsets of ASCII text cut it into the pieces.
void check_offsets(const Tokenizer& tokenizer) {
  const std::string text = "The capital of France is Paris, 12345 km away;\n\tit's   fine.";
  const Encoding encoding = tokenizer.encode_with_offsets(text, false);
  std::string joined;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    const std::string piece = tokenizer.piece(encoding.ids[i]);
    // the first piece of a Metaspace tokenizer has a blank that the text has not
    if (i == 0 && piece == " The") {
      EXPECT_EQ(text.substr(begin, end - begin), "The");
    } else {
      EXPECT_EQ(text.substr(begin, end - begin), piece);
    }
    joined += text.substr(begin, end - begin);
  }
  EXPECT_EQ(joined, text);
}

class Golden : public testing::TestWithParam<const char*> {};

// One test a tokenizer, since opening a large one takes longest.
TEST_P(Golden, AgreesWithHuggingFace) {
  const fs::path folder = goldens() / GetParam();
  if (!fs::exists(folder / "tokenizer.json")) GTEST_SKIP() << "no golden tokenizer in " << folder;
  const Tokenizer tokenizer = Tokenizer::open(folder);
  compare_with_cases(tokenizer, folder);
  check_plain_text(tokenizer);
  check_offsets(tokenizer);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Golden,
                         testing::Values("gpt2", "llama3_1", "qwen3", "gpt_neox", "starcoder2", "llama2", "mistral_v1",
                                         "gemma3"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace introspect
