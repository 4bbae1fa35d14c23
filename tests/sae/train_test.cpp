// Training: a SAE finds the directions that data are made of, dead latents come back, positions are the right ones,
// and an interrupted run ends in the same bytes.
#include "sae/train.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "model/forward.h"
#include "sae/learner.h"
#include "sae/states.h"
#include "train/small_world.h"

#include <map>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

// States that are sums of a few of `directions` [T, D] around a mean that is not 0.
at::Tensor sparse_states(const at::Tensor& directions, int64_t positions, uint64_t seed, double scale = 1) {
  Random random(seed, "states");
  const int64_t total = directions.size(0);
  at::Tensor weights = at::zeros({positions, total});
  for (int64_t n = 0; n < positions; ++n) {
    for (int i = 0; i < 3; ++i) {
      const auto j = static_cast<int64_t>(random.below(static_cast<uint64_t>(total)));
      weights.data_ptr<float>()[n * total + j] = static_cast<float>(1 + random.uniform());
    }
  }
  return (at::matmul(weights, directions) + 0.7) * scale;
}

at::Tensor true_directions() {
  const at::Tensor random = world::random_tensor({24, 32}, 1);
  return random / random.norm(2, {1}, true);
}

LearnerSettings settings_of(SaeKind kind) {
  LearnerSettings settings;
  settings.loss.kind = kind;
  settings.loss.k = 3;
  settings.loss.l0_target = 3;
  settings.loss.auxiliary_k = 8;
  settings.latents = 48;
  settings.learning_rate = 1e-2;
  settings.dead_after = 4000;
  settings.place = {PlaceKind::resid_post, 2};
  return settings;
}

double explained(const Sae& sae, const at::Tensor& states) {
  SaeQuality quality(sae);
  quality.add(sae, states);
  return quality.explained_variance();
}

SaeLearner trained(const LearnerSettings& settings, int steps, double scale = 1) {
  SaeLearner learner(settings, 32);
  const at::Tensor directions = true_directions();
  learner.begin(sparse_states(directions, 1000, 1000, scale));
  for (int step = 0; step < steps; ++step) {
    learner.step(sparse_states(directions, 200, static_cast<uint64_t>(step), scale), step < steps * 2 / 3 ? 1 : 0.2);
  }
  return learner;
}

TEST(SaeLearner, FindsTheDirectionsThatStatesAreMadeOf) {
  for (SaeKind kind : {SaeKind::topk, SaeKind::jumprelu}) {
    const Sae sae = trained(settings_of(kind), 600).sae();
    const at::Tensor states = sparse_states(true_directions(), 500, 77);
    EXPECT_GT(explained(sae, states), 0.9) << sae_kind_name(kind);
    SaeQuality quality(sae);
    quality.add(sae, states);
    EXPECT_GT(quality.l0(), 1.5);
    EXPECT_LT(quality.l0(), 4.5);
    // most of the true directions are a latent's
    const at::Tensor likeness = std::get<0>(at::matmul(true_directions(), sae.decoder.t()).max(1));
    EXPECT_GT(likeness.gt(0.9).to(at::kDouble).mean().item<double>(), 0.8) << sae_kind_name(kind);
    EXPECT_LT(world::difference(sae.decoder.norm(2, {1}), at::ones({48})), 1e-5);
  }
}

// Inside, states are scaled; what comes out takes them as they are, and the loss is that of what comes out.
TEST(SaeLearner, TheScaleIsFoldedAway) {
  for (SaeKind kind : {SaeKind::topk, SaeKind::jumprelu}) {
    const Sae one = trained(settings_of(kind), 20).sae(), ten = trained(settings_of(kind), 20, 10).sae();
    const at::Tensor states = sparse_states(true_directions(), 300, 5);
    EXPECT_NEAR(explained(one, states), explained(ten, states * 10), 1e-3);
    EXPECT_LT(world::difference(encode(one, states) * 10, encode(ten, states * 10)), 0.05);

    SaeLearner learner = trained(settings_of(kind), 20);
    const Sae before = learner.sae();
    const SaeLoss loss = learner.step(states, 0);
    const at::Tensor exact = states.to(at::kDouble);
    const double spread = (exact - exact.mean(0)).square().sum(1).mean().item<double>();
    const double error =
        (states - decode(before, encode(before, states), states)).square().sum(1).mean().item<double>();
    EXPECT_NEAR(loss.reconstruction, error / spread, 0.05 * loss.reconstruction);  // the scale is of other states
  }
}

