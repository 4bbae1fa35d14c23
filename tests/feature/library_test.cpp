// Descriptions of the library: what each holds on, and that text and predicate are in one-to-one relation.
#include "feature/library.h"

#include "base/random.h"
#include "feature/small_library.h"
#include "feature/symbolic_simulator.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

using small::fires_on;
using small::library;

TEST(Library, SetsOfWords) {
  const std::string text = " The dog and the cow ran to Paris.";
  EXPECT_EQ(fires_on("the word \"the\"", text), " The| the");
  EXPECT_EQ(fires_on("the word \"The\"", text), " The| the");
  EXPECT_EQ(fires_on("the word \"cow\" or \"dog\"", text), " dog| cow");
  EXPECT_EQ(fires_on("the token \" the\"", text), " the");
  EXPECT_EQ(fires_on("words for animals", text), " dog| cow");
  EXPECT_EQ(fires_on("kinds of animal", text), " dog| cow");
  EXPECT_EQ(fires_on("verbs in the past tense", text), " ran");
  EXPECT_EQ(fires_on("names of capitals", text), "unparsable");
  EXPECT_EQ(fires_on("country capitals", text), " Paris");
  EXPECT_EQ(fires_on("capitalised words", text), " The| Paris");
  EXPECT_EQ(fires_on("full stops", text), ".");
  EXPECT_EQ(fires_on("words ending in \"og\"", text), " dog");
  EXPECT_EQ(fires_on("words ending in \"dog\"", text), "");  // longer than the ending
  EXPECT_EQ(fires_on("words starting with \"co\"", text), " cow");
  EXPECT_EQ(fires_on("coordinating conjunctions", text), " and");
}

TEST(Library, WordsOfSeveralTokensAndNamesOfSeveralWords) {
  const std::string text = " of Zanzibar in South Africa.";
  EXPECT_EQ(fires_on("the word \"zanzibar\"", text), " Zanzibar");
  const std::string start = fires_on("the start of the word \"zanzibar\"", text);
  const std::string end = fires_on("the end of the word \"zanzibar\"", text);
  EXPECT_TRUE(std::string(" Zanzibar").starts_with(start)) << start;
  EXPECT_TRUE(std::string(" Zanzibar").ends_with(end)) << end;
  EXPECT_LT(start.size() + end.size(), 10u);
  EXPECT_EQ(fires_on("at the end of a split word the", text), "unparsable");
  EXPECT_EQ(fires_on("names of countries", text), " South Africa");
  EXPECT_EQ(fires_on("names of countries", " south of Africa."), "");
}

TEST(Library, Conditions) {
  const std::string text = " The capital of France is Paris, he said.";
  EXPECT_EQ(fires_on("after the word \"of\"", text), " France");
  EXPECT_EQ(fires_on("before the word \"of\"", text), " capital");
  EXPECT_EQ(fires_on("before commas", text), " Paris");
  EXPECT_EQ(fires_on("two words after the word \"of\"", text), " is");
  EXPECT_EQ(fires_on("after the word \"France\" in the same sentence", text), " is Paris, he said.");
  EXPECT_EQ(fires_on("after names of countries", text), " is");
  EXPECT_EQ(fires_on("capitalised words after prepositions", text), " France");
  EXPECT_EQ(fires_on("capitalised words at the start of a sentence", text), " The");
  EXPECT_EQ(fires_on("after the token \" is\"", text), " Paris");
  EXPECT_EQ(fires_on("after capitalised words", text + " He said."), " capital| is|,| said");
}

TEST(Library, Places) {
  const std::string quoted = " \"he said\" of the dog.\n\nThe dog said \"Paris\".";
  EXPECT_EQ(fires_on("words inside quotation marks", quoted), "he said|Paris");
  EXPECT_EQ(fires_on("at the start of a line", quoted), "The");
  EXPECT_EQ(fires_on("said before in the text", " the dog and the cow"), " the");
  const std::string options = " Respond with one of Paris or Rome or Oslo and nothing else.";
  EXPECT_EQ(fires_on("in option lists", options), " Paris or Rome or Oslo");
  EXPECT_EQ(fires_on("in the second option", options), " Rome");
  EXPECT_EQ(fires_on("in later options", options), " Oslo");
  EXPECT_EQ(fires_on("behind option lists", options), " and nothing else.");
  EXPECT_EQ(fires_on("at the start of a text", " The dog"), " The");
  EXPECT_EQ(fires_on("at the second token of a text", " The dog"), " dog");
}

TEST(Library, KindsOfDescriptions) {
  const auto kind = [](const std::string& text) { return library()->kind(library()->parse(text).value()); };
  EXPECT_EQ(kind("the token \" the\""), "token");
  EXPECT_EQ(kind("the word \"the\""), "word");
  EXPECT_EQ(kind("the word \"cow\" or \"dog\""), "words");
  EXPECT_EQ(kind("words for animals"), "category");
  EXPECT_EQ(kind("words ending in \"ing\""), "morphology");
  EXPECT_EQ(kind("after commas"), "previous");
  EXPECT_EQ(kind("before commas"), "next");
  EXPECT_EQ(kind("after the word \"of\" in the same sentence"), "context");
  EXPECT_EQ(kind("inside quotation marks"), "context");
  EXPECT_EQ(kind("at the start of a sentence"), "position");
  EXPECT_EQ(kind("commas after names of countries"), "pair");
  for (const char* text : {"the token \" the\"", "words for animals", "commas after names of countries"}) {
    const auto& kinds = description_kinds();
    EXPECT_NE(std::find(kinds.begin(), kinds.end(), kind(text)), kinds.end());
  }
}

