// An explainer that is its own target: how far it moves, and labels that move with it.
#include "explainer/self_consistency.h"

#include "base/temporary_folder.h"
#include "explainer/simulation.h"
#include "explainer/small_ablation.h"
#include "explainer/small_questions.h"
#include "explainer/train.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

class SelfConsistent : public testing::Test {
 protected:
  TemporaryFolder folder_;
  fs::path base_ = folder_ / "base";
  Dataset hints_;

  void SetUp() override {
    world::write_model(base_, world::loud_model(world::config(), 1));
    hints_ = world::ablation_questions(load_model(base_), folder_.path());
    save_dataset(hints_, folder_ / "hints");
  }
  static ExplainerTraining training(bool relabel = true) {
    ExplainerTraining t;
    t.explainer.task = "ablation";
    t.explainer.style.blank_in_brackets = true;
    t.steps = 12;
    t.batch = 4;
    t.learning_rate = 2e-2;
    t.compute = "fp32";
    t.validate_every = 6;
    t.checkpoint_every = 5;
    t.self_consistency = SelfConsistency{4, relabel, 16};
    return t;
  }
  TrainedExplainer run(const ExplainerTraining& t, const std::string& out, int64_t stop_after = -1) {
    return train_explainer(base_, hints_, folder_ / "hints", t, folder_ / out, [&](const TrainingProgress& p) {
      if (p.step == stop_after) throw std::runtime_error("killed");
    });
  }
  std::string bytes(const std::string& path) const { return read_text(folder_ / path); }
};

TEST_F(SelfConsistent, DriftIsMeasuredAndRecorded) {
  const TrainedExplainer trained = run(training(), "a");
  ASSERT_EQ(trained.drift.size(), 4u);  // at the start, at 4, at 8, of the weights kept
  EXPECT_EQ(trained.drift[0].step, 0);
  EXPECT_EQ(trained.drift[0].labels_changed, 0);
  EXPECT_NEAR(trained.drift[0].kl, 0, 1e-5);
  EXPECT_GT(trained.drift[0].prompts, 0);
  EXPECT_EQ(trained.drift[1].step, 4);
  EXPECT_GT(trained.drift[2].kl, 1e-3) << "a model that learns moves";
  for (const Drift& each : trained.drift) {
    for (const double share : {each.labels_changed, each.right_without, each.wrong_followed}) {
      EXPECT_GE(share, 0);
      EXPECT_LE(share, 1);
    }
    EXPECT_EQ(drift_to_json(parse_drift(drift_to_json(each), "x")), drift_to_json(each));
  }
  // as an outsider measures the weights that were kept
  const Explainer explainer = open_explainer(folder_ / "a");
  std::vector<const Example*> watched = hints_.of(Split::validation);
  if (watched.empty()) watched = hints_.of(Split::train);
  if (watched.size() > 16) watched.resize(16);
  const std::vector<OwnAnswers> own = own_answers(explainer.model, explainer.tokenizer, hints_, watched);
  int64_t changed = 0;
  for (size_t i = 0; i < own.size(); ++i) changed += with_own_answers(*watched[i], own[i]).answer != watched[i]->answer;
  EXPECT_NEAR(trained.drift.back().labels_changed,
              static_cast<double>(changed) / static_cast<double>(trained.drift.back().prompts), 1e-9);
  EXPECT_EQ(read_json(folder_ / "a/run.json")["results"]["drift"].size(), 4u);
  EXPECT_TRUE(holds(bytes("a/log.jsonl"), "kl_from_start"));
  EXPECT_EQ(run(training(), "a").drift.size(), 4u) << "a complete one tells it again";
}

TEST_F(SelfConsistent, LabelsMoveOnlyWhereTheyAreToMove) {
  ExplainerTraining plain = training();
  plain.self_consistency.reset();
  run(plain, "plain");
  run(training(false), "watched");
  run(training(true), "moving");
  EXPECT_EQ(bytes("watched/model.safetensors"), bytes("plain/model.safetensors")) << "measuring changes nothing";
  EXPECT_NE(bytes("moving/model.safetensors"), bytes("plain/model.safetensors"));
}

TEST_F(SelfConsistent, KilledItEndsInTheSameBytes) {
  run(training(), "whole");
  EXPECT_THROW(run(training(), "killed", 11), std::runtime_error);
  run(training(), "killed");
  EXPECT_EQ(bytes("killed/model.safetensors"), bytes("whole/model.safetensors"));
  EXPECT_EQ(read_json(folder_ / "killed/run.json")["results"]["drift"],
            read_json(folder_ / "whole/run.json")["results"]["drift"]);
}

TEST_F(SelfConsistent, Errors) {
  world::write_model(base_, world::loud_model(world::config(), 2));
  EXPECT_TRUE(holds(error_of([&] { run(training(), "other"); }), "the explainer is not the target"));
  EXPECT_NO_THROW(run(training(false), "watched"));
  const Dataset patches = world::questions();
  save_dataset(patches, folder_ / "patches");
  ExplainerTraining t = training();
  t.explainer = world::explainer_config();
  EXPECT_TRUE(holds(error_of([&] {
                      train_explainer(base_, patches, folder_ / "patches", t, folder_ / "p",
                                      [](const TrainingProgress&) {});
                    }),
                    "input ablation"));
  const auto parse = [](const Json& value) {
    return error_of([&] { parse_training({{"self_consistency", value}}, "x.toml", "."); });
  };
  EXPECT_TRUE(holds(parse({{"often", 3}}), "self_consistency.often"));
  EXPECT_TRUE(holds(parse({{"every", 0}}), "every 0"));
  EXPECT_TRUE(holds(parse(3), "expected true or a table"));
  EXPECT_TRUE(parse_training({{"self_consistency", true}}, "x.toml", ".").self_consistency.has_value());
  EXPECT_FALSE(parse_training({{"self_consistency", false}}, "x.toml", ".").self_consistency.has_value());
}

}  // namespace
}  // namespace introspect