// A high learning rate kills latents; there are more directions than those left can explain.
TEST(SaeLearner, TheAuxiliaryTermBringsDeadLatentsBack) {
  const at::Tensor random = world::random_tensor({150, 32}, 1), directions = random / random.norm(2, {1}, true);
  const auto dead_share = [&](double weight) {
    LearnerSettings settings = settings_of(SaeKind::topk);
    settings.loss.auxiliary_weight = weight;
    settings.latents = 150;
    settings.loss.k = 2;
    settings.dead_after = 2000;
    settings.learning_rate = 0.03;
    SaeLearner learner(settings, 32);
    learner.begin(sparse_states(directions, 1000, 1000));
    for (uint64_t step = 0; step < 400; ++step) learner.step(sparse_states(directions, 200, step), 1);
    return learner.dead_share();
  };
  EXPECT_GT(dead_share(0), 0.2);
  EXPECT_LT(dead_share(1.0 / 32), 0.1);
}

TEST(SaeLearner, RefusesStatesWithoutVarianceAndLossesThatAreNotFinite) {
  SaeLearner learner(settings_of(SaeKind::topk), 32);
  EXPECT_TRUE(holds(error_of([&] { learner.begin(at::ones({50, 32})); }), "variance"));
  learner.begin(sparse_states(true_directions(), 100, 1));
  EXPECT_TRUE(holds(error_of([&] { learner.step(at::full({50, 32}, std::nanf("")), 1); }), "lower learning_rate"));
}

// Stopped while the model reads, the block is read again from its beginning.
TEST(States, TheStateInTheMiddleOfABlockIsItsBeginning) {
  const TemporaryFolder folder;
  world::write_facts(folder / "facts");
  const Json text = Json::array({{{"name", "facts"}, {"kind", "statements"}, {"facts", "facts"}, {"weight", 1}}});
  const Model model = world::loud_model(world::config(256, 3));
  StateSettings settings;
  settings.places = {{PlaceKind::resid_post, 1}};
  settings.pass_tokens = 64;
  Mixture mixture(text, world::tokenizer(), 64, folder.path(), 1);
  Json middle;
  int64_t blocks = 0;
  StateStream* reading = nullptr;
  StateStream stream(model, mixture, settings, 300, 1, [&](int64_t tokens, int64_t of) {
    if (tokens == of) ++blocks;
    if (blocks == 1 && tokens < of) middle = reading->state();  // in the second block
  });
  reading = &stream;
  while (blocks < 2) stream.next(50);
  const at::Tensor second = stream.block()[0];
  ASSERT_FALSE(middle.is_null());
  Mixture again(text, world::tokenizer(), 64, folder.path(), 1);
  StateStream resumed(model, again, settings, 300, 1);
  resumed.restore(middle);
  EXPECT_TRUE(at::equal(resumed.block()[0], second));
  EXPECT_TRUE(at::equal(resumed.next(50)[0], second.narrow(0, 0, 50)));
}

TEST(States, SpecialAndFirstPositionsAreLeftOut) {
  const Model model = world::loud_model(world::config(256, 3));
  StateSettings settings;
  settings.places = {{PlaceKind::resid_post, 0}, {PlaceKind::resid_post, 1}};
  settings.special = special_tokens(world::tokenizer());
  EXPECT_EQ(settings.special.size(), 5u);
  const int64_t special = settings.special[1];
  std::vector<Document> documents{{{9, 4, special, 30, 31}, {}}, {{special, 8, 40}, {}}};
  for (Document& document : documents) document.weights.resize(document.tokens.size(), 1);
  const std::vector<at::Tensor> states = states_of(model, documents, settings);
  ASSERT_EQ(states.size(), 2u);
  for (int64_t layer = 0; layer < 2; ++layer) {
    std::vector<at::Tensor> expected;
    for (const Document& document : documents) {
      Taps taps{Tap::capture({PlaceKind::resid_post, layer})};
      ForwardOptions options;
      options.taps = &taps;
      forward(model, pack({document.tokens}), options);
      for (size_t i = 1; i < document.tokens.size(); ++i) {
        if (document.tokens[i] != special) expected.push_back(taps[0].captured[static_cast<int64_t>(i)]);
      }
    }
    EXPECT_LT(world::difference(states[static_cast<size_t>(layer)], at::stack(expected)), 1e-5);
  }
  settings.pass_tokens = 3;  // each document a pass of its own
  EXPECT_LT(world::difference(states_of(model, documents, settings)[1], states[1]), 1e-5);
  EXPECT_TRUE(holds(error_of([&] { states_of(model, {}, settings); }), "no position"));
}

