#include "base/error.h"
#include "procedure/cells.h"
#include "procedure/pairs.h"
#include "procedure/tiny.h"

#include <set>

#include <gtest/gtest.h>

namespace introspect {
namespace {

TEST(Options, TextToTheLetter) {
  const TargetPrompt prompt =
      target_prompt("The capital of {subject} is", "France", {"Rome", "Paris", "Oslo", "Cairo", "Lima"});
  EXPECT_EQ(prompt.text,
            "The capital of France is\n\nRespond with one of Rome or Paris or Oslo or Cairo or Lima or unknown and "
            "nothing else.\n\nResponse:");
  const auto part = [&](const TextRange& range) { return prompt.text.substr(range.begin, range.end - range.begin); };
  EXPECT_EQ(part(prompt.subject), "France");
  EXPECT_EQ(part(prompt.statement), "The capital of France is");
  ASSERT_EQ(prompt.options.size(), 5u);
  EXPECT_EQ(part(prompt.options[3]), "Cairo");
  EXPECT_EQ(option_answer("Paris"), " Paris");
}

TEST(Options, ChatTemplateKeepsRanges) {
  PromptStyle style;
  style.chat = [](const std::string& user, const std::string& cue) { return "<user>" + user + "</user><model>" + cue; };
  const TargetPrompt prompt = target_prompt("{subject} is in", "Oslo", {"Norway", "Peru"}, style);
  EXPECT_EQ(
      prompt.text,
      "<user>Oslo is in\n\nRespond with one of Norway or Peru or unknown and nothing else.</user><model>Response:");
  EXPECT_EQ(prompt.text.substr(prompt.subject.begin, 4), "Oslo");
  EXPECT_EQ(prompt.text.substr(prompt.options[1].begin, 4), "Peru");
  style.chat = [](const std::string& user, const std::string& cue) { return user + cue + "</model>"; };
  EXPECT_THROW(target_prompt("{subject} is in", "Oslo", {"Norway", "Peru"}, style), Error);
  style.chat = nullptr;
  style.instruction = "Choose.";
  EXPECT_THROW(target_prompt("{subject} is in", "Oslo", {"Norway", "Peru"}, style), Error);
}

TEST(Options, TheTokenizersOwnChatTemplate) {
  const Tokenizer plain = tiny::tokenizer({});
  EXPECT_THROW(with_chat_template({}, plain, ""), Error);
  const Tokenizer chat = tiny::tokenizer({}, R"({"bos_token": "<s>", "chat_template":
              "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}\n{% endfor %}"})");
  const PromptStyle style = with_chat_template({}, chat, "Be brief.");
  EXPECT_FALSE(style.add_special);
  const TargetPrompt prompt = target_prompt("{subject} is in", "Oslo", {"Norway", "Peru"}, style);
  EXPECT_EQ(prompt.text,
            "<s>[system]Be brief.\n[user]Oslo is in\n\nRespond with one of Norway or Peru or unknown and nothing "
            "else.\n[assistant]Response:");
  EXPECT_EQ(prompt.text.substr(prompt.subject.begin, 4), "Oslo");
  const FactPair pair{Split::train, "r", "{subject} is in", {"Oslo", "Norway"}, {"Lima", "Peru"}, {"Norway", "Peru"}};
  const PatchPrompt made = make_patch_prompt(chat, pair, style, {});
  EXPECT_EQ(made.tokens.tokens.front(), 0);
  EXPECT_EQ(std::count(made.tokens.tokens.begin(), made.tokens.tokens.end(), 0), 1) << "one BOS";
}

TEST(Options, Choice) {
  const Relation relation{
      "r", "", {"{subject}"}, {{"a", "1"}, {"a", "2"}, {"b", "3"}, {"c", "4"}, {"d", "5"}, {"e", "6"}, {"f", "7"}}};
  std::set<size_t> places;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Random random(seed, "test");
    const auto options = choose_options(relation, relation.facts[0], &relation.facts[2], 5, random);
    EXPECT_EQ(std::set<std::string>(options.begin(), options.end()).size(), 5u);
    EXPECT_EQ(std::count(options.begin(), options.end(), "3"), 1);
    EXPECT_EQ(std::count(options.begin(), options.end(), "2"), 0);  // also true of the subject
    places.insert(static_cast<size_t>(std::find(options.begin(), options.end(), "1") - options.begin()));
  }
  EXPECT_EQ(places.size(), 5u);
  Random random(1, "test");
  const Relation small{"r", "", {"{subject}"}, {{"a", "1"}, {"b", "2"}}};
  EXPECT_EQ(choose_options(small, small.facts[0], &small.facts[1], 5, random).size(), 2u);
}

// "<s>|The| capital| of| New| France| is|\n\n|Respond|...": every word is a token.
struct Words {
  std::vector<std::string> vocabulary = {"The",   " capital", " of",     " New",     " France", " Spain",
                                         " is",   "\n\n",     "Respond", " with",    " one",    " Rome",
                                         " or",   " Paris",   " Oslo",   " unknown", " and",    " nothing",
                                         " else", "Response", " San",    " Marino"};
  Tokenizer tokenizer = tiny::tokenizer(vocabulary);
  FactPair pair{Split::train,
                "capital",
                "The capital of {subject} is",
                {"New France", "Paris"},
                {"Spain", "Rome"},
                {"Rome", "San Marino", "Paris"}};
};

