// Judges of descriptions, and detection with a chat model.
#include "evaluate/judge.h"

#include "base/random.h"
#include "base/temporary_folder.h"
#include "chat/scripted_model.h"
#include "evaluate/chat_detection.h"
#include "model/tiny_model.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

using test::ScriptedChatModel;

TEST(Judge, AsksThePublishedQuestion) {
  const ChatQuestion question = judge_question("words about dogs", "breeds of dogs");
  ASSERT_EQ(question.messages.size(), 1u);
  const std::string& text = question.messages[0].content;
  EXPECT_TRUE(holds(text, "Does this feature description accurately describe when this feature activates?"));
  EXPECT_TRUE(holds(text, "- 5 = same as expected, or highly similar (treat this as a correct match)"));
  EXPECT_TRUE(holds(text, "If unsure between 4 and 5, choose 5."));
  EXPECT_TRUE(holds(text, "Expected: breeds of dogs\nDescription: words about dogs\n"));
  EXPECT_TRUE(text.ends_with("Return a number from 1 to 5 and nothing else."));
  size_t examples = 0;
  for (size_t at = text.find("Rating: "); at != std::string::npos; at = text.find("Rating: ", at + 1)) ++examples;
  EXPECT_EQ(examples, 5u);
  EXPECT_EQ(question.temperature, 0);
  EXPECT_EQ(question.max_tokens, 10);
}

TEST(Judge, Ratings) {
  const std::vector<std::pair<std::string, int>> readable = {
      {"4", 4},     {" 5\n", 5},       {"Rating: 3", 3},
      {"3.", 3},    {"4/5", 4},        {"5/5", 5},
      {"**2**", 2}, {"1 out of 5", 1}, {"<think>1 or 2? 3!</think>2", 2},
      {"(4)", 4}};
  for (const auto& [reply, rating] : readable) EXPECT_EQ(parse_rating(reply).value_or(0), rating) << reply;
  for (const char* reply : {"", "four", "0", "6", "4.5", "4,5", "4 or 5", "45", "1-5", "-3", "10/5", "5 5", "3/10",
                            "I cannot rate this", "<think>4"}) {
    EXPECT_EQ(parse_rating(reply), std::nullopt) << reply;
  }
}

TEST(Judge, TheBestReferenceCountsAndNothingIsAZeroInSilence) {
  ScriptedChatModel model([](const ChatQuestion& question) {
    const std::string& text = question.messages[0].content;
    const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
    if (has("Expected: near")) return ScriptedChatModel::says("4");
    if (has("Expected: far")) return ScriptedChatModel::says("2");
    if (has("Expected: filtered")) return ScriptedChatModel::refuses("filtered");
    return ScriptedChatModel::says("I would say it is good");
  });
  const std::vector<JudgeItem> items = {{"a", "a", "x", {"far", "near", "far again"}},
                                        {"b", "b", "x", {"odd", "far"}},
                                        {"c", "c", "x", {"odd", "filtered"}},
                                        {"d", "d", "  ", {"near"}}};
  const Judgements judged = judge_with_model(model, items);
  EXPECT_DOUBLE_EQ(judged.items[0].score, 0.75);
  EXPECT_EQ(judged.items[0].reference, "near");
  EXPECT_DOUBLE_EQ(judged.items[1].score, 0.25);
  EXPECT_TRUE(std::isnan(judged.items[2].score));
  EXPECT_EQ(judged.items[3].score, 0);
  EXPECT_EQ(judged.asked, 7);
  EXPECT_EQ(judged.unparsable, 2);
  EXPECT_EQ(judged.refused, 1);
  EXPECT_EQ(judged.empty, 1);
  EXPECT_EQ(judged.unjudged, 1);
  const JudgeSummary summary = summarise(judged, 0);
  EXPECT_NEAR(summary.mean, (0.75 + 0.25 + 0) / 3, 1e-12);
  EXPECT_EQ(summary.items, 3);
  EXPECT_EQ(summary.clusters, 3);
  EXPECT_LE(summary.low, summary.mean);
  EXPECT_GE(summary.high, summary.mean);
  EXPECT_TRUE(holds(error_of([&] { judge_with_model(model, {{"e", "e", "x", {}}}); }), "item 'e'"));
}