class SaeTraining : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::vector<std::string> said_;

  void SetUp() override {
    world::write_facts(folder_ / "facts");
    write_text(folder_ / "text.txt", world::numbered_text(2000));
    world::write_model(folder_ / "target", world::loud_model(world::config(256, 3)));
  }
  fs::path recipe(const std::string& name, const std::string& sae = "kind = \"topk\"\nk = 4\n",
                  const std::string& training = "tokens = 1200\n") {
    return folder_.write(name, R"(kind = "sae"
[target]
model = "target"
[sae]
latents = 64
layers = [2, 0]
dead_after = 500
auxiliary_k = 8
)" + sae + R"([training]
batch = 100
context = 64
block_tokens = 500
report_steps = 4
held_out = 4
warm_up = 3
)" + training + R"(
[[text]]
kind = "files"
paths = ["text.txt"]
weight = 60
[[text]]
kind = "statements"
facts = "facts"
weight = 40
)");
  }
  SaeTrainResult run(const fs::path& file, const std::string& out) {
    said_.clear();
    return train_saes(read_sae_recipe(file), folder_ / out, [&](const std::string& line) { said_.push_back(line); });
  }
  std::map<std::string, std::string> bytes(const std::string& out) const {
    std::map<std::string, std::string> all;
    for (const char* layer : {"layer-2", "layer-0"}) {
      for (const char* name : {"cfg.json", "sae_weights.safetensors"}) {
        all[std::string(layer) + name] = read_text(folder_ / out / layer / name);
      }
    }
    return all;
  }
  Json record(const std::string& out) const { return read_json(folder_ / out / "run.json"); }
};

TEST_F(SaeTraining, ExplainsMoreAndMore) {
  const SaeTrainResult result =
      run(recipe("r.toml", "kind = \"topk\"\nk = 8\n", "tokens = 20000\nlearning_rate = 3e-3\n"), "a");
  EXPECT_EQ(result.steps, 200);
  EXPECT_EQ(result.positions, 20000);
  ASSERT_EQ(result.saes.size(), 2u);
  EXPECT_EQ(result.saes[0].layer, 2);
  EXPECT_EQ(result.saes[1].layer, 0);
  const auto log = read_json_lines(folder_ / "a/log.jsonl");
  ASSERT_EQ(log.size(), 50u);
  for (const char* layer : {"layer-2", "layer-0"}) {
    const double first = log.front()[layer]["explained_variance"], last = log.back()[layer]["explained_variance"];
    EXPECT_GT(last, first + 0.1) << layer;
    EXPECT_GT(last, 0.6) << layer;
    EXPECT_LE(log.back()[layer]["l0"].get<double>(), 8);
    EXPECT_LT(log.back()[layer]["training_loss"].get<double>(), log.front()[layer]["training_loss"].get<double>());
  }
  for (const TrainedSae& sae : result.saes) {
    EXPECT_NEAR(sae.report.explained_variance,
                log.back()[fmt::format("layer-{}", sae.layer)]["explained_variance"].get<double>(), 0.02)
        << "the weights that are stored are measured";
    EXPECT_GT(sae.report.loss_recovered(), 0.3);
  }
  EXPECT_EQ(record("a")["status"], "complete");
  const Json saved = record("a")["results"]["result"];
  EXPECT_GE(saved["tokens_run"].get<int64_t>(), 20000 + saved["tokens_left_out"].get<int64_t>());
  EXPECT_GT(saved["tokens_left_out"].get<int64_t>(), 0);
  EXPECT_TRUE(saved["saes"]["layer-2"].contains("files 0"));
  EXPECT_FALSE(fs::exists(folder_ / "a/checkpoint"));
  const Json config = read_json(folder_ / "a/layer-2/cfg.json");
  EXPECT_EQ(config["hook_name"], "blocks.2.hook_resid_post");
  EXPECT_EQ(config["model_name"], "target");
  EXPECT_EQ(config["training_tokens"], 20000);
  EXPECT_EQ(Safetensors(folder_ / "a/layer-0/sae_weights.safetensors").tensors().at("W_enc").dtype, "BF16");
}

