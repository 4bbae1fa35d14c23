// Pre-training: it learns, an interrupted or killed run ends in the same bytes, and what does not fit is refused.
#include "train/pretrain.h"

#include "base/temporary_folder.h"
#include "train/rate.h"
#include "train/small_world.h"

#include <map>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

class Pretrain : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::vector<std::string> said_;

  void SetUp() override {
    world::write_facts(folder_ / "facts");
    write_text(folder_ / "text.txt", world::numbered_text(2000));
    world::trained_bpe().write(folder_ / "tokenizer");
  }
  // 10 steps of 200 tokens, in two passes each; `training` and `model` are added to the tables.
  fs::path recipe(const std::string& name, const std::string& training = "", const std::string& model = "") {
    return folder_.write(name, R"(kind = "pretrain"
[model]
)" + (model.empty() ? "tokenizer = \"tokenizer\"\nd_model = 32\nlayers = 2\nheads = 2\nd_mlp = 48\n" : model) +
                                   R"([training]
batch_tokens = 200
pass_tokens = 128
context = 64
report_steps = 1
compute = "fp32"
)" + (training.empty() ? "tokens = 2000\nlearning_rate = 1e-2\nmuon_rate = 0.02\nwarm_up = 2\n" : training) +
                                   R"(
[[text]]
kind = "files"
paths = ["text.txt"]
weight = 50
[[text]]
kind = "statements"
facts = "facts"
object_weight = 3
weight = 50
)");
  }
  PretrainResult run(const fs::path& recipe_file, const std::string& out, int64_t seed = -1) {
    said_.clear();
    return pretrain(read_pretrain_recipe(recipe_file), folder_ / out, seed,
                    [&](const std::string& line) { said_.push_back(line); });
  }
  std::string model_bytes(const std::string& out) const { return read_text(folder_ / out / "model.safetensors"); }
  Json record(const std::string& out) const { return read_json(folder_ / out / "run.json"); }
};

TEST_F(Pretrain, LossFallsAndTheFolderIsAModel) {
  const auto result =
      run(recipe("r.toml", "tokens = 24000\nlearning_rate = 1e-2\nmuon_rate = 0.02\nwarm_up = 2\n"), "a");
  EXPECT_EQ(result.steps, 120);
  EXPECT_GE(result.tokens, 24000);
  const auto log = read_json_lines(folder_ / "a/log.jsonl");
  ASSERT_EQ(log.size(), 120u);
  const double first = log.front()["loss"], last = log.back()["loss"];
  EXPECT_NEAR(first, std::log(static_cast<double>(world::tokenizer().vocab_size())), 0.3);
  EXPECT_LT(last, 0.7 * first);
  // what was held out is learnt too
  for (const auto& [name, loss] : log.back()["held_out"].items()) {
    EXPECT_LT(loss.get<double>(), 0.8 * log.front()["held_out"][name].get<double>()) << name;
  }
  EXPECT_EQ(log.back()["held_out"].size(), 2u);
  const Model model = load_model(folder_ / "a");
  EXPECT_EQ(model.config.layers, 2);
  EXPECT_EQ(model.config.vocab_size, world::tokenizer().vocab_size());
  EXPECT_EQ(model.config.eos_token, world::tokenizer().eos());
  EXPECT_EQ(Tokenizer::open(folder_ / "a").encode(" Paris"), world::tokenizer().encode(" Paris"));
  EXPECT_FALSE(fs::exists(folder_ / "a/checkpoint"));
  EXPECT_EQ(record("a")["status"], "complete");
  EXPECT_EQ(record("a")["results"]["result"]["steps"], 120);
}

