// Simulators that are language models: the shared prompt changes nothing, published and own layouts, other tokenizers,
// and training that resumes in the same bytes.
#include "feature/language_simulator.h"

#include "base/temporary_folder.h"
#include "feature/planted.h"
#include "feature/simulator_training.h"
#include "model/forward.h"
#include "text/small_tokenizers.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::difference;

LanguageSimulator loud_simulator(SimulatorLayout layout = {}, int64_t positions = 256) {
  return LanguageSimulator(world::loud_model(world::config(positions)), world::tokenizer(), std::move(layout));
}

// Pieces of a text, of different lengths, behind BOS.
at::Tensor pieces(int64_t count, int64_t length, const Tokenizer& tokenizer = world::tokenizer()) {
  const at::Tensor tokens = at::full({count, length}, -1, at::kInt);
  for (int64_t i = 0; i < count; ++i) {
    const auto& [country, capital] = world::capitals()[static_cast<size_t>(i) % world::capitals().size()];
    const auto ids = tokenizer.encode(fmt::format("{}. The capital of {} is {}.", i, country, capital));
    for (int64_t t = 0; t < std::min(length - i % 3, std::ssize(ids)); ++t) {
      tokens[i][t] = ids[static_cast<size_t>(t)];
    }
  }
  return tokens;
}

// One piece after the other, the description read anew for each, logits of the whole vocabulary.
at::Tensor slowly(const LanguageSimulator& simulator, const std::string& description, const at::Tensor& tokens) {
  at::Tensor values = at::zeros(tokens.sizes());
  for (int64_t i = 0; i < tokens.size(0); ++i) {
    std::vector<int64_t> ids = simulator.prompt_ids(description);
    const int64_t begin = std::ssize(ids);
    for (int64_t t = 0; t < tokens.size(1) && tokens[i][t].item<int64_t>() >= 0; ++t) {
      int64_t id = tokens[i][t].item<int64_t>();
      if (simulator.layout.remapped_tokens.contains(id)) id = simulator.layout.remapped_tokens.at(id);
      ids.push_back(id);
    }
    const at::Tensor logits = forward(simulator.model, pack({ids})).logits.slice(0, begin);
    const at::Tensor classes = logits.index_select(1, at::tensor(simulator.layout.class_tokens, at::kLong)).softmax(1);
    for (int64_t t = 0; t < classes.size(0); ++t) {
      double mean = 0;
      for (int64_t value = 0; value < 11; ++value)
        mean += static_cast<double>(value) * classes[t][value].item<double>();
      values[i][t] = mean;
    }
  }
  return values;
}

TEST(LanguageSimulator, OneSharedPromptAndPackedPiecesGiveWhatEachGivesAlone) {
  SimulatorLayout layout;
  layout.class_tokens = {40, 3, 77, 120, 9, 300, 301, 50, 60, 61, 62};
  LanguageSimulator simulator = loud_simulator(layout);
  const at::Tensor tokens = pieces(9, 14);
  const at::Tensor wanted = slowly(simulator, "the capital of Peru", tokens);
  const auto made = simulator.simulate("the capital of Peru", tokens);
  ASSERT_TRUE(made);
  EXPECT_LT(difference(*made, wanted), 2e-3);
  EXPECT_GT((wanted.max() - wanted.min()).item<double>(), 1) << "the values must differ for the test to mean anything";
  simulator.tokens_per_pass = 20;
  EXPECT_LT(difference(*simulator.simulate("the capital of Peru", tokens), *made), 1e-3);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_LT(
        difference(*simulator.simulate("the capital of Peru", tokens.slice(0, i, i + 1)), made->slice(0, i, i + 1)),
        1e-3);
  }
  EXPECT_GT(difference(*simulator.simulate("the capital of Cuba", tokens), *made), 0.01) << "the description is read";
  EXPECT_EQ(simulator.simulate("x", at::empty({0, 5}, at::kInt))->size(0), 0);
}

TEST(LanguageSimulator, SaysWhatItCannotRead) {
  const LanguageSimulator simulator = loud_simulator({}, 64);
  const at::Tensor tokens = pieces(2, 12);
  EXPECT_FALSE(simulator.simulate("", tokens));
  EXPECT_FALSE(simulator.simulate(" \n", tokens));
  std::string endless;
  for (int i = 0; i < 80; ++i) endless += " Lima";
  EXPECT_FALSE(simulator.simulate(endless, tokens)) << "no room for the text behind it";
  EXPECT_THROW(simulator.simulate("x", at::full({1, 70}, 40, at::kInt)), Error);
  EXPECT_THROW(simulator.simulate("x", at::full({1, 4}, 9000, at::kInt)), Error);
  EXPECT_THROW(simulator.simulate("x", at::full({4}, 40, at::kInt)), Error);
  at::Tensor holes = tokens.clone();
  holes[0][3] = -1;
  EXPECT_THROW(simulator.simulate("x", holes), Error);
  LanguageSimulator broken = loud_simulator();
  c10::NoGradGuard guard;
  broken.model.final_norm.fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(broken.simulate("x", tokens), Error);
}

