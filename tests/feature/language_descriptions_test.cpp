// What a describing model is shown, how its replies are read, and what is counted.
#include "feature/language_descriptions.h"

#include "base/temporary_folder.h"
#include "chat/cache.h"
#include "chat/scripted_model.h"
#include "model/tiny_model.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

using test::ScriptedChatModel;
using test::tiny_tokenizer;

// Pieces of text with one word that fires; a strength of 0: nothing fires.
FeatureContexts contexts_of(const std::vector<std::pair<std::string, double>>& pieces, const std::string& word) {
  FeatureContexts contexts;
  contexts.layer = 1;
  contexts.latent = 5;
  const auto count = static_cast<int64_t>(pieces.size());
  constexpr int64_t length = 40;
  contexts.tokens = at::full({count, length}, -1, at::kInt);
  contexts.activations = at::zeros({count, length});
  for (int64_t row = 0; row < count; ++row) {
    const auto& [text, strength] = pieces[static_cast<size_t>(row)];
    contexts.kinds.push_back(ContextKind::top);
    const Encoding encoding = tiny_tokenizer().encode_with_offsets(text, false);
    const size_t begin = text.find(word);
    contexts.tokens[row][0] = *tiny_tokenizer().bos();
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      const auto at = static_cast<int64_t>(i) + 1;
      contexts.tokens[row][at] = encoding.ids[i];
      const auto [first, last] = encoding.offsets[i];
      if (first < begin + word.size() && last > begin) contexts.activations[row][at] = strength;
    }
  }
  contexts.values = std::get<0>(contexts.activations.max(1));
  return contexts;
}

FeatureContexts cats() {
  return contexts_of(
      {{"a cat sat", 2}, {"odd cat", 9}, {"the cat and the bird", 4}, {"odd cat too", 8}, {"the bird", 0}}, "cat");
}

TEST(LanguageDescriptions, WhatIsShown) {
  LanguageDescriptionSettings settings;
  settings.candidates = 2;
  const std::vector<ChatQuestion> questions =
      description_questions(cats(), {" dog", "\n\""}, tiny_tokenizer(), settings);
  ASSERT_EQ(questions.size(), 2u);
  EXPECT_EQ(questions[0].temperature, 0);
  EXPECT_EQ(questions[0].candidate, 0);
  EXPECT_GT(questions[1].temperature, 0);
  EXPECT_EQ(questions[1].candidate, 1);
  const std::string shown = questions[0].messages.back().content;
  // The strongest first, only pieces with even index, tokens marked and listed.
  const size_t first = shown.find("Piece 1: the"), second = shown.find("Piece 2: a");
  EXPECT_LT(first, second) << shown;
  EXPECT_LT(second, std::string::npos) << shown;
  EXPECT_EQ(shown.find("Piece 3"), std::string::npos) << shown;
  EXPECT_EQ(shown.find("odd"), std::string::npos) << "pieces of odd index are for testing: " << shown;
  EXPECT_TRUE(holds(shown, "<<"));
  EXPECT_TRUE(holds(shown, "cat>>"));
  EXPECT_TRUE(holds(shown, "Firing: "));
  EXPECT_TRUE(holds(shown, "\" 10"));
  EXPECT_TRUE(holds(shown, "\" 5")) << "2 of at most 4";
  EXPECT_TRUE(holds(shown, "Tokens that the feature makes likelier: \" dog\", \"\\n\\\"\""));
  EXPECT_EQ(shown.find("<|begin|>"), std::string::npos);

  settings.exemplars = 1;
  const std::string one = description_questions(cats(), {}, tiny_tokenizer(), settings)[0].messages.back().content;
  EXPECT_EQ(one.find("Piece 2"), std::string::npos);
  EXPECT_EQ(one.find("likelier"), std::string::npos);
}

TEST(LanguageDescriptions, NothingIsAskedOfSilentFeatures) {
  EXPECT_TRUE(
      description_questions(contexts_of({{"a cat", 0}, {"odd cat", 9}}, "cat"), {}, tiny_tokenizer(), {}).empty());
  EXPECT_TRUE(description_questions({}, {}, tiny_tokenizer(), {}).empty());
  LanguageDescriptionSettings settings;
  settings.candidates = 0;
  EXPECT_TRUE(holds(error_of([&] { description_questions(cats(), {}, tiny_tokenizer(), settings); }), "candidates"));
  settings.candidates = 2;
  settings.temperature = 0;
  EXPECT_TRUE(holds(error_of([&] { description_questions(cats(), {}, tiny_tokenizer(), settings); }), "temperature"));
}