TEST_F(SaeTraining, InterruptedAtEveryStepItEndsInTheSameBytes) {
  for (const std::string& kind :
       {std::string("kind = \"topk\"\nk = 4\n"), std::string("kind = \"jumprelu\"\nl0 = 4\n")}) {
    const fs::path file = recipe("r.toml", kind);
    const std::string whole = "whole" + kind.substr(8, 3), parts = "parts" + kind.substr(8, 3);
    run(file, whole);
    // each stops after one step, where a block of text begins, or while it measures
    for (int i = 0; i < 20; ++i) {
      const int code = world::in_child([&] {
        std::raise(SIGTERM);
        run(file, parts);
      });
      ASSERT_EQ(code, 130);
      ASSERT_FALSE(fs::exists(folder_ / parts / "layer-2/sae_weights.safetensors")) << "a SAE before the end";
      ASSERT_NE(record(parts)["status"], "complete");
    }
    run(file, parts);
    EXPECT_TRUE(holds(said_.back(), "resumed     at step 12"));
    EXPECT_EQ(bytes(parts), bytes(whole));
    EXPECT_EQ(record(parts)["results"]["result"]["saes"], record(whole)["results"]["result"]["saes"]);
    EXPECT_EQ(record(parts)["results"]["result"]["tokens_left_out"],
              record(whole)["results"]["result"]["tokens_left_out"]);
  }
}

// A SAE does not depend on which others are trained beside it.
TEST_F(SaeTraining, ALayerAloneIsTheSame) {
  run(recipe("r.toml"), "both");
  SaeRecipe alone = read_sae_recipe(folder_ / "r.toml");
  alone.json["sae"]["layers"] = {0};
  train_saes(alone, folder_ / "alone", [](const std::string&) {});
  EXPECT_EQ(read_text(folder_ / "alone/layer-0/sae_weights.safetensors"),
            read_text(folder_ / "both/layer-0/sae_weights.safetensors"));
}

TEST_F(SaeTraining, ACompleteFolderIsLeftAloneAndOtherSettingsAreAnError) {
  run(recipe("r.toml"), "a");
  const auto before = bytes("a");
  EXPECT_EQ(run(recipe("r.toml"), "a").steps, 0);
  EXPECT_TRUE(holds(said_.back(), "complete"));
  EXPECT_TRUE(holds(error_of([&] { run(recipe("s.toml", "kind = \"topk\"\nk = 5\n"), "a"); }), "settings"));
  EXPECT_EQ(bytes("a"), before);
}

TEST_F(SaeTraining, SeedsDecide) {
  run(recipe("r.toml", "kind = \"topk\"\n", "tokens = 300\nseed = 4\n"), "a");
  run(recipe("r.toml", "kind = \"topk\"\n", "tokens = 300\nseed = 4\n"), "b");
  run(recipe("r.toml", "kind = \"topk\"\n", "tokens = 300\nseed = 5\n"), "c");
  EXPECT_EQ(bytes("a"), bytes("b"));
  EXPECT_NE(bytes("a"), bytes("c"));
}

