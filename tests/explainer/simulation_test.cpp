// The text-only task: questions in a chat with a system turn, training without vectors, and the model that runs the
// prompts itself.
#include "explainer/simulation.h"

#include "base/error.h"
#include "base/progress.h"
#include "base/temporary_folder.h"
#include "explainer/answer.h"
#include "explainer/small_ablation.h"
#include "explainer/small_questions.h"
#include "explainer/train.h"
#include "procedure/ablation.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

TEST(Simulation, TheTargetItselfIsAlwaysRightAndAnotherModelIsNot) {
  const TemporaryFolder folder;
  const Model target = world::loud_model(world::config(), 1), other = world::loud_model(world::config(), 2);
  const Dataset dataset = world::ablation_questions(target, folder.path());
  const auto right = [&](const Model& model, Simulation simulation) {
    int64_t count = 0;
    const std::vector<const Example*> test = dataset.of(Split::test);
    const std::vector<Answer> answers =
        simulate_ablation(model, world::tokenizer(), dataset, simulation, Split::test, 0);
    EXPECT_EQ(answers.size(), test.size());
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i].id, test[i]->id);
      count += answers[i].text == test[i]->answer;
    }
    return count;
  };
  const auto all = std::ssize(dataset.of(Split::test));
  ASSERT_GT(all, 3);
  EXPECT_EQ(right(target, Simulation::both), all);
  EXPECT_LT(right(other, Simulation::both), all);
  EXPECT_EQ(simulate_ablation(target, world::tokenizer(), dataset, Simulation::both, Split::test, 2).size(), 2u);

  // changed exactly if the hint names another answer than its own
  const std::vector<Answer> differs =
      simulate_ablation(target, world::tokenizer(), dataset, Simulation::hint_differs, Split::test, 0);
  const std::vector<const Example*> test = dataset.of(Split::test);
  for (size_t i = 0; i < test.size(); ++i) {
    const bool changed = bracket_answer(test[i]->attributes.at("hint")) != test[i]->after;
    EXPECT_EQ(differs[i].text, answer_words(changed, test[i]->after));
  }
  EXPECT_EQ(parse_simulation(simulation_name(Simulation::hint_differs)), Simulation::hint_differs);
  EXPECT_THROW(parse_simulation("neither"), Error);
  Dataset wrong = dataset;
  wrong.task = "patching";
  EXPECT_THROW(simulate_ablation(target, world::tokenizer(), wrong, Simulation::both, Split::test, 0), Error);
}

TEST(TextTask, TrainsAndAnswersWithoutVectors) {
  const TemporaryFolder folder;
  const fs::path base = world::write_model(folder / "base", world::loud_model(world::config(), 1));
  const Dataset dataset = world::ablation_questions(world::loud_model(world::config(), 1), folder.path());
  save_dataset(dataset, folder / "data");
  ExplainerTraining training;
  training.explainer.task = "ablation";
  training.explainer.style.blank_in_brackets = true;
  training.steps = 3;
  training.batch = 4;
  training.learning_rate = 1e-2;
  training.compute = "fp32";
  const TrainedExplainer trained =
      train_explainer(base, dataset, folder / "data", training, folder / "made", [](const TrainingProgress&) {});
  EXPECT_EQ(trained.steps, 3);
  EXPECT_GT(trained.answer_tokens, 0);
  AnswerOptions options;
  options.max_new_tokens = 4;
  const std::vector<Answer> answers = answer_questions(open_explainer(folder / "made"), dataset, options);
  EXPECT_EQ(answers.size(), dataset.of(Split::test).size());

  // learning only some of the examples is another training
  training.only = {{"wording", {"friend"}}};
  const TrainedExplainer part =
      train_explainer(base, dataset, folder / "data", training, folder / "part", [](const TrainingProgress&) {});
  EXPECT_NE(part.validation_loss, trained.validation_loss);
  training.only = {{"wording", {"nobody"}}};
  EXPECT_THROW(
      train_explainer(base, dataset, folder / "data", training, folder / "none", [](const TrainingProgress&) {}),
      Error);
}

TEST(TextTask, TheQuestionIsThePapersInTheChatsOwnForm) {
  const Tokenizer tokenizer = [] {
    const BpeTrainer trainer = world::trained_bpe();
    Json config = parse_json(trainer.config_json(), "config");
    config["chat_template"] =
        "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}{% if add_generation_prompt %}[assistant: "
        "{% endif %}";
    return Tokenizer::from_json(trainer.tokenizer_json(), config.dump());
  }();
  Example example;
  example.id = "x";
  example.input = "Question: the capital\nHint: Rome";
  example.token = "Hint: Rome";
  example.answer = answer_words(true, "Answer: Paris");
  QuestionStyle style;
  style.chat = true;
  style.system = "Choose.";
  const Question question = make_question(tokenizer, SlotTokens{}, style, example, 0);
  EXPECT_EQ(tokenizer.decode(question.tokens),
            "[system: Choose.][user: Question: the capital\nHint: Rome\n\nIf the hint were removed how would the "
            "assistant answer change?][assistant: ");
  // begun with the target's own cue
  style.prefill = "Answer:";
  EXPECT_TRUE(tokenizer.decode(make_question(tokenizer, SlotTokens{}, style, example, 0).tokens)
                  .ends_with("change?][assistant: Answer:"));
  style.prefill.clear();
  style.templates = {"Without \"{removed}\"? {input}"};
  EXPECT_NE(tokenizer.decode(make_question(tokenizer, SlotTokens{}, style, example, 0).tokens)
                .find("Without \"Hint: Rome\"? Question"),
            std::string::npos);
  style.templates = {"{s}{v}{e} {input}"};
  EXPECT_THROW(make_question(tokenizer, SlotTokens{}, style, example, 0), Error);
}

}  // namespace
}  // namespace introspect