TEST(WordOverlap, StatedCases) {
  EXPECT_EQ(word_overlap("names of countries", "names of countries"), 1);
  EXPECT_EQ(word_overlap("Names of countries.", "the names of countries"), 1);
  EXPECT_DOUBLE_EQ(word_overlap("the word \"France\"", "the word \"Spain\""), 0.25);
  EXPECT_EQ(word_overlap("the word \" France\"", "the word “france”"), 1);
  EXPECT_EQ(word_overlap("words about France", "the word \"France\""), 0) << "a quoted word is another thing";
  EXPECT_DOUBLE_EQ(word_overlap("names of countries", "names of cities"), 0.5);
  EXPECT_EQ(word_overlap("commas", "verbs"), 0);
  EXPECT_EQ(word_overlap("", "verbs"), 0);
  EXPECT_EQ(word_overlap("of the", "of the "), 1);
  EXPECT_EQ(word_overlap("of the", "verbs"), 0);
  EXPECT_EQ(word_overlap("\"the\"", "\"the\" "), 1) << "quoted words count whatever they say";
  EXPECT_EQ(word_overlap("\"the\"", "\"of\""), 0);
  EXPECT_EQ(word_overlap("5\" pipes", "5\" pipes "), 1) << "a quote that is not closed";
}

TEST(WordOverlap, HoldsForAnyTwoStrings) {
  Random random(1, "overlap");
  const std::vector<std::string> parts = {"\"", "the ", "France", "word ", "of",  " ",  "“",        "”",
                                          "`",  "\xff", "ü",      ".",     "3,5", "\n", "\xe2\x80", "word"};
  for (int run = 0; run < 3000; ++run) {
    std::string texts[2];
    for (std::string& text : texts) {
      for (uint64_t count = random.below(9); count > 0; --count) text += parts[random.below(parts.size())];
    }
    const double score = word_overlap(texts[0], texts[1]);
    ASSERT_TRUE(score >= 0 && score <= 1) << texts[0] << " | " << texts[1];
    ASSERT_EQ(score, word_overlap(texts[1], texts[0]));
    ASSERT_EQ(word_overlap(texts[0], texts[0]), 1);
    ASSERT_EQ(word_overlap(texts[0], texts[0] + " "), 1);
  }
}

TEST(Judge, ByWordsWithItsFloor) {
  std::vector<JudgeItem> items;
  for (int i = 0; i < 40; ++i) {
    const std::string name = fmt::format("names{} things{}", i, i);
    items.push_back({fmt::format("i{}", i), fmt::format("c{}", i / 2), name, {"nothing alike", name}});
  }
  items.push_back({"empty", "c", "", {"a"}});
  const Judgements judged = judge_by_words(items);
  EXPECT_EQ(judged.items[7].score, 1);
  EXPECT_EQ(judged.items[7].reference, "names7 things7");
  EXPECT_EQ(judged.empty, 1);
  EXPECT_EQ(judged.unjudged, 0);
  EXPECT_NEAR(summarise(judged, 0).mean, 40.0 / 41, 1e-12);
  const std::vector<JudgeItem> others = with_other_references(items, 3);
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_NE(others[i].references, items[i].references);
    EXPECT_EQ(others[i].predicted, items[i].predicted);
  }
  EXPECT_EQ(summarise(judge_by_words(others), 0).mean, 0);
  EXPECT_EQ(others[5].references, with_other_references(items, 3)[5].references);
}

TEST(ChatDetection, Verdicts) {
  using Bools = std::vector<bool>;
  EXPECT_EQ(parse_verdicts("[1, 0, 1]", 3), (Bools{true, false, true}));
  EXPECT_EQ(parse_verdicts("Thinking of [0] first... the answer is [1,0]", 2), (Bools{true, false}));
  EXPECT_EQ(parse_verdicts("1, 0\n", 2), (Bools{true, false}));
  EXPECT_EQ(parse_verdicts("<think>[1,1]</think>[0 0]", 2), (Bools{false, false}));
  for (const char* reply : {"", "[1, 0]", "[1, 0, 1, 1]", "[1, 2, 0]", "yes no yes", "[1, 0, 1", "101", "[10, 1]"}) {
    EXPECT_EQ(parse_verdicts(reply, 3), std::nullopt) << reply;
  }
}