TEST_F(Pretrain, RecurrentFamiliesLearn) {
  const std::map<std::string, std::string> sizes = {{"mamba", "state = 8\n"},
                                                    {"rwkv7", "heads = 2\nd_mlp = 48\nlow_rank = 8\n"}};
  for (const auto& [family, own] : sizes) {
    SCOPED_TRACE(family);
    run(recipe(family + ".toml", "tokens = 12000\nlearning_rate = 1e-2\nmuon_rate = 0.02\nwarm_up = 2\n",
               "tokenizer = \"tokenizer\"\nd_model = 32\nlayers = 2\nfamily = \"" + family + "\"\n" + own),
        family);
    const auto log = read_json_lines(folder_ / family / "log.jsonl");
    EXPECT_NEAR(log.front()["loss"].get<double>(), std::log(static_cast<double>(world::tokenizer().vocab_size())), 0.4);
    EXPECT_LT(log.back()["loss"].get<double>(), 0.8 * log.front()["loss"].get<double>());
    EXPECT_TRUE(load_model(folder_ / family).config.recurrent());
  }
}

TEST_F(Pretrain, InterruptedAtEveryStepItEndsInTheSameBytes) {
  const fs::path file = recipe("r.toml");
  run(file, "whole");
  // the signal is there from the start: every attempt takes one step, saves and stops
  int attempts = 0;
  for (; attempts < 30; ++attempts) {
    const int code = world::in_child([&] {
      std::raise(SIGTERM);
      run(file, "parts");
    });
    ASSERT_TRUE(code == 130 || code == 0) << code;
    ASSERT_FALSE(fs::exists(folder_ / "parts/model.safetensors")) << "a model before the end";
    ASSERT_TRUE(fs::exists(folder_ / "parts/checkpoint/state.safetensors"));
    ASSERT_NE(record("parts")["status"], "complete");
    if (attempts == 9) break;
  }
  run(file, "parts");
  EXPECT_TRUE(holds(said_.back(), "resumed     at step 10"));
  EXPECT_EQ(model_bytes("parts"), model_bytes("whole"));
  const Json whole = record("whole")["results"]["result"], parts = record("parts")["results"]["result"];
  for (const char* key : {"steps", "tokens", "training_loss", "held_out_loss"})
    EXPECT_EQ(parts[key], whole[key]) << key;
}

TEST_F(Pretrain, KilledBetweenCheckpointsItEndsInTheSameBytes) {
  const fs::path file =
      recipe("r.toml", "tokens = 8000\nlearning_rate = 1e-2\ncheckpoint_steps = 3\nschedule = \"linear\"\n");
  run(file, "whole");
  const pid_t child = world::begin_child([&] { run(file, "killed"); });
  ASSERT_TRUE(world::wait_for(child, [&] { return fs::exists(folder_ / "killed/checkpoint/state.safetensors"); }));
  ::usleep(30000);
  ::kill(child, SIGKILL);
  world::end_of_child(child);
  run(file, "killed");
  if (!said_.back().starts_with("resumed")) std::printf("the child had ended before it was killed\n");
  EXPECT_EQ(model_bytes("killed"), model_bytes("whole"));
}

TEST_F(Pretrain, ACompleteFolderIsLeftAlone) {
  const fs::path file = recipe("r.toml");
  run(file, "a");
  const std::string model = model_bytes("a"), json = read_text(folder_ / "a/run.json");
  const auto log = read_text(folder_ / "a/log.jsonl");
  const auto time = fs::last_write_time(folder_ / "a/model.safetensors");
  EXPECT_EQ(run(file, "a").steps, 0);
  EXPECT_TRUE(holds(said_.back(), "complete"));
  EXPECT_EQ(model_bytes("a"), model);
  EXPECT_EQ(read_text(folder_ / "a/run.json"), json);
  EXPECT_EQ(read_text(folder_ / "a/log.jsonl"), log);
  EXPECT_EQ(fs::last_write_time(folder_ / "a/model.safetensors"), time);
}

