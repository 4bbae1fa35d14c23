// One explainer that learns several data sets at once.
#include "base/temporary_folder.h"
#include "explainer/answer.h"
#include "explainer/batch.h"
#include "explainer/lessons.h"
#include "explainer/simulation.h"
#include "explainer/small_ablation.h"
#include "explainer/small_questions.h"
#include "explainer/train.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

class JointTraining : public testing::Test {
 protected:
  TemporaryFolder folder_;
  fs::path base_ = folder_ / "base";
  Dataset patches_ = world::questions(), hints_;

  void SetUp() override {
    const Model model = world::loud_model(world::config(), 1);
    world::write_model(base_, model);
    hints_ = world::ablation_questions(model, folder_.path());
    save_dataset(patches_, folder_ / "patches");
    save_dataset(hints_, folder_ / "hints");
  }
  static ExplainerTraining training(const std::string& task) {
    ExplainerTraining t;
    if (task == "patching") t.explainer = world::explainer_config();
    t.explainer.task = task;
    t.explainer.style.blank_in_brackets = true;
    t.steps = 8;
    t.batch = 8;
    t.learning_rate = 5e-3;
    t.weight_decay = 0;
    t.compute = "fp32";
    t.validate_every = 4;
    t.checkpoint_every = 3;
    return t;
  }
  std::vector<Lesson> lessons(double weight = 1) const {
    return {{folder_ / "hints", &hints_, training("ablation"), 1},
            {folder_ / "patches", &patches_, training("patching"), weight}};
  }
  TrainedExplainer run(const std::vector<Lesson>& lessons, const std::string& out, int64_t stop_after = -1) {
    return train_explainer(base_, lessons, training("ablation"), folder_ / out, [&](const TrainingProgress& p) {
      if (p.step == stop_after) throw std::runtime_error("killed");
    });
  }
  std::string bytes(const std::string& path) const { return read_text(folder_ / path); }
};

TEST_F(JointTraining, KeepsHowItIsAskedAboutEachTask) {
  const TrainedExplainer trained = run(lessons(), "joint");
  EXPECT_EQ(trained.steps, 8);
  Explainer explainer = open_explainer(folder_ / "joint");
  EXPECT_EQ(explainer.tasks(), 2u);
  EXPECT_EQ(explainer.config.task, "ablation");
  explainer.ask_about("patching");
  EXPECT_EQ(explainer.config.style.templates, world::explainer_config().style.templates);
  EXPECT_EQ(explainer.config.injection.policy, world::explainer_config().injection.policy);
  AnswerOptions options;
  options.max_new_tokens = 4;
  EXPECT_EQ(answer_questions(explainer, patches_, options).size(), patches_.of(Split::test).size());
  explainer.ask_about("ablation");
  EXPECT_EQ(answer_questions(explainer, hints_, options).size(), hints_.of(Split::test).size());
  EXPECT_TRUE(holds(error_of([&] { explainer.ask_about("features"); }), "not trained on the task features"));

  const Json record = read_json(folder_ / "joint/run.json");
  EXPECT_EQ(record["settings"]["lessons"].size(), 2u);
  EXPECT_EQ(record["inputs"][1]["name"], "dataset");
  EXPECT_EQ(record["inputs"][2]["name"], "dataset 2");
  // each task's own loss is in the log, their mean is what is kept
  const std::string log = bytes("joint/log.jsonl");
  const Json line = parse_json(log.substr(0, log.find('\n')), "log");
  ASSERT_EQ(line["validation_losses"].size(), 2u);
  EXPECT_NEAR(line["validation_loss"].get<double>(),
              (line["validation_losses"][0].get<double>() + line["validation_losses"][1].get<double>()) / 2, 1e-9);
}