// Of 40 pieces the first 20 hold token 97 ("a" in bytes), on which the feature fires.
FeatureContexts planted() {
  FeatureContexts contexts;
  contexts.tokens = at::full({40, 12}, 0, at::kInt);
  contexts.activations = at::zeros({40, 12});
  const auto letter = [](const char* text) { return test::tiny_tokenizer().encode_plain(text).at(0); };
  Random random(3, "planted");
  for (int64_t row = 0; row < 40; ++row) {
    contexts.kinds.push_back(row < 20 ? ContextKind::top : ContextKind::random);
    for (int64_t t = 0; t < 12; ++t) contexts.tokens[row][t] = letter(random.below(2) == 0 ? "x" : "y");
    contexts.tokens[row][0] = *test::tiny_tokenizer().bos();
    if (row >= 20) continue;
    const auto at = static_cast<int64_t>(1 + random.below(11));
    contexts.tokens[row][at] = letter("q");
    contexts.activations[row][at] = 3;
  }
  contexts.values = std::get<0>(contexts.activations.max(1));
  return contexts;
}

// A judge that sees what is planted and says so in the form asked for.
ChatReply knows(const ChatQuestion& question) {
  const std::string& text = question.messages.back().content;
  const bool fuzzing = question.messages[0].content.find("<<") != std::string::npos;
  std::string list;
  for (size_t at = text.find("\nPiece "); at != std::string::npos; at = text.find("\nPiece ", at + 1)) {
    const std::string line = text.substr(at + 1, text.find('\n', at + 1) - at - 1);
    const bool fits = line.find(fuzzing ? "<<q>>" : "q") != std::string::npos;
    list += fmt::format("{}{}", list.empty() ? "" : ", ", fits ? 1 : 0);
  }
  return ScriptedChatModel::says("[" + list + "]");
}

TEST(ChatDetection, AJudgeThatKnowsAndOneThatDoesNot) {
  ChatDetectionSettings settings;
  settings.items.items = 17;  // 34 items: the last question has fewer pieces
  for (const DetectionQuestion kind : {DetectionQuestion::detection, DetectionQuestion::fuzzing}) {
    int64_t refused = -1;
    ScriptedChatModel model(knows);
    const std::vector<DetectionScore> scores = chat_detection(
        model, test::tiny_tokenizer(), {{"the letter q", planted()}, {" ", planted()}}, kind, settings, refused);
    EXPECT_EQ(scores[0].positives, 17);
    EXPECT_EQ(scores[0].negatives, 17);
    EXPECT_EQ(scores[0].unreadable, 0);
    EXPECT_EQ(scores[0].balanced_accuracy, 1);
    EXPECT_EQ(scores[0].f1, 1);
    EXPECT_EQ(scores[1].unreadable, 34) << "nothing can be told from an empty description";
    EXPECT_EQ(scores[1].balanced_accuracy, 0.5);
    EXPECT_EQ(model.asked.size(), 7u);
    EXPECT_EQ(refused, 0);

    ScriptedChatModel mumbles([](const ChatQuestion&) { return ScriptedChatModel::says("perhaps"); });
    const DetectionScore none =
        chat_detection(mumbles, test::tiny_tokenizer(), {{"q", planted()}}, kind, settings, refused).at(0);
    EXPECT_EQ(none.unreadable, 34);
    EXPECT_EQ(none.balanced_accuracy, 0.5);

    ScriptedChatModel refuses([](const ChatQuestion&) { return ScriptedChatModel::refuses("[1, 1, 1, 1, 1]"); });
    chat_detection(refuses, test::tiny_tokenizer(), {{"q", planted()}}, kind, settings, refused);
    EXPECT_EQ(refused, 7);
  }
}

}  // namespace
}  // namespace introspect
