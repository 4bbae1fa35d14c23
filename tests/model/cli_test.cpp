// The program itself on a tiny model: what it writes is what the library computes, and its exit codes are as said.
#ifdef INTROSPECT_BINARY
#include "base/json.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "model/generate.h"
#include "tiny_model.h"

#include <limits>
#include <sys/wait.h>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::difference;

class ModelCommands : public testing::Test {
 protected:
  TemporaryFolder folder_;
  Model model_;
  fs::path path_ = folder_ / "model";

  void SetUp() override {
    ModelConfig config = test::tiny_config();
    config.bos_token = tiny_tokenizer().bos();
    config.eos_token = tiny_tokenizer().eos();
    save_model(test::tiny_model(config), path_, at::kFloat);
    model_ = load_model(path_);
    BpeTrainSettings settings;
    settings.vocab_size = 270;
    settings.special_tokens = {"<|begin|>", "<|end|>"};
    settings.bos_token = "<|begin|>";
    settings.eos_token = "<|end|>";
    BpeTrainer trainer(settings);
    trainer.add("the cat and the dog and the bird sat on the mat");
    trainer.train();
    trainer.write(path_);
  }
  const Tokenizer& tiny_tokenizer() const { return test::tiny_tokenizer(); }

  struct Outcome {
    int code;
    std::string out, error;
  };
  Outcome run(const std::string& arguments) const {
    const std::string command = std::string(INTROSPECT_BINARY) + " " + arguments + " > " + (folder_ / "out").string() +
                                " 2> " + (folder_ / "error").string();
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(folder_ / "out"), read_text(folder_ / "error")};
  }
};

TEST_F(ModelCommands, ForwardWritesLogitsAndCaptures) {
  const std::vector<int64_t> tokens{1, 2, 3, 4};
  const at::Tensor vector = test::random_tensor({48}, 1);
  write_safetensors(folder_ / "v.safetensors", {{"v", vector}});
  const std::string file = (folder_ / "v.safetensors").string() + ":v";
  const fs::path out = folder_ / "run.safetensors";
  const Outcome outcome = run("forward " + path_.string() + " --tokens 1,2,3,4 --capture blocks.1.hook_resid_post" +
                              " --capture hook_embed --replace blocks.1.hook_resid_post@-2=" + file +
                              " --embed @0=" + file + " --add blocks.0.hook_mlp_out@1,2=" + file +
                              " --scale blocks.2.hook_attn_out@3=0.5" + " --out " + out.string());
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  Taps taps{Tap::replace({PlaceKind::resid_post, 1}, test::rows_of({2}), vector),
            Tap::replace({PlaceKind::embed, -1}, test::rows_of({0}), vector),
            Tap::add({PlaceKind::mlp_out, 0}, test::rows_of({1, 2}), vector),
            Tap::scale({PlaceKind::attention_out, 2}, test::rows_of({3}), 0.5),
            Tap::capture({PlaceKind::resid_post, 1}),
            Tap::capture({PlaceKind::embed, -1})};
  const at::Tensor logits = test::run_logits(model_, tokens, &taps);
  const Safetensors written(out);
  EXPECT_EQ(written.tensors().size(), 3u);
  EXPECT_LT(difference(written.get("logits"), logits), 1e-5);
  EXPECT_LT(difference(written.get("blocks.1.hook_resid_post"), taps[4].captured), 1e-5);
  EXPECT_LT(difference(written.get("hook_embed"), taps[5].captured), 1e-5);
  EXPECT_EQ(written.metadata().at("tokens"), "1,2,3,4");
}

TEST_F(ModelCommands, LogitsThatAreNoNumbersAreAnError) {
  write_safetensors(folder_ / "v.safetensors", {{"v", at::full({48}, std::numeric_limits<float>::quiet_NaN())}});
  const fs::path out = folder_ / "run.safetensors";
  const Outcome outcome = run("forward " + path_.string() + " --tokens 1,2,3,4 --add blocks.1.hook_mlp_out@2=" +
                              (folder_ / "v.safetensors").string() + ":v --out " + out.string());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(holds(outcome.error, "the logits are not finite")) << outcome.error;
  EXPECT_TRUE(fs::exists(out));
}