TEST_F(Pretrain, SnapshotsAreTheModelOnTheWayAndChangeNothing) {
  const std::string training = "tokens = 2000\nlearning_rate = 1e-2\nmuon_rate = 0.02\nwarm_up = 2\n";
  run(recipe("r.toml"), "plain");
  const fs::path file = recipe("s.toml", training + "snapshots = [3, 1, 10]\n");
  const int code = world::in_child([&] {
    std::raise(SIGTERM);
    run(file, "a");
  });
  EXPECT_EQ(code, 130) << "stopped after its first step";
  EXPECT_TRUE(fs::exists(snapshot_folder(folder_ / "a", 1) / "model.safetensors"));
  run(file, "a");
  EXPECT_EQ(model_bytes("a"), model_bytes("plain"));
  EXPECT_EQ(model_bytes("a/snapshots/step-10"), model_bytes("a")) << "the last step is the model";
  EXPECT_NE(model_bytes("a/snapshots/step-1"), model_bytes("a/snapshots/step-3"));
  EXPECT_EQ(load_model(folder_ / "a/snapshots/step-3").config.eos_token, world::tokenizer().eos());
  EXPECT_EQ(Tokenizer::open(folder_ / "a/snapshots/step-3").encode(" Paris"), world::tokenizer().encode(" Paris"));
  EXPECT_FALSE(fs::exists(folder_ / "plain/snapshots"));

  // the settings are the same, so the folder is complete; but what is asked for cannot be made any more
  EXPECT_EQ(run(recipe("t.toml", training + "snapshots = [3]\n"), "a").steps, 0);
  EXPECT_TRUE(
      holds(error_of([&] { run(recipe("u.toml", training + "snapshots = [4]\n"), "a"); }), "no snapshot of step 4"));
  EXPECT_TRUE(holds(error_of([&] { run(recipe("v.toml", training + "snapshots = [11]\n"), "b"); }),
                    "snapshots: got 11, expected steps from 1 to 10"));
}

TEST_F(Pretrain, OtherSettingsInTheSameFolderAreAnError) {
  run(recipe("r.toml"), "a");
  const std::string model = model_bytes("a");
  EXPECT_TRUE(holds(error_of([&] { run(recipe("r.toml"), "a", 7); }), "settings"));
  EXPECT_TRUE(
      holds(error_of([&] { run(recipe("s.toml", "tokens = 2000\nlearning_rate = 2e-2\n"), "a"); }), "settings"));
  EXPECT_EQ(model_bytes("a"), model);
}

TEST_F(Pretrain, SeedsDecide) {
  const fs::path file = recipe("r.toml");
  run(file, "a", 5);
  run(file, "b", 5);
  run(file, "c", 6);
  EXPECT_EQ(model_bytes("a"), model_bytes("b"));
  EXPECT_NE(model_bytes("a"), model_bytes("c"));
  EXPECT_EQ(record("a")["settings"]["training"]["seed"], 5);
}

TEST_F(Pretrain, StartFromGoesOnFromTheGivenWeights) {
  run(recipe("r.toml"), "a");
  run(recipe("s.toml", "tokens = 400\nlearning_rate = 0\n", "start_from = \"a\"\n"), "same");
  run(recipe("t.toml", "tokens = 400\nlearning_rate = 1e-2\n", "start_from = \"a\"\n"), "moved");
  Model a = load_model(folder_ / "a"), same = load_model(folder_ / "same"), moved = load_model(folder_ / "moved");
  for (size_t i = 0; i < parameters(a).size(); ++i) {
    EXPECT_TRUE(at::equal(parameters(a)[i].second, parameters(same)[i].second)) << parameters(a)[i].first;
    // a norm near 1 may move by less than bfloat16, in which models are stored, can say
    if (parameters(a)[i].second.dim() < 2) continue;
    EXPECT_FALSE(at::equal(parameters(a)[i].second, parameters(moved)[i].second)) << parameters(a)[i].first;
  }
  EXPECT_EQ(Tokenizer::open(folder_ / "same").vocab_size(), world::tokenizer().vocab_size());
}

TEST_F(Pretrain, ALossThatIsNotFiniteIsAnErrorAndLeavesNoModel) {
  Model broken = create_model(world::config(), 1);
  broken.final_norm.fill_(std::nan(""));
  world::write_model(folder_ / "broken", broken);
  const std::string text =
      error_of([&] { run(recipe("r.toml", "tokens = 2000\n", "start_from = \"broken\"\n"), "a"); });
  EXPECT_TRUE(holds(text, "lower learning_rate"));
  EXPECT_FALSE(fs::exists(folder_ / "a/model.safetensors"));
  EXPECT_NE(record("a")["status"], "complete");
}