WordSet random_set(Random& random) {
  const auto letters = [&](size_t longest) {
    std::string text;
    for (size_t i = 0, length = 1 + random.below(longest); i < length; ++i) {
      text += std::string_view("abcdefghijklmnopqrstuvwxyz\"\\'-, \n")[random.below(33)];
    }
    return text;
  };
  WordSet set;
  set.type = static_cast<SetType>(random.below(5));
  if (set.type == SetType::named) set.id = static_cast<uint32_t>(random.below(library()->sets().sets().size()));
  if (set.type == SetType::token) {
    do {
      set.id = static_cast<uint32_t>(random.below(static_cast<uint64_t>(library()->splitter().size())));
    } while (!library()->can_name(static_cast<int32_t>(set.id)));
  }
  if (set.type == SetType::ending || set.type == SetType::beginning) set.strings = {letters(4)};
  if (set.type == SetType::words) {
    for (size_t i = 0, count = 1 + random.below(4); i < count; ++i) set.strings.push_back(letters(8));
    std::sort(set.strings.begin(), set.strings.end());
    set.strings.erase(std::unique(set.strings.begin(), set.strings.end()), set.strings.end());
  }
  return set;
}

TEST(Library, TextAndPredicateAreOneToOne) {
  Random random(1, "predicates");
  for (int i = 0; i < 20000; ++i) {
    Predicate predicate;
    const uint64_t parts = 1 + random.below(3);
    if (parts & 1) {
      predicate.set = random_set(random);
      if (predicate.set->type != SetType::token) predicate.part = static_cast<WordPart>(random.below(3));
    }
    if (parts & 2) {
      Condition condition;
      condition.type = static_cast<ConditionType>(random.below(5));
      if (condition.type == ConditionType::place) {
        condition.place = static_cast<TextPlace>(random.below(static_cast<uint64_t>(TextPlace::count)));
      } else {
        condition.set = random_set(random);
      }
      predicate.condition = condition;
    }
    const std::string text = library()->text(predicate);
    const auto read = library()->parse(text);
    ASSERT_TRUE(read) << text;
    ASSERT_TRUE(*read == predicate) << text << " became " << library()->text(*read);
  }
}

TEST(Library, EveryPhraseIsRead) {
  for (const NamedSet& set : library()->sets().sets()) {
    const auto read = library()->parse(set.phrase);
    ASSERT_TRUE(read) << set.phrase;
    EXPECT_EQ(library()->text(*read), set.phrase);
  }
}

TEST(Library, WhatIsNoDescriptionIsUnparsable) {
  for (const char* text : {"",
                           " ",
                           "the word",
                           "the word \"",
                           "the word \"\"",
                           "the word \"a\" ",
                           "the word \"b\" or \"a\"",
                           "the word \"a\", \"b\"",
                           "the word \"a\" or \"a\"",
                           "the token \"\\xzz\"",
                           "the token \"no such token\"",
                           "words for unicorns",
                           "words for animals after",
                           "words for animals  after commas",
                           "after",
                           "after nothing",
                           "the start of",
                           "the start of the token \" the\"",
                           "after the start of commas",
                           "commas.",
                           "Commas",
                           "after commas in the same",
                           "after commas in the same sentence again",
                           "words ending in \"ing",
                           "words ending in",
                           "the token \"\\",
                           "the token \"\\x4\"",
                           "two words after"}) {
    EXPECT_FALSE(library()->parse(text)) << text;
  }
}

TEST(Library, AnyTextIsReadOrRefused) {
  Random random(2, "any text");
  const std::vector<std::string> pieces = {"the ",  "word ", "\"a\"",    " or ", ", ", "after ", "before ", "commas",
                                           "words", " for",  " animals", "\\",   "\"", "token ", "in ",     "\xff"};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (uint64_t k = random.below(8); k > 0; --k) text += pieces[random.below(pieces.size())];
    const auto read = library()->parse(text);
    if (!read) continue;
    EXPECT_EQ(library()->text(*read), text);
  }
}

TEST(SymbolicSimulator, IsExactAndRefusesOtherText) {
  const SymbolicSimulator simulator(library());
  const std::vector<int32_t> ids = small::tokens(" the dog and the cow", 12);
  const at::Tensor tokens = at::tensor(at::ArrayRef<int32_t>(ids), at::kInt).view({1, 12});
  const auto simulated = simulator.simulate("the word \"the\"", tokens);
  ASSERT_TRUE(simulated);
  EXPECT_EQ(simulated->sizes(), tokens.sizes());
  EXPECT_EQ(simulated->sum().item<float>(), 2);
  EXPECT_EQ(simulated->select(1, 0).item<float>(), 0);
  EXPECT_FALSE(simulator.simulate("it fires on animals", tokens));
  EXPECT_TRUE(holds(error_of([&] { simulator.simulate("commas", at::full({1, 3}, 99999, at::kInt)); }), "token 99999"));
}

}  // namespace
}  // namespace introspect