TEST(LanguageDescriptions, Replies) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"DESCRIPTION: means of transport", "means of transport"},
      {"I see animals.\n\nDescription: animals.", "animals"},
      {"**DESCRIPTION:** the word \"cat\"", "the word \"cat\""},
      {"**Description: cats**", "cats"},
      {"[DESCRIPTION]: names of <<cities>>", "names of cities"},
      {"DESCRIPTION: first try\nwait\ndescription:   \"second, better one\" ", "second, better one"},
      {"<think>DESCRIPTION: hm</think>\n- DESCRIPTION: verbs", "verbs"},
      {"DESCRIPTION: \"is\" and \"are\"", "\"is\" and \"are\""},
      {"DESCRIPTION: \"er\"", "\"er\""},
      {"DESCRIPTION: an ellipsis ...", "an ellipsis ..."},
  };
  for (const auto& [reply, expected] : cases) EXPECT_EQ(parse_description(reply).value_or("none"), expected) << reply;
  for (const std::string& reply :
       {std::string(""), std::string("animals"), std::string("DESCRIPTION:"), std::string("DESCRIPTION: \n"),
        std::string("A description of this: none"), std::string("descriptions: a"), std::string("DESCRIPTION"),
        "DESCRIPTION: " + std::string(400, 'a'), std::string("<think>DESCRIPTION: a")}) {
    EXPECT_EQ(parse_description(reply), std::nullopt) << reply;
  }
}

TEST(LanguageDescriptions, CountsWhatComesOfThem) {
  LanguageDescriptionSettings settings;
  settings.candidates = 3;
  LanguageDescriptionTask task;
  for (int64_t latent = 0; latent < 100; ++latent) task.features.emplace_back(2, latent);
  task.questions = [&](int64_t, int64_t latent) {
    if (latent == 3) return std::vector<ChatQuestion>();
    return description_questions(cats(), {fmt::format("latent {}.", latent)}, tiny_tokenizer(), settings);
  };
  int64_t asked = 0;
  const auto script = [&](const ChatQuestion& question) {
    ++asked;
    const std::string& shown = question.messages.back().content;
    if (shown.find("latent 5.") != std::string::npos) return ScriptedChatModel::says("no idea");
    if (question.candidate == 1) return ScriptedChatModel::says("DESCRIPTION: Animals");
    if (question.candidate == 2 && shown.find("latent 6.") != std::string::npos) {
      return ScriptedChatModel::refuses("too long");
    }
    return ScriptedChatModel::says(question.candidate == 0 ? "DESCRIPTION: animals" : "DESCRIPTION: cats");
  };
  const TemporaryFolder folder;
  for (int run = 0; run < 2; ++run) {
    CachedChatModel model(std::make_unique<ScriptedChatModel>(script), folder / "replies.jsonl");
    const ChatEstimate estimate = estimate_descriptions(model, task);
    EXPECT_EQ(estimate.questions, 297);
    EXPECT_EQ(estimate.remembered, run == 0 ? 0 : 296);
    LanguageDescriptionReport report;
    const std::vector<DescribedFeature> described = describe_with_model(model, task, report);
    ASSERT_EQ(described.size(), 100u);
    EXPECT_TRUE(described[3].descriptions.empty());
    EXPECT_TRUE(described[5].descriptions.empty());
    EXPECT_EQ(described[6].descriptions.size(), 1u);
    ASSERT_EQ(described[99].descriptions.size(), 2u);
    EXPECT_EQ(described[99].latent, 99);
    EXPECT_EQ(described[99].descriptions[0].text, "animals");
    EXPECT_EQ(described[99].descriptions[1].text, "cats");
    EXPECT_EQ(described[99].descriptions[0].source, "scripted");
    EXPECT_TRUE(std::isnan(described[99].descriptions[0].score));
    EXPECT_EQ(report.features, 100);
    EXPECT_EQ(report.silent, 1);
    EXPECT_EQ(report.undescribed, 1);
    EXPECT_EQ(report.questions, 297);
    EXPECT_EQ(report.unparsable, 3);
    EXPECT_EQ(report.refused, 1);
    EXPECT_EQ(report.duplicates, 98);
  }
  EXPECT_EQ(asked, 297 + 1) << "the second run asks again what was refused, and nothing else";
}

TEST(LanguageDescriptions, PromotedTokens) {
  ModelConfig config = test::tiny_config();
  config.tied_embeddings = false;
  const Model model = test::tiny_model(config);
  // The direction in which token 100 lies: nothing is raised more than by its own row, up to the norm's weight.
  const at::Tensor direction = model.head[100] / model.final_norm;
  const at::Tensor raised = at::mv(model.head, model.head[100]);
  const int64_t best = raised.slice(0, 0, tiny_tokenizer().vocab_size()).argmax().item<int64_t>();
  const std::vector<std::string> tokens = promoted_tokens(model, tiny_tokenizer(), direction, 3);
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokens[0], tiny_tokenizer().piece(best));
  EXPECT_EQ(promoted_tokens(model, tiny_tokenizer(), direction, 10000).size(),
            static_cast<size_t>(std::min<int64_t>(tiny_tokenizer().vocab_size(), 300)));
}

}  // namespace
}  // namespace introspect