TEST(LanguageSimulator, OpensThePublishedLayout) {
  const TemporaryFolder folder;
  ModelConfig config = world::config(64, 1);
  config.vocab_size = 128261;
  config.d_model = 16;
  config.d_mlp = 16;
  world::write_model(folder / "published", world::loud_model(config));
  const LanguageSimulator simulator = LanguageSimulator::open(folder / "published");
  EXPECT_EQ(simulator.layout.class_tokens, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(simulator.text_ids({128000, 40, 128006, 128007, 128009, 128001}).ids,
            (std::vector<int64_t>{128257, 40, 128258, 128259, 128260, 128001}));
  const std::vector<int64_t> prompt = simulator.prompt_ids("words");
  EXPECT_EQ(prompt.front(), *world::tokenizer().bos());
  EXPECT_EQ(world::tokenizer().decode({prompt.begin() + 1, prompt.end()}),
            "## Neuron Description: words\n\n ## Input: ");
  const at::Tensor tokens = at::tensor({128000, 40, 41, 128009, 42, 128000, 43, 44, 45, -1}, at::kInt).view({2, 5});
  EXPECT_LT(difference(*simulator.simulate("words", tokens), slowly(simulator, "words", tokens)), 2e-3);

  world::write_model(folder / "none", world::loud_model(world::config()));
  EXPECT_TRUE(holds(error_of([&] { LanguageSimulator::open(folder / "none"); }), "no simulator.json"));
}

TEST(LanguageSimulator, BosIsRemappedInFrontOfThePromptToo) {
  SimulatorLayout layout;
  layout.remapped_tokens = {{*world::tokenizer().bos(), 300}};
  EXPECT_EQ(loud_simulator(layout).prompt_ids("x").front(), 300);
  layout.add_bos = false;
  EXPECT_NE(loud_simulator(layout).prompt_ids("x").front(), 300);
}

TEST(LanguageSimulator, SavedAndOpenedItIsTheSame) {
  const TemporaryFolder folder;
  world::write_model(folder / "base", world::loud_model(world::config()));
  SimulatorLayout layout;
  layout.prompt = "Where {description} is: ";
  layout.class_tokens = {40, 3, 77, 120, 9, 300, 301, 50, 60, 61, 62};
  layout.remapped_tokens = {{50, 51}};
  layout.add_bos = false;
  const LanguageSimulator simulator = loud_simulator(layout);
  simulator.save(folder / "made", folder / "base", at::kFloat, {{"extra", 1}});
  const LanguageSimulator opened = LanguageSimulator::open(folder / "made");
  const at::Tensor tokens = pieces(4, 12);
  EXPECT_EQ(difference(*opened.simulate("Rome", tokens), *simulator.simulate("Rome", tokens)), 0);
  EXPECT_EQ(read_json(folder / "made/simulator.json")["extra"], 1);
  EXPECT_EQ(layout_to_json(opened.layout), layout_to_json(layout));
}

TEST(LanguageSimulator, AMalformedLayoutIsAnError) {
  const TemporaryFolder folder;
  world::write_model(folder / "a", world::loud_model(world::config()));
  const Json good = layout_to_json({});
  const auto error_with = [&](const std::string& key, const Json& value) {
    Json json = good;
    if (value.is_null()) {
      json.erase(key);
    } else {
      json[key] = value;
    }
    write_json(folder / "a/simulator.json", json);
    return error_of([&] { LanguageSimulator::open(folder / "a"); });
  };
  EXPECT_TRUE(holds(error_with("prompt", nullptr), "prompt"));
  EXPECT_TRUE(holds(error_with("prompt", 3), "prompt"));
  EXPECT_TRUE(holds(error_with("prompt", "no slot"), "{description}"));
  EXPECT_TRUE(holds(error_with("prompt", "{description} {description}"), "once"));
  EXPECT_TRUE(holds(error_with("class_tokens", nullptr), "class_tokens"));
  EXPECT_TRUE(holds(error_with("class_tokens", Json::array({1, 2})), "expected 11"));
  EXPECT_TRUE(holds(error_with("class_tokens", Json::array({1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})), "different"));
  EXPECT_TRUE(holds(error_with("class_tokens", Json::array({-1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})), "class token -1"));
  EXPECT_TRUE(holds(error_with("class_tokens", Json::array({9999, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})), "9999"));
  EXPECT_TRUE(holds(error_with("remapped_tokens", Json::array({1})), "remapped_tokens"));
  EXPECT_TRUE(holds(error_with("remapped_tokens", {{"x", 3}}), "remapped_tokens"));
  EXPECT_TRUE(holds(error_with("remapped_tokens", {{"3", "x"}}), "remapped_tokens"));
  EXPECT_TRUE(holds(error_with("remapped_tokens", {{"3", 90000}}), "90000"));
  folder.write("a/simulator.json", "[]");
  EXPECT_THROW(LanguageSimulator::open(folder / "a"), Error);
  folder.write("a/simulator.json", "{\"prompt\":");
  EXPECT_THROW(LanguageSimulator::open(folder / "a"), Error);
}

TEST(Retokenise, EveryByteMeetsTheTokensThatHoldIt) {
  const Tokenizer target = opened(byte_level_json(), {{"bos_token", "<|bos|>"}});
  const Tokenizer& simulator = world::tokenizer();
  Random random(5, "retokenise");
  for (int round = 0; round < 300; ++round) {
    std::vector<int64_t> tokens{338};  // BOS
    for (uint64_t i = 0, n = random.below(30); i < n; ++i) tokens.push_back(static_cast<int64_t>(random.below(338)));
    const RetokenisedText text = retokenise(target, simulator, tokens);
    ASSERT_EQ(text.ids.size(), text.overlaps.size());
    ASSERT_EQ(text.ids[0], *simulator.bos());
    ASSERT_EQ(text.overlaps[0], (std::pair<int64_t, int64_t>{0, 0}));
    std::vector<bool> met(tokens.size(), false);
    int64_t from = 1;
    for (size_t k = 1; k < text.ids.size(); ++k) {
      const auto [begin, end] = text.overlaps[k];
      ASSERT_LT(begin, end);
      ASSERT_GE(begin, from);
      ASSERT_LE(end, std::ssize(tokens));
      from = begin;
      for (int64_t i = begin; i < end; ++i) met[static_cast<size_t>(i)] = true;
    }
    for (size_t i = 1; i < tokens.size(); ++i) ASSERT_TRUE(met[i] || target.piece(tokens[i]).empty()) << i;
  }
}

TEST(Retokenise, ATokenTakesTheHighestOfThoseThatShareItsBytes) {
  const Tokenizer target = opened(byte_level_json(), {{"bos_token", "<|bos|>"}});
  LanguageSimulator simulator = loud_simulator();
  const std::string sentence = "The capital of Peru is Lima.";
  const std::vector<int64_t> ids = target.encode(sentence, false), own = world::tokenizer().encode(sentence);
  std::vector<int> row{338};
  row.insert(row.end(), ids.begin(), ids.end());
  const at::Tensor tokens = at::tensor(row, at::kInt).unsqueeze(0);
  const at::Tensor values = *simulator.simulate("Peru", at::tensor(own, at::kInt).unsqueeze(0));
  EXPECT_FALSE(simulator.set_target(world::tokenizer()));
  EXPECT_FALSE(simulator.retokenises());
  ASSERT_TRUE(simulator.set_target(target));
  const at::Tensor made = *simulator.simulate("Peru", tokens);
  ASSERT_EQ(made.sizes(), tokens.sizes());
  EXPECT_EQ(made[0][0].item<float>(), 0);
  const Encoding encoding = world::tokenizer().encode_with_offsets(sentence, false);
  size_t begin = 0;
  for (size_t i = 1; i < row.size(); ++i) {
    const size_t end = begin + target.piece(row[i]).size();
    double most = 0;
    for (size_t k = 0; k < encoding.ids.size(); ++k) {
      if (encoding.offsets[k].first < end && encoding.offsets[k].second > begin) {
        most = std::max(most, values[0][static_cast<int64_t>(k) + 1].item<double>());
      }
    }
    EXPECT_NEAR(made[0][static_cast<int64_t>(i)].item<double>(), most, 1e-3) << i;
    begin = end;
  }
}

// Features (layer, i) of two layers that fire on the name of country i, described by it.
class TrainSimulator : public testing::Test {
 protected:
  static constexpr int64_t kCountries = 6;
  TemporaryFolder folder_;
  std::vector<DescribedFeature> features_;
  std::vector<FeatureId> held_out_;
  std::vector<FineTuningProgress> seen_;

  void SetUp() override {
    world::write_model(folder_ / "base", create_model(world::config(64), 1));
    for (int64_t layer = 0; layer < 3; ++layer) {
      for (int64_t i = 0; i < kCountries; ++i) {
        features_.push_back({layer, i, {{world::capitals()[static_cast<size_t>(i)].first, "word", "test", 1, 1}}});
        if (layer == 1) held_out_.push_back({layer, i});
      }
    }
  }
  static FeatureContexts contexts(int64_t layer, int64_t latent) {
    const Tokenizer& tokenizer = world::tokenizer();
    FeatureContexts made;
    made.layer = layer;
    made.latent = latent;
    const int64_t count = 24, length = 12;
    made.tokens = at::full({count, length}, -1, at::kInt);
    made.activations = at::zeros({count, length});
    Random random(7, fmt::format("contexts {}", latent));
    for (int64_t k = 0; k < count; ++k) {
      const bool fires = k < 8;
      const int64_t country =
          fires ? latent : (latent + 1 + static_cast<int64_t>(random.below(kCountries - 1))) % kCountries;
      made.kinds.push_back(k < 4    ? ContextKind::top
                           : k < 8  ? ContextKind::quantile
                           : k < 16 ? ContextKind::near_miss
                                    : ContextKind::random);
      const std::string& name = world::capitals()[static_cast<size_t>(country)].first;
      const char* fronts[] = {"The capital of ", "", "of is ", "ruled "};
      const auto before = tokenizer.encode(fronts[random.below(4)]), word = tokenizer.encode(" " + name, false);
      int64_t t = 0;
      for (const int64_t id : before) made.tokens[k][t++] = id;
      for (const int64_t id : word) {
        if (fires && t < length) made.activations[k][t] = 3.0;
        if (t < length) made.tokens[k][t++] = id;
      }
    }
    return made;
  }
  static SimulatorTraining training(int64_t steps) {
    SimulatorTraining t;
    t.fine_tuning.steps = steps;
    t.fine_tuning.learning_rate = 5e-3;
    t.fine_tuning.muon_rate = 0.02;
    t.fine_tuning.warm_up = 2;
    t.fine_tuning.validate_every = 3;
    t.fine_tuning.checkpoint_every = 2;
    t.batch = 12;
    t.compute = "fp32";
    t.pieces_of_each_kind = 4;
    return t;
  }
  static SplitSettings split_settings() {
    SplitSettings settings;
    settings.validation_features = 2;
    return settings;
  }
  TrainedSimulator run(const SimulatorTraining& t, const std::string& out, int64_t stop_after = -1,
                       const Tokenizer* target = nullptr) {
    seen_.clear();
    return train_simulator(folder_ / "base", target, split_features(features_, held_out_, contexts, split_settings()),
                           contexts, t, {}, folder_ / out, [&](const FineTuningProgress& progress) {
                             seen_.push_back(progress);
                             if (progress.step == stop_after) throw std::runtime_error("killed");
                           });
  }
  std::string bytes(const std::string& name) const { return read_text(folder_ / name); }
};

TEST_F(TrainSimulator, LearnsToReadTheDescription) {
  SimulatorTraining t = training(250);
  t.fine_tuning.validate_every = 50;
  const TrainedSimulator trained = run(t, "made");
  EXPECT_EQ(trained.steps, 250);
  const SimulatorQuality& q = trained.held_out;
  std::printf("held out: signed %.2f, with another description %.2f; published %.2f, %.2f\n", q.with_sign.mean,
              q.with_sign_shuffled.mean, q.published.mean, q.published_shuffled.mean);
  EXPECT_EQ(q.with_sign.features, kCountries);
  EXPECT_GT(q.with_sign.mean, 0.7);
  EXPECT_LT(q.with_sign_shuffled.mean, 0.3);
  // the folder is what was measured
  const LanguageSimulator simulator = LanguageSimulator::open(folder_ / "made");
  const auto split = split_features(features_, held_out_, contexts, split_settings());
  const SimulatorQuality again = measure_simulator(simulator, split.held_out, contexts, t.pieces_of_each_kind, t.seed);
  EXPECT_NEAR(again.with_sign.mean, q.with_sign.mean, 1e-6);
  EXPECT_NEAR(again.published_shuffled.mean, q.published_shuffled.mean, 1e-6);
  EXPECT_FALSE(fs::exists(folder_ / "made/checkpoint"));
  const auto time = fs::last_write_time(folder_ / "made/model.safetensors");
  const TrainedSimulator complete = run(t, "made");
  EXPECT_TRUE(complete.was_complete);
  EXPECT_EQ(complete.held_out.with_sign.mean, q.with_sign.mean);
  EXPECT_EQ(fs::last_write_time(folder_ / "made/model.safetensors"), time);
}

TEST_F(TrainSimulator, KilledBetweenCheckpointsItEndsInTheSameBytes) {
  const SimulatorTraining t = training(8);
  run(t, "whole");
  EXPECT_THROW(run(t, "killed", 3), std::runtime_error);
  EXPECT_THROW(run(t, "killed", 7), std::runtime_error);
  EXPECT_EQ(seen_.front().step, 3) << "it goes on from the checkpoint of step 2";
  run(t, "killed");
  EXPECT_EQ(seen_.front().step, 7);
  EXPECT_EQ(bytes("killed/model.safetensors"), bytes("whole/model.safetensors"));
  EXPECT_EQ(bytes("killed/simulator.json"), bytes("whole/simulator.json"));
}

TEST_F(TrainSimulator, ReadsTheTextOfAnotherTokenizer) {
  const Tokenizer other = opened(byte_level_json(), {{"bos_token", "<|bos|>"}});
  SimulatorTraining t = training(2);
  EXPECT_GT(run(t, "made", -1, &other).steps, 0);
}

TEST_F(TrainSimulator, RefusesSettingsWithoutSense) {
  SimulatorTraining t = training(1);
  t.shares["nothing"] = 1;
  EXPECT_THROW(check_simulator_training(t), Error);
  t.shares = {{"top", 0.0}};
  EXPECT_THROW(check_simulator_training(t), Error);
  t = training(1);
  t.zero_weight = 0;
  EXPECT_THROW(check_simulator_training(t), Error);
  t = training(0);
  EXPECT_THROW(check_simulator_training(t), Error);
}

TEST_F(TrainSimulator, SplitsByFeature) {
  SplitSettings settings = split_settings();
  features_[0].descriptions[0].text = " ";
  features_[1].descriptions[0].score = -0.5;
  features_[2].descriptions[0].score = std::numeric_limits<double>::quiet_NaN();
  const auto silent = [](int64_t layer, int64_t latent) {
    FeatureContexts made = contexts(layer, latent);
    if (layer == 2 && latent == 4) made.activations.zero_();
    return made;
  };
  held_out_.push_back({9, 9});
  const FeatureSplit split = split_features(features_, held_out_, silent, settings);
  EXPECT_EQ(split.undescribed, 2);
  EXPECT_EQ(split.silent, 1);
  EXPECT_EQ(split.held_out_unknown, 1);
  EXPECT_EQ(split.held_out.size(), 6u);
  EXPECT_EQ(split.validation.size(), 2u);
  EXPECT_EQ(split.train.size(), 18u - 2 - 1 - 6 - 2);
  for (const auto& feature : split.train) EXPECT_NE(feature.layer, 1);
  EXPECT_EQ(split_features(features_, held_out_, nullptr, settings).silent, 0);
  // drawn if none are named; the order of the file decides nothing
  settings.held_out_features = 5;
  const FeatureSplit drawn = split_features(features_, {}, silent, settings);
  EXPECT_EQ(drawn.held_out.size(), 5u);
  std::reverse(features_.begin(), features_.end());
  const FeatureSplit reversed = split_features(features_, {}, silent, settings);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(drawn.held_out[i].latent, reversed.held_out[i].latent);

  settings.validation_features = 100;
  EXPECT_THROW(split_features(features_, held_out_, silent, settings), Error);
  settings.validation_features = 0;
  EXPECT_THROW(split_features(features_, held_out_, silent, settings), Error);
  folder_.write("ids.jsonl", "{\"layer\": 3, \"latent\": 4, \"more\": 1}\n{\"layer\": 1, \"latent\": 2}\n");
  EXPECT_EQ(read_feature_ids(folder_ / "ids.jsonl"), (std::vector<FeatureId>{{3, 4}, {1, 2}}));
  folder_.write("ids.jsonl", "{\"layer\": 3}\n");
  EXPECT_TRUE(holds(error_of([&] { read_feature_ids(folder_ / "ids.jsonl"); }), "ids.jsonl:1"));
}

}  // namespace
}  // namespace introspect
