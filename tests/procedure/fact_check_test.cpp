// What a model knows: counted on a model that says one word only.
#include "procedure/fact_check.h"

#include "base/error.h"
#include "procedure/tiny.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

// Says `word` whatever it reads.
Model says(const Tokenizer& tokenizer, const std::string& word) {
  Model model = tiny::model(2, tokenizer.vocab_size(), 256);
  at::NoGradGuard guard;
  for (auto& [name, weight] : parameters(model)) {
    if (name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight")) weight.zero_();
    if (name == "lm_head.weight") {
      weight.zero_();
      weight[*tokenizer.id(tiny::byte_letters(word))][0] = 1;
    }
    if (name.ends_with("embed_tokens.weight")) weight.select(1, 0).fill_(100);
  }
  return model;
}

TEST(FactCheck, CountsWhatIsSaidRightly) {
  const Tokenizer tokenizer = tiny::tokenizer({" Rome"});
  const auto accuracy = check_facts(says(tokenizer, " Rome"), tokenizer, tiny::facts(), 1, 0);
  ASSERT_EQ(accuracy.size(), 3u);
  EXPECT_EQ(accuracy.at("").facts, 70);
  EXPECT_EQ(accuracy.at("capital").facts, 40);
  EXPECT_EQ(accuracy.at("capital").statements_right, 7);  // every sixth land of forty
  EXPECT_EQ(accuracy.at("capital").options_right, 7);
  EXPECT_EQ(accuracy.at("sound").statements_right, 0);
  EXPECT_EQ(accuracy.at("").statements_right, 7);
  EXPECT_EQ(check_facts(says(tokenizer, " Rome"), tokenizer, tiny::facts(), 1, 10).at("").facts, 10);
}

TEST(FactCheck, NumbersThatAreNoneAreAnError) {
  const Tokenizer tokenizer = tiny::tokenizer({" Rome"});
  Model model = says(tokenizer, " Rome");
  at::NoGradGuard guard;
  model.final_norm.fill_(std::nanf(""));
  EXPECT_THROW(check_facts(model, tokenizer, tiny::facts(), 1, 10), Error);
}

}  // namespace
}  // namespace introspect
