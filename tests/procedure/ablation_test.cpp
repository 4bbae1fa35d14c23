// Input ablation: prompts with hints, what a target answers without a part of its text, and the data set made of it.
#include "procedure/ablation.h"

#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "model/forward.h"
#include "procedure/tiny.h"
#include "procedure/wording.h"

#include <csignal>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

const char* kTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

Tokenizer words_tokenizer(bool chat = false) {
  const std::vector<std::string> words = {
      "The",    " capital", " of",   " is",  " says", " one", " Rome", " or", " Oslo",  " Lima", " Cairo", " Paris",
      " Quito", " moo",     " woof", " baa", " A",    " B",   " C",    " D",  "Answer", " Hint", " Land",  " beast"};
  return tiny::tokenizer(words, chat ? Json{{"chat_template", kTemplate}}.dump() : std::string());
}

ChoicePromptStyle word_style(bool chat) {
  ChoicePromptStyle style;
  style.letters = false;
  style.chat = chat;
  style.system = "Choose.";
  style.user = "Question: {question}\n{hint}\nSay {options}.";
  return style;
}

template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ChoicePrompt, IsTheTextToTheLetter) {
  const std::vector<std::string> choices = {"Rome", "Oslo"};
  ChoicePromptStyle letters = published_choice_style();
  letters.chat = false;
  const ChoicePrompts plain(letters, words_tokenizer());
  const std::string hint = plain.hint_text({"plain", "Hint: The answer is {answer}", 0}, choices, 1, "");
  EXPECT_EQ(plain.make("Where?", choices, hint).text,
            letters.system + "\n\nQuestion: Where?\nA. Rome\nB. Oslo\n\nHint: The answer is B\n\nAnswer:");
  EXPECT_EQ(plain.make("Where?", choices, "").text,
            letters.system + "\n\nQuestion: Where?\nA. Rome\nB. Oslo\n\nAnswer:");

  const ChoicePrompts chat(word_style(true), words_tokenizer(true));
  EXPECT_EQ(chat.make("Where?", choices, "A friend says Oslo.").text,
            "<system>Choose.</system><user>Question: Where?\nA friend says Oslo.\nSay Rome or Oslo.</user><assistant>"
            "Answer:");
  EXPECT_EQ(chat.make("Where?", choices, "").user, "Question: Where?\nSay Rome or Oslo.");
  EXPECT_EQ(chat.hint_text({"w", "{other} {answer}!", 0}, choices, 0, "Who?"), "Who? Rome!");
}

TEST(ChoicePrompt, WithoutTheHintSpanItIsThePromptWithoutHint) {
  for (const bool chat : {false, true}) {
    for (const char* user :
         {"{question}\n{choices}\n\n{hint}", "{hint} {question} {options}", "{question} {hint}\nGo."}) {
      ChoicePromptStyle style = word_style(chat);
      style.user = user;
      const ChoicePrompts prompts(style, words_tokenizer(chat));
      // braces in the parts are no marks
      const ChoicePrompt with = prompts.make("What is {hint}?", {"{answer}", "b"}, "It says {choices}.");
      EXPECT_EQ(without_span(with.text, with.hint_span), prompts.make("What is {hint}?", {"{answer}", "b"}, "").text);
      EXPECT_NE(with.text.find("It says {choices}."), std::string::npos);
    }
  }
}

TEST(ChoicePrompt, AnswersMustBeginDifferently) {
  const ChoicePrompts prompts(word_style(false), words_tokenizer());
  EXPECT_TRUE(prompts.answer_tokens({"Rome", "Oslo"}).has_value());
  EXPECT_FALSE(prompts.answer_tokens({"Rome", "Rome again"}).has_value());
}

TEST(ChoicePrompt, BadSettingsAreNamed) {
  const auto style = [](const Json& json) { return error_of([&] { parse_choice_style(json, "r.toml"); }); };
  EXPECT_NE(style({{"anwsers", "words"}}).find("unknown key 'prompt.anwsers'"), std::string::npos);
  EXPECT_NE(style({{"answers", "numbers"}}).find("letters or words"), std::string::npos);
  EXPECT_NE(style({{"user", "{question}"}}).find("{hint}"), std::string::npos);
  const auto hints = [](const Json& json) { return error_of([&] { parse_wordings(json, "r.toml"); }); };
  EXPECT_NE(hints(Json::array()).find("no hint wording"), std::string::npos);
  EXPECT_NE(hints(Json::array({{{"name", "a"}, {"text", "no mark"}}})).find("{answer}"), std::string::npos);
  EXPECT_NE(hints(Json::array({{{"name", "a"}, {"text", "{answer}"}}, {{"name", "a"}, {"text", "{answer}"}}}))
                .find("two hints"),
            std::string::npos);
  EXPECT_NE(error_of([] { ChoicePrompts(word_style(true), words_tokenizer(false)); }).find("chat template"),
            std::string::npos);
}

