// Training an explainer: it learns from the vectors, stopped and gone on with it ends in the same bytes.
#include "explainer/train.h"

#include "base/temporary_folder.h"
#include "explainer/answer.h"
#include "explainer/batch.h"
#include "explainer/small_questions.h"

namespace introspect {
namespace {

using world::difference;
using world::explainer_config;

class TrainExplainer : public testing::Test {
 protected:
  TemporaryFolder folder_;
  Dataset dataset_ = world::questions();
  fs::path base_ = folder_ / "base", data_ = folder_ / "data";
  std::vector<TrainingProgress> seen_;

  void SetUp() override {
    world::write_model(base_, create_model(world::config(), 1));
    save_dataset(dataset_, data_);
    world::write_facts(folder_ / "facts");
  }
  static ExplainerTraining training(int64_t steps) {
    ExplainerTraining t;
    t.explainer = explainer_config();
    t.steps = steps;
    t.batch = 8;
    t.learning_rate = 5e-3;
    t.muon_rate = 0.02;
    t.weight_decay = 0;
    t.compute = "fp32";
    return t;
  }
  ExplainerTraining with_replay(int64_t steps) const {
    ExplainerTraining t = training(steps);
    t.replay_share = 0.3;
    t.replay_text = Json::array({{{"kind", "statements"}, {"facts", "facts"}, {"object_weight", 3}}});
    t.replay_base = folder_.path();
    t.validate_every = 2;
    t.schedule = "cosine";
    t.warm_up = 2;
    return t;
  }
  TrainedExplainer run(const ExplainerTraining& t, const std::string& out, int64_t stop_after = -1) {
    seen_.clear();
    return train_explainer(base_, dataset_, data_, t, folder_ / out, [&](const TrainingProgress& progress) {
      seen_.push_back(progress);
      if (progress.step == stop_after) throw std::runtime_error("killed");
    });
  }
  std::string bytes(const std::string& out, const std::string& name = "model.safetensors") const {
    return read_text(folder_ / out / name);
  }
  // The loss over the validation split as an outsider computes it.
  double validation_loss(const Explainer& explainer, const Dataset& dataset) const {
    c10::NoGradGuard guard;
    const auto examples = dataset.of(Split::validation);
    std::vector<Question> questions;
    for (const Example* example : examples) {
      questions.push_back(make_question(explainer.tokenizer, explainer.slot, explainer.config.style, *example, 0));
    }
    const at::Tensor vectors = condition_vectors(dataset, examples, VectorCondition::real, 1);
    return batch_loss(explainer, make_batch(explainer, questions, vectors, {}), {}).answers;
  }
  // How many of a split's answers are right to the letter.
  static int64_t right(const Explainer& explainer, const Dataset& dataset, VectorCondition vectors) {
    AnswerOptions options;
    options.split = Split::train;
    options.vectors = vectors;
    options.max_new_tokens = 40;
    const auto answers = answer_questions(explainer, dataset, options);
    const auto examples = dataset.of(Split::train);
    int64_t count = 0;
    for (size_t i = 0; i < answers.size(); ++i) count += answers[i].text == examples[i]->answer;
    return count;
  }
};

TEST_F(TrainExplainer, LearnsWhatOnlyTheVectorsTell) {
  const auto result = run(training(200), "a");
  EXPECT_EQ(result.steps, 200);
  EXPECT_FALSE(result.was_complete);
  ASSERT_EQ(seen_.size(), 200u);
  EXPECT_NEAR(seen_.front().loss, std::log(static_cast<double>(world::tokenizer().vocab_size())), 0.5);
  EXPECT_LT(seen_.back().loss, 0.1 * seen_.front().loss);
  ASSERT_TRUE(seen_.back().validation_loss.has_value());
  EXPECT_EQ(*seen_.back().validation_loss, result.validation_loss);

  const Explainer explainer = open_explainer(folder_ / "a");
  EXPECT_NEAR(validation_loss(explainer, dataset_), result.validation_loss, 1e-4);
  const int64_t real = right(explainer, dataset_, VectorCondition::real);
  const int64_t zero = right(explainer, dataset_, VectorCondition::zero);
  const int64_t shuffled = right(explainer, dataset_, VectorCondition::shuffled);
  std::printf("right of 24: %lld, with zero vectors %lld, with shuffled ones %lld\n", static_cast<long long>(real),
              static_cast<long long>(zero), static_cast<long long>(shuffled));
  EXPECT_GE(real, 20);
  EXPECT_LE(zero, 16);
  EXPECT_LE(shuffled, 16);
  EXPECT_FALSE(fs::exists(folder_ / "a/checkpoint"));
  EXPECT_EQ(read_json(folder_ / "a/run.json")["status"], "complete");
  EXPECT_GT(result.answer_tokens, 200 * 8 * 10);
}

TEST_F(TrainExplainer, LearnsTheWrongLabelsThatItIsTaught) {
  ExplainerTraining t = training(200);
  t.label_noise = LabelNoise{1, NoiseKind::systematic, 1, {}};
  run(t, "wrong");
  EXPECT_EQ(read_json(folder_ / "wrong/run.json")["settings"]["label_noise"], noise_to_json(*t.label_noise));
  const Explainer explainer = open_explainer(folder_ / "wrong");
  const Dataset taught = taught_dataset(dataset_, t);
  EXPECT_GE(right(explainer, taught, VectorCondition::real), 18);
  EXPECT_LE(right(explainer, dataset_, VectorCondition::real), 6);
  EXPECT_TRUE(holds(
      error_of([] {
        parse_training(
            parse_json(R"({"label_noise": {"share": 0.1, "kind": "random"}, "self_consistency": true})", "t"), "t", {});
      }),
      "label_noise with self_consistency"));
}

TEST_F(TrainExplainer, WrongLayersAreAnotherTraining) {
  ExplainerTraining t = training(6);
  run(t, "told");
  t.layers = LayerCondition::random;
  run(t, "misled");
  EXPECT_NE(bytes("told"), bytes("misled"));
  EXPECT_EQ(read_json(folder_ / "misled/run.json")["settings"]["layers"], "random");
}

TEST_F(TrainExplainer, ActivationCheckpointingEndsInTheSameBytes) {
  ExplainerTraining t = training(6);
  t.method = TrainMethod::lora;
  t.muon_rate = 0;
  t.lora.rank = 4;
  t.lora.dropout = 0.1;
  t.validate_every = 3;
  const std::string adapter = "adapter_model.safetensors";
  run(t, "kept");
  t.activation_checkpointing = true;
  run(t, "twice");
  EXPECT_EQ(bytes("kept", adapter), bytes("twice", adapter));
  EXPECT_TRUE(training_to_json(t)["activation_checkpointing"].get<bool>());
  // on narrower weights, which the adapter remembers
  for (const char* weights : {"bf16", "int8"}) {
    t.weights = weights;
    run(t, weights);
    EXPECT_EQ(read_json(folder_ / weights / "explainer.json")["weights"], weights);
    const Explainer explainer = open_explainer(folder_ / weights);
    EXPECT_EQ(explainer.model.embedding.scalar_type(), at::kBFloat16);
    EXPECT_EQ(explainer.model.blocks[0].up.scale.defined(), t.weights == "int8");
    EXPECT_LT(seen_.back().loss, seen_.front().loss);
  }
  const auto parsed = [](const char* table) { return parse_training(parse_json(table, "t"), "t", {}); };
  EXPECT_TRUE(parsed(R"({"activation_checkpointing": true})").activation_checkpointing);
  EXPECT_TRUE(holds(error_of([&] { parsed(R"({"weights": "int8"})"); }), "method = \"full\""));
  EXPECT_TRUE(holds(error_of([&] { parsed(R"({"method": "lora", "weights": "int4"})"); }), "'int4'"));
}

TEST_F(TrainExplainer, KilledBetweenCheckpointsItEndsInTheSameBytes) {
  ExplainerTraining t = with_replay(12);
  t.checkpoint_every = 3;
  const auto whole = run(t, "whole");
  const auto losses = seen_;
  EXPECT_THROW(run(t, "killed", 8), std::runtime_error);
  EXPECT_FALSE(fs::exists(folder_ / "killed/model.safetensors"));
  EXPECT_THROW(run(t, "killed", 10), std::runtime_error);
  EXPECT_EQ(seen_.front().step, 7) << "it goes on from the checkpoint of step 6";
  const auto resumed = run(t, "killed");
  EXPECT_EQ(seen_.front().step, 10);
  EXPECT_EQ(seen_.back().loss, losses.back().loss);
  EXPECT_EQ(bytes("killed"), bytes("whole"));
  EXPECT_EQ(resumed.validation_loss, whole.validation_loss);
  EXPECT_EQ(resumed.answer_tokens, whole.answer_tokens);
  EXPECT_EQ(bytes("killed", "explainer.json"), bytes("whole", "explainer.json"));
}

TEST_F(TrainExplainer, InterruptedAtEveryStepItEndsInTheSameBytes) {
  const ExplainerTraining t = with_replay(5);
  run(t, "whole");
  for (int attempt = 0; attempt < 4; ++attempt) {
    ASSERT_EQ(world::in_child([&] {
                std::raise(SIGTERM);
                run(t, "parts");
              }),
              130)
        << attempt;
    EXPECT_FALSE(fs::exists(folder_ / "parts/model.safetensors"));
  }
  run(t, "parts");
  EXPECT_EQ(seen_.size(), 1u);
  EXPECT_EQ(bytes("parts"), bytes("whole"));
}

TEST_F(TrainExplainer, ACompleteFolderIsLeftAloneAndOtherSettingsAreAnError) {
  run(training(4), "a");
  const auto time = fs::last_write_time(folder_ / "a/model.safetensors");
  const std::string record = bytes("a", "run.json");
  EXPECT_TRUE(run(training(4), "a").was_complete);
  EXPECT_TRUE(seen_.empty());
  EXPECT_EQ(fs::last_write_time(folder_ / "a/model.safetensors"), time);
  EXPECT_EQ(bytes("a", "run.json"), record);
  EXPECT_TRUE(holds(error_of([&] { run(training(5), "a"); }), "'steps' was 4, now it is 5"));
  dataset_.examples[0].answer = answer_words(true, "Riga");
  save_dataset(dataset_, data_);
  EXPECT_TRUE(holds(error_of([&] { run(training(4), "a"); }), "inputs"));
}

TEST_F(TrainExplainer, SeedsDecide) {
  ExplainerTraining t = training(3);
  run(t, "a");
  run(t, "b");
  t.seed = 2;
  run(t, "c");
  EXPECT_EQ(bytes("a"), bytes("b"));
  EXPECT_NE(bytes("a"), bytes("c"));
}

TEST_F(TrainExplainer, LoraWritesAnAdapter) {
  ExplainerTraining t = training(8);
  t.method = TrainMethod::lora;
  t.muon_rate = 0;
  t.learning_rate = 2e-2;
  t.lora.rank = 4;
  t.lora.alpha = 8;
  t.lora.dropout = 0.1;
  t.checkpoint_every = 3;
  const auto result = run(t, "whole");
  EXPECT_LT(seen_.back().loss, seen_.front().loss);
  EXPECT_TRUE(fs::exists(folder_ / "whole/adapter_config.json"));
  EXPECT_FALSE(fs::exists(folder_ / "whole/model.safetensors"));
  const Explainer read = open_explainer(folder_ / "whole");
  EXPECT_NEAR(validation_loss(read, dataset_), result.validation_loss, 1e-4);
  EXPECT_GT(std::abs(validation_loss(open_base(base_, t.explainer), dataset_) - result.validation_loss), 0.05);
  // dropout's masks are drawn by the step, so that a resume draws the same
  EXPECT_THROW(run(t, "killed", 5), std::runtime_error);
  run(t, "killed");
  EXPECT_EQ(seen_.front().step, 4);
  EXPECT_EQ(bytes("killed", "adapter_model.safetensors"), bytes("whole", "adapter_model.safetensors"));
}

TEST_F(TrainExplainer, ProjectionsAreTrainedAndKept) {
  dataset_ = world::questions(20);
  save_dataset(dataset_, data_);
  ExplainerTraining t = training(6);
  EXPECT_TRUE(holds(error_of([&] { run(t, "none"); }), "width 20 for an explainer of width 32"));
  t.explainer.injection.projection = ProjectionKind::random;
  run(t, "a");
  const Explainer trained = open_explainer(folder_ / "a");
  const Projections start = make_projections(ProjectionKind::random, {1, 3}, 20, 32, t.seed);
  ASSERT_EQ(trained.projections.size(), 2u);
  for (const auto& [layer, map] : start) EXPECT_GT(difference(trained.projections.at(layer), map), 1e-3);
  EXPECT_NEAR(validation_loss(trained, dataset_), *seen_.back().validation_loss, 1e-4);

  t.explainer.injection.train_projection = false;
  run(t, "fixed");
  const Explainer fixed = open_explainer(folder_ / "fixed");
  for (const auto& [layer, map] : start) EXPECT_TRUE(at::equal(fixed.projections.at(layer), map));

  t.explainer.injection.projection = ProjectionKind::identity;
  EXPECT_TRUE(holds(error_of([&] { run(t, "identity"); }), "width 20 to 32"));
  t.explainer.injection.projection = ProjectionKind::least_squares;
  EXPECT_TRUE(holds(error_of([&] { run(t, "fitted"); }), "fitted projections are wanted"));

  // a checkpoint holds them too
  t = training(6);
  t.explainer.injection.projection = ProjectionKind::random;
  t.checkpoint_every = 2;
  run(t, "whole");
  EXPECT_THROW(run(t, "killed", 5), std::runtime_error);
  run(t, "killed");
  EXPECT_EQ(bytes("killed", "projections.safetensors"), bytes("whole", "projections.safetensors"));
  EXPECT_EQ(bytes("killed"), bytes("whole"));
}

TEST_F(TrainExplainer, TrainedOnZeroVectorsItNeverSawThem) {
  ExplainerTraining t = training(5);
  t.vectors = VectorCondition::zero;
  run(t, "a");
  Dataset other = world::questions(32, 99);
  save_dataset(other, folder_ / "other");
  train_explainer(base_, other, folder_ / "other", t, folder_ / "b", [](const TrainingProgress&) {});
  EXPECT_EQ(bytes("a"), bytes("b"));
  t.vectors = VectorCondition::real;
  run(t, "c");
  EXPECT_NE(bytes("a"), bytes("c"));
}

TEST_F(TrainExplainer, ReplayIsReadAndItsShareMatters) {
  run(with_replay(4), "a");
  ExplainerTraining t = with_replay(4);
  t.replay_share = 0;
  run(t, "b");
  EXPECT_NE(bytes("a"), bytes("b"));
}

TEST_F(TrainExplainer, StopsEarlyAndKeepsTheBest) {
  ExplainerTraining t = training(400);
  t.learning_rate = 0.1;  // wild: it soon gets worse
  t.muon_rate = 0;
  t.validate_every = 1;
  t.patience = 3;
  const auto result = run(t, "a");
  EXPECT_LT(result.steps, 400);
  double best = 1e30;
  size_t since = 0;
  for (const TrainingProgress& progress : seen_) {
    ASSERT_TRUE(progress.validation_loss.has_value());
    since = *progress.validation_loss < best ? 0 : since + 1;
    best = std::min(best, *progress.validation_loss);
  }
  EXPECT_EQ(since, 3u);
  EXPECT_EQ(result.validation_loss, best);
  EXPECT_NEAR(validation_loss(open_explainer(folder_ / "a"), dataset_), best, 1e-3);
}

TEST_F(TrainExplainer, LongerThanItsPositionsIsAnError) {
  ExplainerTraining t = training(2);
  int64_t longest = 0, steps = 0;
  const SlotTokens slot = find_slot_tokens(world::tokenizer());
  for (const Example& example : dataset_.examples) {
    const Question question = make_question(world::tokenizer(), slot, t.explainer.style, example, 0);
    longest = std::max(longest, std::ssize(question.tokens) + std::ssize(question.answer));
  }
  const auto train = [&](int64_t positions, const std::string& out) {
    const fs::path base = folder_ / ("narrow" + std::to_string(positions));
    world::write_model(base, create_model(world::config(positions), 1));
    train_explainer(base, dataset_, data_, t, folder_ / out, [&](const TrainingProgress&) { ++steps; });
  };
  train(longest, "fits");
  EXPECT_EQ(steps, 2);
  const std::string text = error_of([&] { train(longest - 1, "a"); });
  EXPECT_TRUE(holds(text, "example 'patching-"));
  EXPECT_TRUE(holds(text, fmt::format("{} tokens, the explainer has {} positions", longest, longest - 1)));
  EXPECT_FALSE(fs::exists(folder_ / "a/model.safetensors"));
  // a template that is too long is found at the start, whenever its turn would be
  t.explainer.style.templates.push_back(t.explainer.style.templates[0] + "{input} {input}");
  EXPECT_TRUE(holds(error_of([&] { train(longest, "b"); }), "positions"));
  EXPECT_EQ(steps, 2);
}

TEST_F(TrainExplainer, OtherErrors) {
  Model broken = create_model(world::config(), 1);
  broken.final_norm.fill_(std::nan(""));
  world::write_model(folder_ / "broken", broken);
  EXPECT_TRUE(holds(error_of([&] {
                      train_explainer(folder_ / "broken", dataset_, data_, training(4), folder_ / "nan",
                                      [](const TrainingProgress&) {});
                    }),
                    "lower the learning rate"));
  EXPECT_FALSE(fs::exists(folder_ / "nan/model.safetensors"));
  ExplainerTraining t = training(2);
  t.explainer.injection.layer = 7;
  EXPECT_NE(error_of([&] { run(t, "layer"); }), "");
  for (Example& example : dataset_.examples) example.split = Split::test;
  save_dataset(dataset_, data_);
  EXPECT_TRUE(holds(error_of([&] { run(training(2), "empty"); }), "no examples to train on"));
}

TEST(TrainingSettings, ThroughATable) {
  ExplainerTraining t;
  t.explainer = explainer_config();
  t.method = TrainMethod::lora;
  t.lora.rank = 3;
  t.lora.targets = {"q_proj"};
  t.vectors = VectorCondition::zero;
  t.replay_share = 0.25;
  t.replay_text = Json::array({{{"kind", "statements"}, {"facts", "facts"}}});
  t.patience = 2;
  const Json table = training_to_json(t);
  const ExplainerTraining read = parse_training(table, "x.toml", "/somewhere");
  EXPECT_EQ(training_to_json(read), table);
  EXPECT_EQ(read.replay_base, "/somewhere");
}

TEST(TrainingSettings, Errors) {
  const auto parse = [](const Json& table) { return error_of([&] { parse_training(table, "x.toml", "."); }); };
  EXPECT_TRUE(holds(parse({{"learnrate", 1}}), "unknown key 'learnrate'"));
  EXPECT_TRUE(holds(parse({{"lora", {{"r", 4}}}}), "unknown key 'lora.r'"));
  EXPECT_TRUE(holds(parse({{"explainer", {{"template", {"x"}}}}}), "unknown key 'explainer.template'"));
  EXPECT_TRUE(holds(parse({{"explainer", {{"injection", {{"scal", 1}}}}}}), "unknown key 'injection.scal'"));
  EXPECT_TRUE(holds(parse({{"method", "prefix"}}), "'prefix', expected full, lora or frozen"));
  EXPECT_TRUE(holds(parse({{"batch", 0}}), "batch"));
  EXPECT_TRUE(holds(parse({{"learning_rate", -1}}), "learning_rate"));
  EXPECT_TRUE(holds(parse({{"replay_share", 0.97}}), "replay_share"));
  EXPECT_TRUE(holds(parse({{"replay_share", 0.2}}), "replay_share without replay_text"));
  EXPECT_TRUE(holds(parse({{"replay_text", Json::array({{{"kind", "poems"}}})}}), "'poems'"));
  EXPECT_TRUE(holds(parse({{"vectors", "noise"}}), "'noise'"));
  EXPECT_TRUE(holds(parse({{"steps", "many"}}), "steps"));
}

}  // namespace
}  // namespace introspect