TEST_F(ModelCommands, ACapturedRowGoesIntoTheNextRun) {
  const fs::path first = folder_ / "first.safetensors", second = folder_ / "second.safetensors";
  const std::string place = "blocks.1.hook_resid_post";
  const std::string begin = "forward " + path_.string() + " --tokens ";
  ASSERT_EQ(run(begin + "1,2,3 --capture " + place + " --out " + first.string()).code, 0);
  const std::string value = first.string() + ":" + place;
  const Outcome outcome = run(begin + "4,5 --replace '" + place + "@-1=" + value + "[-2]' --out " + second.string());
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  Taps taps{Tap::replace({PlaceKind::resid_post, 1}, test::rows_of({1}), Safetensors(first).get(place)[1])};
  EXPECT_LT(difference(Safetensors(second).get("logits"), test::run_logits(model_, {4, 5}, &taps)), 1e-5);
  EXPECT_EQ(run(begin + "4,5 --replace '" + place + "@1=" + value + "[3]' --out " + second.string()).code, 2);
  EXPECT_EQ(run(begin + "4,5 --replace '" + place + "@1=" + value + "' --out " + second.string()).code, 1)
      << "three rows for one position";
}

TEST_F(ModelCommands, ForwardRefusesWhatItCannotDo) {
  const std::string begin = "forward " + path_.string() + " --out " + (folder_ / "x").string() + " ";
  EXPECT_EQ(run(begin).code, 2) << "neither tokens nor text";
  EXPECT_EQ(run(begin + "--tokens 1 --text a").code, 2);
  EXPECT_EQ(run(begin + "--tokens 1 --capture blocks.0.nothing").code, 2);
  EXPECT_EQ(run(begin + "--tokens 1 --scale hook_embed@1=2").code, 2);
  EXPECT_EQ(run(begin + "--tokens 1 --scale hook_embed@0=x").code, 2);
  EXPECT_EQ(run(begin + "--tokens 1 --capture blocks.9.hook_resid_post").code, 1);
  const Outcome outcome = run(begin + "--tokens 900");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(holds(outcome.error, "token 900"));
  EXPECT_FALSE(fs::exists(folder_ / "x"));
}

TEST_F(ModelCommands, GenerateAndInfo) {
  const Outcome outcome =
      run("generate " + path_.string() + " --prompt 'the cat' --prompt 'the dog' --max-new-tokens 5 --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Tokenizer tokenizer = Tokenizer::open(path_);
  std::vector<Prompt> prompts(2);
  prompts[0].tokens = tokenizer.encode("the cat");
  prompts[1].tokens = tokenizer.encode("the dog");
  GenerateOptions options;
  options.max_new_tokens = 5;
  options.stop_tokens = {*tokenizer.eos()};
  const std::vector<Generated> expected = generate(model_, tokenizer, prompts, options);
  std::istringstream lines(outcome.out);
  std::string line;
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(std::getline(lines, line));
    const Json json = parse_json(line, "output");
    EXPECT_EQ(json["tokens"].get<std::vector<int64_t>>(), expected[i].tokens);
  }
  const Outcome info = run("model info " + path_.string() + " --json");
  ASSERT_EQ(info.code, 0) << info.error;
  const Json json = parse_json(info.out, "output");
  EXPECT_EQ(json["parameters"].get<int64_t>(), model_.config.parameter_count());
  EXPECT_EQ(json["tokenizer"]["bos"]["token"], "<|begin|>");
  EXPECT_EQ(run("model info " + path_.string()).code, 0);
  EXPECT_EQ(run("model info " + folder_.path().string()).code, 1);
}

