// Questions as token ids: slots by construction, answers in the target's own tokens.
#include "explainer/question.h"

#include "base/temporary_folder.h"
#include "explainer/small_questions.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::tokenizer;

Example example() {
  Example made;
  made.id = "patching-000001";
  made.layers = {2, 3};
  made.vector = 5;
  made.input = "The capital of France is";
  made.token = "France";
  made.before = "Paris";
  made.after = "Rome";
  made.answer = answer_words(true, "Rome");
  return made;
}

SlotTokens slot() {
  return find_slot_tokens(tokenizer());
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

TEST(Templates, AreThoseOfTheExamplesTask) {
  Example feature = example();
  feature.input.clear();
  EXPECT_EQ(templates_for({}, feature), paper_feature_templates());
  EXPECT_EQ(templates_for({}, example()), paper_patching_templates());
  Example words = example();
  words.vector = -1;
  EXPECT_EQ(templates_for({}, words), paper_ablation_templates());
  feature.answer = "words for animals";
  for (size_t i = 0; i < paper_feature_templates().size(); ++i) {
    const Question question = make_question(tokenizer(), slot(), {}, feature, i);
    EXPECT_EQ(question.slots.size(), 1U) << i;
  }
}

TEST(SlotTokens, AreTheReservedOnes) {
  EXPECT_EQ(slot().begin, tokenizer().id("<|reserved_special_token_10|>"));
  EXPECT_EQ(slot().slot, tokenizer().id("<|reserved_special_token_12|>"));
  EXPECT_EQ(slot().end, tokenizer().id("<|reserved_special_token_11|>"));
}

TEST(SlotTokens, OrThoseNamed) {
  const SlotTokens named =
      find_slot_tokens(tokenizer(), {"<|begin_of_text|>", "<|reserved_special_token_11|>", "<|end_of_text|>"});
  EXPECT_EQ(named.begin, tokenizer().bos());
  EXPECT_EQ(named.slot, tokenizer().id("<|reserved_special_token_11|>"));
  EXPECT_EQ(named.end, tokenizer().eos());
}

TEST(SlotTokens, QwensAreFound) {
  BpeTrainSettings settings;
  settings.vocab_size = 270;
  settings.special_tokens = {"<|vision_end|>", "<|vision_start|>", "<|vision_pad|>"};
  BpeTrainer trainer(settings);
  trainer.add("some words");
  trainer.train();
  const Tokenizer qwen = Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
  EXPECT_EQ(find_slot_tokens(qwen).slot, qwen.id("<|vision_pad|>"));
  EXPECT_EQ(find_slot_tokens(qwen).end, qwen.id("<|vision_end|>"));
}

TEST(SlotTokens, Errors) {
  BpeTrainSettings settings;
  settings.vocab_size = 270;
  settings.special_tokens = {"<|bos|>", "<|reserved_special_token_10|>", "<|reserved_special_token_12|>"};
  BpeTrainer trainer(settings);
  trainer.add("some words");
  trainer.train();
  const Tokenizer lacking = Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
  EXPECT_TRUE(holds(error_of([&] { find_slot_tokens(lacking); }), "no tokens that could serve as slot"));
  EXPECT_TRUE(holds(error_of([&] { find_slot_tokens(lacking, {"<|bos|>", "<|a|>", "<|bos|>"}); }), "<|a|>"));
  EXPECT_TRUE(holds(error_of([&] { find_slot_tokens(tokenizer(), {"<|begin_of_text|>"}); }), "got 1, expected 3"));
}

TEST(Question, EveryPublishedTemplateRendersWithItsSlotInPlace) {
  ASSERT_EQ(paper_patching_templates().size(), 5u);
  std::vector<std::vector<int64_t>> seen;
  for (size_t i = 0; i < 5; ++i) {
    const Question question = make_question(tokenizer(), slot(), {}, example(), i);
    ASSERT_EQ(question.slots.size(), 1u);
    const auto at = static_cast<size_t>(question.slots[0]);
    ASSERT_LT(at + 1, question.tokens.size());
    EXPECT_EQ(question.tokens[at - 1], slot().begin);
    EXPECT_EQ(question.tokens[at], slot().slot);
    EXPECT_EQ(question.tokens[at + 1], slot().end);
    EXPECT_EQ(question.tokens[0], tokenizer().bos());
    EXPECT_EQ(question.vector, 5);
    EXPECT_EQ(question.layer, 3);
    std::string expected = paper_patching_templates()[i];
    for (const auto& [from, to] : {std::pair<std::string, std::string>{"{layer}", "2, 3"},
                                   {"{tokens}", "<France>"},
                                   {"{input}", "The capital of France is"},
                                   {"{s}{v}{e}",
                                    "<|reserved_special_token_10|><|reserved_special_token_12|>"
                                    "<|reserved_special_token_11|>"}}) {
      EXPECT_NE(expected.find(from), std::string::npos) << from;
      expected = replaced(expected, from, to);
    }
    EXPECT_EQ(tokenizer().decode(question.tokens), "<|begin_of_text|>" + expected);
    EXPECT_TRUE(expected.ends_with("?\n"));
    EXPECT_EQ(tokenizer().decode(question.answer), "The most likely output would change to <<<Rome>>>.<|end_of_text|>");
    seen.push_back(question.tokens);
  }
  EXPECT_EQ(make_question(tokenizer(), slot(), {}, example(), 7).tokens, seen[2]) << "indices go round";
}

TEST(Question, SlotsWrittenInTheDataStayText) {
  Example hostile = example();
  const std::string literal = "<|reserved_special_token_12|>";
  hostile.input = "see " + literal + " and {v} and <|end_of_text|>";
  hostile.token = literal;
  hostile.before = literal;
  hostile.answer = answer_words(true, literal);
  QuestionStyle style;
  style.templates = {"{tokens} {before} {s}{v}{e} {input} <|reserved_special_token_12|>\n"};
  const Question question = make_question(tokenizer(), slot(), style, hostile, 0);
  ASSERT_EQ(question.slots.size(), 1u);
  EXPECT_EQ(std::count(question.tokens.begin(), question.tokens.end(), slot().slot), 1);
  EXPECT_EQ(question.tokens[static_cast<size_t>(question.slots[0])], slot().slot);
  EXPECT_EQ(std::count(question.tokens.begin(), question.tokens.end(), *tokenizer().eos()), 0);
  EXPECT_EQ(std::count(question.answer.begin(), question.answer.end(), slot().slot), 0);
  EXPECT_TRUE(holds(tokenizer().decode(question.tokens), "{v} and <|end_of_text|>")) << "data is no template";
}

TEST(Question, AUsersTurnInTheChatTemplate) {
  const BpeTrainer trainer = world::trained_bpe();
  Json config = Json::parse(trainer.config_json());
  config["chat_template"] =
      "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content | trim }}{{ eos_token }}{% endfor %}"
      "{% if add_generation_prompt %}assistant: {% endif %}";
  const Tokenizer chat = Tokenizer::from_json(trainer.tokenizer_json(), config.dump());
  QuestionStyle style;
  style.chat = true;
  style.templates = {"{s}{v}{e} at {layer}?"};
  const Question question = make_question(chat, slot(), style, example(), 0);
  const std::string text = chat.decode(question.tokens);
  EXPECT_TRUE(text.starts_with("<|begin_of_text|>user: <|reserved_special_token_10|>")) << text;
  EXPECT_TRUE(text.ends_with("?<|end_of_text|>assistant: ")) << text;
  ASSERT_EQ(question.slots.size(), 1u);
  EXPECT_EQ(question.tokens[static_cast<size_t>(question.slots[0])], slot().slot);
  EXPECT_EQ(std::count(question.tokens.begin(), question.tokens.end(), *chat.bos()), 1) << "no second BOS";
  EXPECT_TRUE(holds(error_of([&] { make_question(tokenizer(), slot(), style, example(), 0); }), "has none"));
}

TEST(Question, SeveralSlotsAndTheTargetsOwnAnswer) {
  QuestionStyle style;
  style.templates = {"Before: {before}. {s}{v}{v}{e}{v}?\n"};
  style.add_bos = false;
  const Question question = make_question(tokenizer(), slot(), style, example(), 0);
  ASSERT_EQ(question.slots.size(), 3u);
  for (int64_t at : question.slots) EXPECT_EQ(question.tokens[static_cast<size_t>(at)], slot().slot);
  EXPECT_EQ(std::count(question.tokens.begin(), question.tokens.end(), slot().slot), 3);
  EXPECT_TRUE(tokenizer().decode(question.tokens).starts_with("Before: Paris. <|reserved_special_token_10|>"));
}

TEST(Question, TemplateErrors) {
  const auto with = [&](const std::string& text, int64_t vector = 5) {
    QuestionStyle style;
    style.templates = {text};
    Example made = example();
    made.vector = vector;
    return error_of([&] { make_question(tokenizer(), slot(), style, made, 0); });
  };
  EXPECT_TRUE(holds(with("{s}{v}{e} {colour}"), "unknown '{colour}'"));
  EXPECT_TRUE(holds(with("{s}{v}{e} {after}"), "unknown '{after}'")) << "the answer must not stand in the question";
  EXPECT_TRUE(holds(with("{s}{v}{e} {input"), "unknown '{}'"));
  EXPECT_TRUE(holds(with("{s}{e} {input}"), "without {v}"));
  QuestionStyle plain;
  plain.templates = {"{input}?"};
  Example without = example();
  without.vector = -1;
  EXPECT_TRUE(make_question(tokenizer(), slot(), plain, without, 0).slots.empty());
}

TEST(Question, TheWordsInBracketsAreTheTargetsOwnTokens) {
  const std::vector<int64_t> own = tokenizer().encode_plain(" Paris");
  const auto says_own = [&](const Question& question) {
    return std::search(question.answer.begin(), question.answer.end(), own.begin(), own.end()) != question.answer.end();
  };
  QuestionStyle style;
  style.blank_in_brackets = true;
  Example paris = example();
  paris.answer = answer_words(false, "Paris");
  const Question with = make_question(tokenizer(), slot(), style, paris, 0);
  EXPECT_TRUE(says_own(with));
  EXPECT_EQ(tokenizer().decode(with.answer), "The output would remain unchanged from <<< Paris>>>.<|end_of_text|>");
  EXPECT_EQ(with.answer.back(), tokenizer().eos());
  style.blank_in_brackets = false;
  const Question without = make_question(tokenizer(), slot(), style, paris, 0);
  EXPECT_FALSE(says_own(without));
}

TEST(NamedLayers, WhatTheQuestionSays) {
  Dataset dataset;
  dataset.examples.resize(4);
  dataset.examples[0].layers = {0, 1};
  dataset.examples[1].layers = {2, 3};
  dataset.examples[2].layers = {4, 5};
  dataset.examples[3].layers = {2, 3};
  const LayerLists all = layer_lists(dataset);
  EXPECT_EQ(all, (LayerLists{{0, 1}, {2, 3}, {4, 5}}));
  const auto named = [&](size_t i, LayerCondition condition, uint64_t draw = 0) {
    return named_layers(dataset.examples[i], condition, all, draw);
  };
  EXPECT_EQ(named(1, LayerCondition::real), (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(named(1, LayerCondition::dropped).empty());
  EXPECT_EQ(named(1, LayerCondition::faked), (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(named(2, LayerCondition::faked), (std::vector<int64_t>{0, 1}));
  for (uint64_t draw = 0; draw < 6; ++draw) EXPECT_EQ(named(0, LayerCondition::random, draw), all[draw % 3]);
  EXPECT_EQ(named_layers(dataset.examples[0], LayerCondition::faked, {{0, 1}}, 0), std::vector<int64_t>{2});
  for (const LayerCondition each :
       {LayerCondition::real, LayerCondition::dropped, LayerCondition::faked, LayerCondition::random}) {
    EXPECT_EQ(parse_layer_condition(condition_name(each)), each);
  }
  EXPECT_TRUE(holds(error_of([] { parse_layer_condition("deep"); }), "'deep'"));
}

TEST(Question, TidyAnswerTakesTheBlankAway) {
  QuestionStyle style;
  EXPECT_EQ(tidy_answer("  It is <<< Paris>>>.\n", style), "It is <<< Paris>>>.");
  style.blank_in_brackets = true;
  EXPECT_EQ(tidy_answer("  It is <<< Paris>>>.\n", style), "It is <<<Paris>>>.");
  EXPECT_EQ(tidy_answer("<<< New York >>>", style), "<<<New York>>>");
  for (const std::string broken : {"<<< Paris", "Paris >>>.", ">>> Paris <<<", "<<<>>>", "", "<<>>", ">>><<<"}) {
    EXPECT_EQ(tidy_answer(broken, style), broken);
  }
  EXPECT_EQ(tidy_answer(" \n\t", style), "");
  // what was asked for and what is kept are the same words
  Example paris = example();
  paris.answer = answer_words(true, "Paris");
  const Question question = make_question(tokenizer(), slot(), style, paris, 0);
  EXPECT_EQ(tidy_answer(tokenizer().decode(question.answer, true), style), paris.answer);
}

}  // namespace
}  // namespace introspect