// A run that goes on, or is made again, on a busier machine must not choose otherwise.
TEST(Compute, AutoIsToldByTheProcessor) {
  const std::string processor = read_text("/proc/cpuinfo");
  const bool bf16 = processor.find(" avx512_bf16") != std::string::npos;
  EXPECT_EQ(choose_compute("auto"), bf16 ? at::kBFloat16 : at::kFloat);
  EXPECT_EQ(choose_compute("fp32"), at::kFloat);
  EXPECT_EQ(choose_compute("bf16"), at::kBFloat16);
  EXPECT_EQ(dtype_name(choose_compute("bf16")), "bf16");
  EXPECT_TRUE(holds(error_of([] { choose_compute("int8"); }), "'int8', expected auto, fp32 or bf16"));
}

TEST_F(Pretrain, RecipeErrors) {
  const auto read = [&](const std::string& text) {
    const fs::path file = folder_.write("bad.toml", text);
    return error_of([&] { read_pretrain_recipe(file); });
  };
  const std::string good = read_text(recipe("good.toml"));
  EXPECT_NO_THROW(read_pretrain_recipe(folder_ / "good.toml"));
  EXPECT_TRUE(holds(read("colour = 1\n" + good), "unknown key 'colour'"));
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return read(text.replace(at, from.size(), to));
  };
  EXPECT_TRUE(holds(changed("d_mlp =", "mlp ="), "unknown key 'model.mlp'"));
  EXPECT_TRUE(holds(changed("warm_up =", "warmup ="), "unknown key 'training.warmup'"));
  EXPECT_TRUE(holds(changed("[training]", "[practice]"), "practice"));
  EXPECT_TRUE(holds(changed("object_weight =", "answer_weight ="), "unknown key 'answer_weight'"));
  EXPECT_TRUE(holds(changed("kind = \"statements\"", "kind = \"poems\""), "'poems', expected files"));
  EXPECT_TRUE(holds(read("[model]\n[training]\n"), "no [[text]] table"));
  EXPECT_TRUE(holds(read("[model\n"), "bad.toml"));
  EXPECT_TRUE(holds(error_of([&] { read_pretrain_recipe(folder_ / "none.toml"); }), "none.toml"));

  int number = 0;
  const auto runs = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    const fs::path file = folder_.write("run.toml", text.replace(at, from.size(), to));
    const std::string out = "bad" + std::to_string(number++);
    const std::string error = error_of([&] { run(file, out); });
    EXPECT_FALSE(fs::exists(folder_ / out / "model.safetensors"));
    return error;
  };
  EXPECT_TRUE(holds(runs("tokens = 2000", "tokens = 0"), "training.tokens: got 0, expected at least 2"));
  EXPECT_TRUE(holds(runs("d_model = 32", "d_model = \"wide\""), "d_model"));
  EXPECT_TRUE(holds(runs("d_model = 32\n", ""), "d_model"));
  EXPECT_TRUE(holds(runs("compute = \"fp32\"", "compute = \"fp8\""), "'fp8', expected auto, fp32 or bf16"));
  EXPECT_TRUE(holds(runs("compute =", "schedule = \"sine\"\ncompute ="), "'sine'"));
  EXPECT_TRUE(holds(runs("\"text.txt\"", "\"lost.txt\""), "lost.txt"));
  EXPECT_TRUE(holds(runs("facts = \"facts\"", "facts = \"fables\""), "fables"));
  EXPECT_TRUE(holds(runs("tokenizer = \"tokenizer\"", "tokenizer = \"nowhere\""), "nowhere"));
  EXPECT_TRUE(holds(runs("d_model = 32", "family = \"gpt2\"\nd_model = 32"), "got 'gpt2', expected one of"));
  EXPECT_TRUE(holds(runs("d_model = 32", "family = \"mamba\"\nd_model = 32"), "model.d_mlp: mamba has none"));
  EXPECT_TRUE(holds(runs("heads = 2", "family = \"rwkv7\"\nheads = 5"), "got 6, expected a divisor"));
}

}  // namespace
}  // namespace introspect