TEST_F(ModelCommands, VerifyExitsWithOneOutsideTolerance) {
  at::Tensor logits = test::run_logits(model_, {1, 2, 3});
  write_text(folder_ / "prompts.json", R"({"prompts": [{"tokens": [1, 2, 3]}]})");
  const std::string command = "model verify " + path_.string() + " --against " + (folder_ / "e.safetensors").string() +
                              " --prompts " + (folder_ / "prompts.json").string();
  write_safetensors(folder_ / "e.safetensors", {{"logits.0", logits}});
  EXPECT_EQ(run(command).code, 0);
  logits = logits.clone();
  logits[1][7] += 1;
  write_safetensors(folder_ / "e.safetensors", {{"logits.0", logits}});
  const Outcome outcome = run(command + " --json");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(holds(outcome.error, "first difference at logits (prompt 0)"));
  EXPECT_EQ(parse_json(outcome.out, "output")["ok"], false);
}

TEST_F(ModelCommands, SynthesizedModelsRunInEveryType) {
  const std::string out = (folder_ / "made").string();
  const std::string command = "model synthesize " + path_.string() + " --out " + out + " --shard-size 40KB";
  Outcome outcome = run(command + " --tokenizer " + path_.string());
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_TRUE(fs::exists(folder_ / "made" / "tokenizer.json"));
  EXPECT_TRUE(holds(run(command).out, "of them there before"));
  for (const char* type : {"fp32", "bf16", "int8"}) {
    outcome = run("forward " + out + " --dtype " + type + " --tokens 1,2 --out " + (folder_ / type).string());
    EXPECT_EQ(outcome.code, 0) << outcome.error;
  }
  const at::Tensor exact = Safetensors(folder_ / "fp32").get("logits");
  const double size = exact.abs().max().item<double>();
  for (const char* type : {"bf16", "int8"}) {
    const double error = difference(Safetensors(folder_ / type).get("logits"), exact);
    EXPECT_GT(error, 0);
    EXPECT_LT(error, 0.05 * size) << type;
  }
  EXPECT_EQ(run("forward " + out + " --device-map tpu --tokens 1 --out " + (folder_ / "x").string()).code, 2);
  EXPECT_EQ(run(command + " --seed 2").code, 1) << "something else is there";
  EXPECT_EQ(run("model synthesize").code, 2);
  EXPECT_EQ(run("model synthesize no-such-model --out " + out).code, 2);
  EXPECT_TRUE(holds(run("model synthesize --list").out, "Llama-3.1-8B"));
}

TEST_F(ModelCommands, PlanSaysWhatFits) {
  const auto plan = [&](const std::string& arguments) {
    const Outcome outcome = run("model plan " + arguments + " --json");
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    return parse_json(outcome.out, "plan");
  };
  const Json train = plan("Llama-3.1-8B --task train --memory 24GB");
  EXPECT_FALSE(train["fits"].get<bool>());
  EXPECT_FALSE(train["advice"].empty());
  const Json narrow = plan("Llama-3.1-8B --task train --dtype bf16 --checkpointing --memory 24GB");
  EXPECT_TRUE(narrow["fits"].get<bool>());
  uint64_t sum = 0;
  for (const Json& part : narrow["parts"]) sum += part["bytes"].get<uint64_t>();
  EXPECT_EQ(sum, narrow["total"].get<uint64_t>());
  const Json placed =
      plan("Llama-3.1-70B --dtype bf16 --device-map auto --memory cuda:0=80GB,cuda:1=80GB --tokens 512");
  EXPECT_TRUE(holds(placed["device_map"].get<std::string>(), "cuda:1="));
  EXPECT_EQ(run("model plan Llama-3.1-70B --device-map auto").code, 2) << "without the memories";
  EXPECT_EQ(run("model plan Llama-3.1-70B --device-map auto --memory cuda:0=1GB").code, 1);
  EXPECT_EQ(run("model plan Llama-3.1-8B --memory 24").code, 2);
  EXPECT_EQ(run("model plan Llama-3.1-8B --task train --full --dtype int8").code, 2);
  EXPECT_EQ(run("model plan " + path_.string()).code, 0);
}

}  // namespace
}  // namespace introspect
#endif