TEST_F(JointTraining, KilledItEndsInTheSameBytes) {
  run(lessons(), "whole");
  EXPECT_THROW(run(lessons(), "killed", 7), std::runtime_error);
  run(lessons(), "killed");
  EXPECT_EQ(bytes("killed/model.safetensors"), bytes("whole/model.safetensors"));
  EXPECT_EQ(bytes("killed/explainer.json"), bytes("whole/explainer.json"));
}

TEST_F(JointTraining, WeightsAreShares) {
  Explainer explainer = open_base(base_, training("patching").explainer, {}, {training("ablation").explainer});
  const std::vector<Learnt> learnt = prepare_lessons(explainer, lessons(3), 1);
  const LearningPlan plan = plan_steps(learnt, 200, 8, 1);
  int64_t second = 0;
  std::vector<std::vector<int64_t>> times(2);
  for (size_t i = 0; i < 2; ++i) times[i].resize(learnt[i].train.size());
  for (const auto& step : plan) {
    ASSERT_EQ(step.size(), 8u);
    for (const auto& [lesson, index] : step) {
      second += lesson == 1;
      ++times[lesson].at(index);
    }
  }
  EXPECT_NEAR(static_cast<double>(second) / 1600, 0.75, 0.05);
  for (const auto& of_lesson : times) {  // one order after another
    const auto [least, most] = std::minmax_element(of_lesson.begin(), of_lesson.end());
    EXPECT_LE(*most - *least, 1);
  }
  EXPECT_EQ(plan_steps(learnt, 200, 8, 1), plan);
  EXPECT_NE(plan_steps(learnt, 200, 8, 2), plan);
}

// The loss of a mixed batch is the mean over all its answer tokens, each question asked and injected as its task wants.
TEST_F(JointTraining, TheLossIsTheMeanOverAnswerTokens) {
  const Explainer explainer = open_base(base_, training("patching").explainer, {}, {training("ablation").explainer});
  const std::vector<Learnt> learnt = prepare_lessons(explainer, lessons(), 1);
  const Question hint = question_for_step(explainer, learnt[0], *learnt[0].train[0], 1, 0),
                 patch = question_for_step(explainer, learnt[1], *learnt[1].train[0], 1, 0);
  EXPECT_EQ(hint.task, 1u);
  EXPECT_EQ(patch.task, 0u);
  const at::Tensor vector = learnt[1].train_vectors.slice(0, 0, 1);
  c10::NoGradGuard guard;
  const double alone = batch_loss(explainer, make_batch(explainer, {hint}, {}, {}), {}).answers,
               other = batch_loss(explainer, make_batch(explainer, {patch}, vector, {}), {}).answers;
  const at::Tensor both = at::cat({at::zeros_like(vector), vector});
  const double mixed = batch_loss(explainer, make_batch(explainer, {hint, patch}, both, {}), {}).answers;
  const auto a = static_cast<double>(hint.answer.size()), b = static_cast<double>(patch.answer.size());
  EXPECT_NEAR(mixed, (a * alone + b * other) / (a + b), 1e-4);
}

TEST_F(JointTraining, Errors) {
  std::vector<Lesson> twice = {lessons()[1], lessons()[1]};
  twice[1].training.explainer.style.templates = {"{s}{v}{e} otherwise {input}"};
  EXPECT_TRUE(holds(error_of([&] { run(twice, "a"); }), "patching are asked differently"));
  const Dataset wide = world::questions(20);
  save_dataset(wide, folder_ / "wide");
  twice = {lessons()[1], {folder_ / "wide", &wide, training("patching"), 1}};
  EXPECT_TRUE(holds(error_of([&] { run(twice, "b"); }), "widths 32 and 20"));
  Dataset empty = hints_;
  for (Example& example : empty.examples) example.split = Split::test;
  save_dataset(empty, folder_ / "empty");
  EXPECT_TRUE(holds(error_of([&] {
                      run({lessons()[1], {folder_ / "empty", &empty, training("ablation"), 1}}, "c");
                    }),
                    "no examples to train on"));
}

}  // namespace
}  // namespace introspect