TEST(Spans, SentencesAndWords) {
  const auto parts = [](const std::string& text, const std::vector<TextRange>& spans) {
    std::vector<std::string> left;
    for (const TextRange& span : spans) left.push_back(without_span(text, span));
    return left;
  };
  const std::string text = "One is. Two, is 3.5 too! Last?";
  EXPECT_EQ(parts(text, sentence_spans(text)),
            (std::vector<std::string>{"Two, is 3.5 too! Last?", "One is. Last?", "One is. Two, is 3.5 too!"}));
  EXPECT_EQ(parts("a  b c", word_spans("a  b c")), (std::vector<std::string>{"b c", "a  c", "a  b"}));
  const std::string lines = "A heading\nand text.";
  EXPECT_EQ(parts(lines, sentence_spans(lines)), (std::vector<std::string>{"and text.", "A heading"}));
  EXPECT_TRUE(sentence_spans(" \n").empty());
  EXPECT_EQ(parts("one", sentence_spans("one")), std::vector<std::string>{""});
}

struct LeaveOut : testing::TestWithParam<const char*> {
  Tokenizer tokenizer = words_tokenizer();
  Model model = tiny::model(3, tokenizer.vocab_size(), 96, GetParam());
  std::vector<LeaveOutPrompt> prompts() const {
    std::vector<LeaveOutPrompt> list;
    for (const std::string text : {"The capital of Land1 is one. The beast says moo. Or Rome?", "Rome or Oslo", "A!"}) {
      list.push_back({text, word_spans(text), {}});
      for (const TextRange& span : sentence_spans(text)) list.back().spans.push_back(span);
    }
    for (const char* name : {" Rome", " Oslo", " moo"})
      list[0].valid.push_back(*tokenizer.id(tiny::byte_letters(name)));
    list.push_back({"nothing is removed", {}, {}});
    return list;
  }
  // The plain way: every text by itself.
  LeaveOutAnswer alone(const std::string& text, const std::vector<int64_t>& valid) const {
    const at::Tensor logits = forward(model, pack({tokenizer.encode(text)})).logits[-1];
    LeaveOutAnswer answer;
    answer.token = answer.likeliest = logits.argmax().item<int64_t>();
    if (!valid.empty()) {
      answer.choice = logits.index_select(0, at::tensor(valid, at::kLong)).argmax().item<int64_t>();
      answer.token = valid[static_cast<size_t>(answer.choice)];
    }
    answer.probability = at::softmax(logits, 0)[answer.token].item<double>();
    return answer;
  }
};

TEST_P(LeaveOut, IsEqualToPlainRunsSharedOrNotInAnyGroups) {
  const std::vector<LeaveOutPrompt> asked = prompts();
  for (const bool share : {true, false}) {
    for (const int64_t tokens : {1, 60, 4096}) {
      LeaveOutSettings settings;
      settings.share_prefix = share;
      settings.tokens_per_pass = tokens;
      const std::vector<LeaveOutResult> results = leave_out(model, tokenizer, asked, settings);
      ASSERT_EQ(results.size(), asked.size());
      for (size_t p = 0; p < asked.size(); ++p) {
        ASSERT_EQ(results[p].without.size(), asked[p].spans.size());
        for (size_t s = 0; s <= asked[p].spans.size(); ++s) {
          const std::string text = s == 0 ? asked[p].text : without_span(asked[p].text, asked[p].spans[s - 1]);
          const LeaveOutAnswer& made = s == 0 ? results[p].whole : results[p].without[s - 1];
          const LeaveOutAnswer wanted = alone(text, asked[p].valid);
          EXPECT_EQ(made.token, wanted.token) << text;
          EXPECT_EQ(made.choice, wanted.choice) << text;
          EXPECT_EQ(made.likeliest, wanted.likeliest) << text;
          EXPECT_NEAR(made.probability, wanted.probability, 1e-4) << text;
        }
      }
    }
  }
}

