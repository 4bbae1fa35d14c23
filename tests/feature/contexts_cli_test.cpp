// introspect contexts itself, on a tiny model and two SAEs.
#ifdef INTROSPECT_BINARY
#include "base/json.h"
#include "base/temporary_folder.h"
#include "feature/context_store.h"
#include "model/tiny_model.h"
#include "sae/saved_sae.h"

#include <map>
#include <sys/wait.h>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

class ContextsCommand : public testing::Test {
 protected:
  TemporaryFolder folder_;

  void SetUp() override {
    ModelConfig config = test::tiny_config();
    config.bos_token = test::tiny_tokenizer().bos();
    save_model(test::tiny_model(config), folder_ / "model", at::kFloat);
    BpeTrainSettings settings;
    settings.vocab_size = 270;
    settings.special_tokens = {"<|begin|>", "<|end|>"};
    settings.bos_token = "<|begin|>";
    settings.eos_token = "<|end|>";
    BpeTrainer trainer(settings);
    trainer.add("the cat and the dog and the bird sat on the mat");
    trainer.train();
    trainer.write(folder_ / "model");
    for (const int64_t layer : {0, 2}) {
      Sae sae;
      sae.kind = SaeKind::topk;
      sae.k = 4;
      sae.encoder = sae.decoder = test::random_tensor({30, 48}, static_cast<uint64_t>(layer) + 5);
      sae.encoder_bias = at::zeros({30});
      sae.decoder_bias = at::zeros({48});
      sae.place = {PlaceKind::resid_post, layer};
      save_sae(sae, folder_ / fmt::format("saes/layer-{}", layer), at::kFloat, Json::object());
    }
    std::string text;
    Random random(2, "text");
    const char* words[] = {"the cat ", "a dog ", "sat\n", "on it ", "and ", "birds "};
    for (int i = 0; i < 3000; ++i) text += words[random.below(6)];
    folder_.write("text.txt", text);
  }

  struct Outcome {
    int code;
    std::string out, error;
  };
  Outcome run(const std::string& arguments) const {
    const std::string command = "cd " + folder_.path().string() + " && OMP_NUM_THREADS=1 " + INTROSPECT_BINARY +
                                " contexts " + arguments + " > out.txt 2> error.txt";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(folder_ / "out.txt"),
            read_text(folder_ / "error.txt")};
  }
  std::map<std::string, std::string> files_of(const std::string& name) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder_ / name)) {
      const std::string file = entry.path().filename().string();
      if (file != "run.json") files[file] = read_text(entry.path());
    }
    return files;
  }
};

TEST_F(ContextsCommand, CollectsShardsMergesAndShows) {
  const std::string given = "model --sae saes --text text.txt --length 16 --tokens 4000 ";
  Outcome outcome = run(given + "--out whole --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Json summary = parse_json(outcome.out, "summary");
  EXPECT_EQ(summary.at("layers").size(), 2u);
  EXPECT_NEAR(summary.at("layers")[0].at("active_a_token").get<double>(), 4, 0.1);
  EXPECT_GE(summary.at("text_tokens").get<int64_t>(), 4000);
  EXPECT_EQ(parse_json(run(given + "--out whole --json").out, "again"), summary);

  EXPECT_EQ(run(given + "--out a --shard 0/2").code, 0);
  EXPECT_EQ(run(given + "--out b --shard 1/2 --threads 2").code, 0);
  outcome = run("merge a b --out merged");
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(files_of("merged"), files_of("whole"));
  EXPECT_EQ(run("merge a --out c").code, 1);

  const ContextStore store = ContextStore::open(folder_ / "whole");
  const at::Tensor rate = store.firing_rate(2);
  const auto latent = rate.argmax().item<int64_t>();
  outcome = run(fmt::format("show whole --feature 2:{}", latent));
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  for (const char* part : {"top", "«", "»", "maximum", "█"}) EXPECT_TRUE(holds(outcome.out, part));
  outcome = run(fmt::format("show whole --feature 2:{} --json", latent));
  EXPECT_EQ(parse_json(outcome.out, "show").at("contexts").size(), store.contexts(2, latent).kinds.size());
  EXPECT_EQ(run("show whole --feature 2:30").code, 2);
  EXPECT_EQ(run("show whole --feature 2").code, 2);
  EXPECT_EQ(run("show nowhere --feature 2:1").code, 1);
}

TEST_F(ContextsCommand, RefusesWhatItCannotDo) {
  EXPECT_EQ(run("").code, 2);
  EXPECT_EQ(run("model --sae saes --out x").code, 2);
  EXPECT_EQ(run("model --sae saes --text text.txt --out x --shard 2/2").code, 2);
  EXPECT_EQ(run("model --sae saes --text text.txt --out x --length 1").code, 2);
  EXPECT_EQ(run("model --sae model --text text.txt --out x").code, 1);
  EXPECT_EQ(run("model --sae saes saes/layer-0 --text text.txt --out y").code, 2);
  EXPECT_EQ(run("model --sae saes --text missing.txt --out z").code, 1);
}

// Documents of a recipe's tables, cut into pieces.
TEST_F(ContextsCommand, ReadsTheTextOfARecipe) {
  folder_.write("recipe.toml",
                "[training]\ncontext = 40\n[[text]]\nkind = \"files\"\nname = \"some\"\npaths = [\"text.txt\"]\n");
  const Outcome outcome = run("model --sae saes/layer-0 --recipe recipe.toml --length 14 --tokens 1000 --out r --json");
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(parse_json(outcome.out, "summary").at("left_out_tokens").get<int64_t>(), 0);
}

}  // namespace
}  // namespace introspect
#endif