#ifdef INTROSPECT_BINARY
TEST_F(SaeTraining, TheCommandTrainsAndSaysHowGood) {
  recipe("r.toml");
  const auto command = [&](const std::string& arguments) {
    const std::string line = fmt::format("{} sae train {} --threads 1 > {} 2> {}", INTROSPECT_BINARY, arguments,
                                         (folder_ / "out").string(), (folder_ / "error").string());
    const int status = std::system(line.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  const std::string file = (folder_ / "r.toml").string(), out = " --out " + (folder_ / "c").string();
  EXPECT_EQ(command(file), 2) << "no --out";
  EXPECT_EQ(command(file + out + " --layers 7"), 2);
  EXPECT_TRUE(holds(read_text(folder_ / "error"), "the target has layers 0 to 2"));
  fs::remove_all(folder_ / "c");
  ASSERT_EQ(command(file + out + " --layers 1 --tokens 300 --seed 3 --json"), 0) << read_text(folder_ / "error");
  const Json json = read_json(folder_ / "out");
  EXPECT_EQ(json["steps"], 3);
  ASSERT_EQ(json["saes"].size(), 1u);
  EXPECT_EQ(json["saes"][0]["layer"], 1);
  EXPECT_TRUE(json["saes"][0]["explained_variance"].is_number());
  const Json config = read_json(folder_ / "c/layer-1/cfg.json");
  EXPECT_EQ(config["training_tokens"], 300);
  EXPECT_EQ(config["seed"], 3);
  ASSERT_EQ(command(file + out + " --layers 1 --tokens 300 --seed 3"), 0);
  EXPECT_TRUE(holds(read_text(folder_ / "out"), "is complete; nothing to do"));
}
#endif

TEST_F(SaeTraining, RecipeErrors) {
  const std::string good = read_text(recipe("good.toml"));
  EXPECT_NO_THROW(read_sae_recipe(folder_ / "good.toml"));
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    const fs::path file = folder_.write("bad.toml", text.replace(at, from.size(), to));
    fs::remove_all(folder_ / "bad");
    return error_of([&] { run(file, "bad"); });
  };
  EXPECT_TRUE(holds(changed("kind = \"sae\"", "kind = \"sae\"\ncolour = 1"), "unknown key 'colour'"));
  EXPECT_TRUE(holds(changed("kind = \"sae\"", "kind = \"pretrain\""), "'pretrain', expected sae"));
  EXPECT_TRUE(holds(changed("k = 4", "kk = 4"), "unknown key 'sae.kk'"));
  EXPECT_TRUE(holds(changed("k = 4", "k = 65"), "got 65, expected 1 to 64"));
  EXPECT_TRUE(holds(changed("k = 4", "k = 4\nl0 = 3"), "sae.l0 is of jumprelu alone"));
  EXPECT_TRUE(holds(changed("kind = \"topk\"", "kind = \"jumprelu\""), "sae.k is of topk alone"));
  EXPECT_TRUE(holds(changed("kind = \"topk\"", "kind = \"gated\""), "'gated', expected topk or jumprelu"));
  EXPECT_TRUE(holds(changed("kind = \"topk\"", "kind = \"fish\""), "fish"));
  EXPECT_TRUE(holds(changed("[2, 0]", "[2, 2]"), "a layer twice"));
  EXPECT_TRUE(holds(changed("[2, 0]", "[]"), "sae.layers is empty"));
  EXPECT_TRUE(holds(changed("[2, 0]", "[3]"), "got 3, the target has layers 0 to 2"));
  EXPECT_TRUE(holds(changed("latents = 64", "latents = 0"), "sae.latents: got 0"));
  EXPECT_TRUE(holds(changed("latents = 64\n", ""), "latents"));
  EXPECT_TRUE(holds(changed("tokens = 1200", "tokens = 0"), "tokens: got 0"));
  EXPECT_TRUE(holds(changed("tokens = 1200", "warm_down = 1"), "unknown key 'training.warm_down'"));
  EXPECT_TRUE(holds(changed("batch = 100", "batch = 1000"), "raise training.block_tokens"));
  EXPECT_TRUE(holds(changed("warm_up = 3", "decay = 1.5"), "decay: got 1.5"));
  EXPECT_TRUE(holds(changed("warm_up = 3", "learning_rate = nan"), "learning_rate"));
  EXPECT_TRUE(holds(changed("warm_up = 3", "compute = \"int8\""), "'int8'"));
  EXPECT_TRUE(holds(changed("dead_after = 500", "dtype = \"fp8\""), "'fp8', expected bf16 or fp32"));
  EXPECT_TRUE(holds(changed("\"target\"", "\"nowhere\""), "nowhere"));
  EXPECT_TRUE(holds(changed("\"text.txt\"", "\"lost.txt\""), "lost.txt"));
  EXPECT_TRUE(holds(changed("kind = \"statements\"", "kind = \"poems\""), "'poems', expected files"));
  EXPECT_FALSE(fs::exists(folder_ / "bad/layer-2/sae_weights.safetensors"));
}

}  // namespace
}  // namespace introspect