TEST(Cells, TokenTypesOfAPrompt) {
  const Words words;
  const PatchPrompt prompt = make_patch_prompt(words.tokenizer, words.pair, {});
  // cut "\n\nR": the pre-tokenizer of GPT-2 leaves the last white space to the word only if it is a blank
  std::vector<std::string> read;
  for (size_t t = 0; t < prompt.tokens.tokens.size(); ++t)
    read.push_back(prompt.tokens.texts[t] + "|" + prompt.tokens.types[t]);
  const std::vector<std::string> expected_start = {
      "|", "The|relation", "capital|relation", "of|relation", "New|subject", "France|subject final", "is|relation"};
  ASSERT_GT(read.size(), expected_start.size());
  EXPECT_EQ(std::vector<std::string>(read.begin(), read.begin() + 7), expected_start);
  const auto respond = std::find(read.begin(), read.end(), "Respond|Respond");
  ASSERT_NE(respond, read.end());
  const std::vector<std::string> expected_options = {"Respond|Respond",
                                                     "with|with",
                                                     "one|one",
                                                     "of|of",
                                                     "Rome|counterfactual answer option",
                                                     "or|or",
                                                     "San|option part",
                                                     "Marino|other answer option",
                                                     "or|or",
                                                     "Paris|original answer option",
                                                     "or|or",
                                                     "unknown|unknown",
                                                     "and|and",
                                                     "nothing|nothing",
                                                     "else|else",
                                                     ".|."};
  EXPECT_EQ(std::vector<std::string>(respond, respond + 16), expected_options);
  EXPECT_EQ(read.back(), ":|:");
  EXPECT_EQ(read[read.size() - 2], "Response|Response");
  EXPECT_EQ(prompt.answer, (std::vector<int64_t>{*words.tokenizer.id("ĠParis")}));
}

TEST(Cells, Alignment) {
  const Words words;
  const PatchPrompt prompt = make_patch_prompt(words.tokenizer, words.pair, {});
  ASSERT_EQ(prompt.cells.problem, "");
  const auto& cells = prompt.cells;
  const auto& x = prompt.tokens.tokens;
  const auto& other = prompt.counterfactual_tokens.tokens;
  EXPECT_EQ(x.size(), other.size() + 1);
  EXPECT_EQ(std::count(cells.positions.begin(), cells.positions.end(), 0), 0);  // BOS
  EXPECT_EQ(std::count(cells.positions.begin(), cells.positions.end(), 4), 0);  // "New": the other subject is one token
  EXPECT_EQ(cells.positions.size(), x.size() - 2);
  for (size_t i = 0; i < cells.positions.size(); ++i) {
    const auto t = static_cast<size_t>(cells.positions[i]), source = static_cast<size_t>(cells.sources[i]);
    if (t == 5) {
      EXPECT_EQ(prompt.counterfactual_tokens.types[source], token_type::subject_final);
    } else {
      EXPECT_EQ(x[t], other[source]) << t;
    }
    EXPECT_EQ(prompt.tokens.types[t], prompt.counterfactual_tokens.types[source]);
  }
  const auto only = make_patch_prompt(words.tokenizer, words.pair, {}, {token_type::subject_final, ":"}).cells;
  EXPECT_EQ(only.positions, (std::vector<int64_t>{5, static_cast<int64_t>(x.size()) - 1}));
  EXPECT_NE(make_patch_prompt(words.tokenizer, words.pair, {}, {"nowhere"}).cells.problem, "");
}

TEST(Cells, VisibleText) {
  EXPECT_EQ(visible_text(" Paris "), "Paris");
  EXPECT_EQ(visible_text("\n\n"), "\\n\\n");
  EXPECT_EQ(visible_text(" "), "\\s");
}

TEST(Pairs, NoSubjectLeaks) {
  FactTable table = tiny::facts();
  for (int i = 0; i < 20; ++i)
    table.relations[1].facts.push_back({fmt::format("Land{}", i), "moo"});  // shared subjects
  PairSettings settings;
  settings.pairs_per_subject = 3;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    DropReport dropped;
    std::map<std::string, Split> seen;
    std::map<Split, int> counts;
    for (const FactPair& pair : make_pairs(table, settings, seed, dropped)) {
      ++counts[pair.split];
      EXPECT_NE(pair.fact.object, pair.counterfactual.object);
      EXPECT_EQ(std::count(pair.options.begin(), pair.options.end(), pair.fact.object), 1);
      EXPECT_EQ(std::count(pair.options.begin(), pair.options.end(), pair.counterfactual.object), 1);
      for (const std::string& subject : {pair.fact.subject, pair.counterfactual.subject}) {
        EXPECT_EQ(seen.try_emplace(subject, pair.split).first->second, pair.split) << subject;
      }
    }
    EXPECT_EQ(counts.size(), 3u);
    EXPECT_GT(counts[Split::train], counts[Split::test]);
  }
}

TEST(Pairs, WhatIsLeftOutIsCounted) {
  FactTable table = tiny::facts();
  table.relations.push_back({"same", "", {"{subject} is"}, {{"a", "x"}, {"b", "x"}}});
  DropReport dropped;
  PairSettings settings;
  settings.max_pairs = 10;
  EXPECT_EQ(make_pairs(table, settings, 1, dropped).size(), 10u);
  const Json report = dropped.to_json();
  EXPECT_EQ(report["relation with one object only"]["count"], 1);
  EXPECT_EQ(report["relation with one object only"]["examples"][0], "same");
  EXPECT_TRUE(report.contains("pair beyond max_pairs"));
  DropReport nothing;
  EXPECT_THROW(make_pairs({{table.relations[2]}}, settings, 1, nothing), Error);
  settings.train_share = 1;
  EXPECT_THROW(make_pairs(table, settings, 1, nothing), Error);
}

}  // namespace
}  // namespace introspect