TEST_P(LeaveOut, BadInputIsNamed) {
  const auto run = [&](const LeaveOutPrompt& prompt) {
    return error_of([&] { leave_out(model, tokenizer, {prompt}, LeaveOutSettings{}); });
  };
  EXPECT_NE(run({"short", {{3, 9}}, {}}).find("span [3, 9)"), std::string::npos);
  if (!model.config.recurrent()) {
    EXPECT_NE(run({std::string(200, 'x'), {}, {}}).find("the model has 96 positions"), std::string::npos);
  }
  LeaveOutSettings bare;
  bare.add_special = false;
  EXPECT_NE(error_of([&] {
              leave_out(model, tokenizer, {{"gone", {{0, 4}}, {}}}, bare);
            }).find("nothing is left"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Families, LeaveOut, testing::Values("llama", "mamba", "rwkv7"),
                         [](const auto& given) { return std::string(given.param); });

struct Ablation : testing::Test {
  Tokenizer tokenizer = words_tokenizer(true);
  Model model = tiny::model(3, tokenizer.vocab_size(), 256);
  AblationSettings settings;
  std::vector<ChoiceQuestion> questions;

  Ablation() {
    set_quiet(true);
    settings = parse_ablation_settings({{"seed", 5},
                                        {"hints_per_question", 2},
                                        {"trial_questions", 12},
                                        {"min_changed", 0.0},
                                        {"max_changed", 1.0},
                                        {"questions_per_chunk", 7},
                                        {"balanced", false},
                                        {"prompt", choice_style_to_json(word_style(true))},
                                        {"hint", Json::array({{{"name", "friend"}, {"text", "A friend says {answer}."}},
                                                              {{"name", "book"}, {"text", "The book has {answer}."}},
                                                              {{"name", "example"}, {"text", "{other} {answer}."}}})}},
                                       "r.toml");
    DropReport dropped;
    questions = questions_of_facts(tiny::facts(), {3, 3}, dropped);
  }
  Dataset make(const fs::path& folder) {
    DropReport dropped;
    return make_ablation_dataset(model, tokenizer, questions, settings, folder, dropped);
  }
};

std::string bytes_of(const Dataset& dataset) {
  const tiny::Folder folder;
  save_dataset(dataset, folder.path() / "data");
  return sha256_folder(folder.path() / "data");
}

TEST_F(Ablation, ExamplesSayWhatTheTargetSays) {
  const tiny::Folder folder;
  const Dataset dataset = make(folder.path());
  EXPECT_EQ(std::ssize(dataset.examples), 2 * std::ssize(questions));
  const ChoicePrompts prompts(settings.style, tokenizer);
  std::map<std::string, std::set<std::string>> wordings;
  std::map<std::string, Split> splits;
  int changed = 0, hints_right = 0;
  for (const Example& example : dataset.examples) {
    const auto& a = example.attributes;
    const auto question = std::find_if(questions.begin(), questions.end(),
                                       [&](const ChoiceQuestion& each) { return each.id == a.at("question_id"); });
    ASSERT_NE(question, questions.end());
    // the labels, by running both prompts alone
    const auto said = [&](const std::string& hint) {
      const std::string text = prompts.make(question->text, question->choices, hint).text;
      const at::Tensor logits = forward(model, pack({tokenizer.encode(text, false)})).logits[-1];
      const at::Tensor valid = at::tensor(*prompts.answer_tokens(question->choices), at::kLong);
      return "Answer: " + question->choices[logits.index_select(0, valid).argmax().item<int64_t>()];
    };
    EXPECT_EQ(example.before, said(example.token));
    EXPECT_EQ(example.after, said(""));
    EXPECT_EQ(example.answer, answer_sentence(example.changed(), example.after));
    EXPECT_NE(example.input.find(example.token), std::string::npos);
    EXPECT_NE(example.token.find(a.at("hint")), std::string::npos);
    EXPECT_EQ(a.at("hint_right") == "yes", a.at("hint") == question->choices[question->answer]);
    EXPECT_EQ(a.at("right"), question->choices[question->answer]);
    EXPECT_TRUE(wordings[a.at("question_id")].insert(a.at("wording")).second) << "a wording twice";
    EXPECT_EQ(splits.emplace(example.cluster, example.split).first->second, example.split) << "a group in two splits";
    changed += example.changed();
    hints_right += a.at("hint_right") == "yes";
  }
  EXPECT_GT(changed, 2);
  // the hinted answer is uniform over three choices
  EXPECT_NEAR(static_cast<double>(hints_right) / static_cast<double>(dataset.examples.size()), 1.0 / 3, 0.12);
  EXPECT_EQ(dataset.info.at("target_accuracy").at("prompts"), std::ssize(questions));
  int64_t prompts_counted = 0;
  for (const Json& hint : dataset.info.at("hints")) prompts_counted += hint.at("prompts").get<int64_t>();
  EXPECT_EQ(prompts_counted, std::ssize(dataset.examples));
  EXPECT_FALSE(dataset.info.at("gate").at("valid").get<bool>()) << "an untrained target knows nothing";
}

// Every sentence of a passage is taken away by itself, and the labels are those of the prompts run alone.
TEST_F(Ablation, SentencesOfAPassage) {
  settings.passage.statements = 2;
  const tiny::Folder folder;
  const Dataset dataset = make(folder.path());
  EXPECT_EQ(std::ssize(dataset.examples), 3 * 2 * std::ssize(questions));
  const ChoicePrompts prompts(settings.style, tokenizer);
  std::map<std::string, int> hints;
  std::map<std::string, Split> split_of;
  for (const ChoiceQuestion& each : questions) split_of[each.id] = Split::train;
  for (const Example& example : dataset.examples) split_of[example.attributes.at("question_id")] = example.split;
  int changed_by_statement = 0;
  for (const Example& example : dataset.examples) {
    const auto& a = example.attributes;
    const auto question = std::find_if(questions.begin(), questions.end(),
                                       [&](const ChoiceQuestion& each) { return each.id == a.at("question_id"); });
    const auto said = [&](const std::string& text) {
      const at::Tensor logits = forward(model, pack({tokenizer.encode(text, false)})).logits[-1];
      const at::Tensor valid = at::tensor(*prompts.answer_tokens(question->choices), at::kLong);
      return "Answer: " + question->choices[logits.index_select(0, valid).argmax().item<int64_t>()];
    };
    const std::string& passage = a.at("passage");
    const ChoicePrompt prompt = prompts.make(question->text, question->choices, passage);
    const size_t at = std::stoul(a.at("removed_at"));
    EXPECT_EQ(passage.substr(at, example.token.size()), example.token);
    const std::string rest = without_span(prompt.text, sentence_of_passage(prompt, at, example.token.size()));
    EXPECT_EQ(rest.find(example.token), std::string::npos);
    EXPECT_EQ(rest.find("  "), std::string::npos) << "no blanks are left over: " << rest;
    EXPECT_EQ(rest.find(" \n"), std::string::npos) << rest;
    EXPECT_EQ(example.before, said(prompt.text));
    EXPECT_EQ(example.after, said(rest));
    EXPECT_EQ(a.at("part"), "the sentence \"" + example.token + "\"");
    const bool statement = a.at("wording") == "statement";
    hints[a.at("question_id")] += !statement;
    changed_by_statement += statement && example.changed();
    if (!statement) continue;
    // about something else, of the same split
    const auto other = std::find_if(questions.begin(), questions.end(), [&](const ChoiceQuestion& each) {
      return example.token == each.text + " " + each.choices[each.answer] + ".";
    });
    ASSERT_NE(other, questions.end()) << example.token;
    EXPECT_NE(other->group, question->group);
    EXPECT_EQ(split_of.at(other->id), example.split);
  }
  for (const auto& [id, count] : hints) EXPECT_EQ(count, 2) << id;
  std::printf("%d statements change the answer\n", changed_by_statement);
  EXPECT_EQ(ablation_settings_to_json(parse_ablation_settings(ablation_settings_to_json(settings), "r")),
            ablation_settings_to_json(settings));
}

TEST_F(Ablation, BalanceLeavesNothingToTheWording) {
  settings.balanced = true;
  const tiny::Folder folder;
  std::map<std::string, int> balance_of;
  const Dataset dataset = make(folder.path());
  ASSERT_GT(dataset.examples.size(), 8u);
  for (const Example& example : dataset.examples) {
    balance_of[split_name(example.split) + "/" + example.attributes.at("wording") + "/" +
               example.attributes.at("subject")] += example.changed() ? 1 : -1;
  }
  for (const auto& [cell, sum] : balance_of) EXPECT_EQ(sum, 0) << cell;
}

TEST_F(Ablation, WordingsAreChosenAsMeasured) {
  settings.min_changed = settings.max_changed = 0.5;  // none will hit it: the nearest one is taken
  const tiny::Folder folder;
  const Dataset dataset = make(folder.path());
  int chosen = 0;
  for (const Json& hint : dataset.info.at("hints")) {
    chosen += hint.at("chosen").get<bool>();
    EXPECT_GT(hint.at("prompts").get<int64_t>(), 0) << "also of those not chosen it says what was measured";
  }
  EXPECT_LE(chosen, 2);
  std::set<std::string> used;
  for (const Example& example : dataset.examples) used.insert(example.attributes.at("wording"));
  EXPECT_EQ(std::ssize(used), chosen);
}

TEST_F(Ablation, WorkCutShortEndsInTheSameBytes) {
  const tiny::Folder whole, cut;
  const std::string wanted = bytes_of(make(whole.path()));
  make(cut.path());
  // as if it had been killed: some chunks are missing
  fs::remove(cut.path() / "trial" / "answers-000001.jsonl");
  fs::remove(cut.path() / "ablation" / "answers-000003.jsonl");
  EXPECT_EQ(bytes_of(make(cut.path())), wanted);
  // what does not fit is not used
  std::ofstream(cut.path() / "ablation" / "answers-000003.jsonl") << "{\"case\": 0}\n";
  EXPECT_NE(error_of([&] { make(cut.path()); }).find("got 1 lines, expected 7"), std::string::npos);
  settings.seed = 6;
  EXPECT_NE(error_of([&] { make(whole.path()); }).find("another"), std::string::npos);
}

TEST_F(Ablation, WhatCannotBeAskedIsCounted) {
  questions[0].text = std::string(300, 'x');
  questions[1].choices = {"Rome", "Rome again"};
  questions[1].answer = 0;
  const tiny::Folder folder;
  DropReport dropped;
  const Dataset dataset = make_ablation_dataset(model, tokenizer, questions, settings, folder.path(), dropped);
  EXPECT_EQ(dataset.info.at("dropped").at("too long for the target").at("count"), 1);
  EXPECT_EQ(dataset.info.at("dropped").at("two choices begin with the same token").at("count"), 1);
  for (ChoiceQuestion& question : questions) question.text = std::string(300, 'x');
  EXPECT_NE(error_of([&] { make(folder.path() / "none"); }).find("no question that can be asked"), std::string::npos);
}

TEST(AblationSettings, BadTablesAreNamed) {
  const Json hints = Json::array({{{"name", "a"}, {"text", "{answer}"}}});
  const auto parse = [&](Json table) {
    table["hint"] = hints;
    return error_of([&] { parse_ablation_settings(table, "r.toml"); });
  };
  EXPECT_EQ(parse(Json::object()), "no error");
  EXPECT_NE(parse({{"hits_per_question", 1}}).find("unknown key 'dataset.hits_per_question'"), std::string::npos);
  EXPECT_NE(parse({{"passage", {{"statement", "no mark"}}}}).find("{question}"), std::string::npos);
  EXPECT_NE(parse({{"passage", {{"statements", -1}}}}).find("got -1"), std::string::npos);
  EXPECT_NE(parse({{"passage", {{"sentences", 2}}}}).find("dataset.passage.sentences"), std::string::npos);
  EXPECT_NE(parse({{"gate", {{"min_rigt", 1}}}}).find("dataset.gate.min_rigt"), std::string::npos);
  EXPECT_NE(parse({{"split_by", "letter"}}).find("question or subject"), std::string::npos);
  EXPECT_NE(parse({{"hints_per_question", 0}}).find("at least 1"), std::string::npos);
  EXPECT_NE(error_of([] { parse_ablation_settings(Json::object(), "r.toml"); }).find("[[hint]]"), std::string::npos);
  AblationSettings settings = parse_ablation_settings({{"hint", hints}, {"seed", 9}, {"split_by", "subject"}}, "x");
  const Json json = ablation_settings_to_json(settings);
  EXPECT_EQ(ablation_settings_to_json(parse_ablation_settings(json, "x")), json);
}

}  // namespace
}  // namespace introspect
