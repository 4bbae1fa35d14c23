// Matrices: what their recipes say and what is refused, and a whole run of tiny models in this process.
#include "experiment/matrix.h"

#include "base/json.h"
#include "experiment/small_home.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

class Matrix : public testing::Test {
 protected:
  TemporaryFolder folder_;

  void SetUp() override {
    world::make_home(folder_);
    for (const auto& [name, width] : {std::pair<const char*, int64_t>{"wide", 48}, {"cousin", 32}}) {
      ModelConfig config = world::config(320, 3);
      config.d_model = width;
      world::write_model(folder_ / "models" / name, world::loud_model(config, 5));
    }
    fs::copy(folder_ / "models/target", folder_ / "models/double");
  }
  // `top` stands above the models and one task; `more` behind them.
  fs::path recipe(const std::string& top = "", const std::string& more = "") const {
    return folder_.write("recipes/matrix.toml", R"(# A matrix.
kind = "matrix"
title = "Who?"
question = "Who explains whom?"
)" + top + R"(
[[model]]
name = "target"
path = "../models/target"
[[model]]
name = "twin"
path = "../models/twin"
[[model]]
name = "cousin"
path = "../models/cousin"
size_class = "another"
[[model]]
name = "wide"
path = "../models/wide"
[[model]]
name = "double"
path = "../models/double"
[train]
steps = 4
validate_every = 2
[evaluate]
vectors = ["zero"]
vectors_of = "all"
few_shot = 0
limit = 12
[[task]]
recipe = "demo-quick-patching.toml"
)" + more);
  }
  std::string error(const std::string& top, const std::string& more = "") const {
    const fs::path file = recipe(top, more);
    return error_of([&] { read_matrix_recipe(file); });
  }
  RunResult run(const fs::path& file, const std::string& out) {
    said_.clear();
    RunOptions options;
    options.workers = 1;
    options.command = "introspect run matrix";
    return run_matrix(read_matrix_recipe(file), folder_ / out, options,
                      [&](const std::string& line) { said_ += line + "\n"; });
  }
  std::string said_;
};

TEST_F(Matrix, TasksAreGivenTheModelsAndTheSameTraining) {
  const MatrixRecipe matrix =
      read_matrix_recipe(recipe("targets = [\"twin\", \"target\"]\n",
                                "metric = \"exact_match\"\nas_explainer = { wide = { steps = 3 } }\n"
                                "as_target = { twin = { dataset = { seed = 9 } } }\n"));
  EXPECT_EQ(matrix.models.size(), 5u);
  ASSERT_EQ(matrix.tasks.size(), 1u);
  const MatrixTask& task = matrix.tasks[0];
  EXPECT_EQ(task.name, "patching");
  EXPECT_EQ(task.metric, "exact_match");
  EXPECT_EQ(task.targets, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(explainers_of(task, 1), (std::vector<size_t>{1, 0, 2, 3, 4})) << "itself first";
  const Recipe cell = matrix_cell_recipe(matrix, task, 1, explainers_of(task, 1), {3});
  EXPECT_EQ(cell.target_name, "twin");
  EXPECT_EQ(cell.target, folder_ / "models/twin");
  ASSERT_EQ(cell.explainers.size(), 5u);
  EXPECT_EQ(cell.explainers[0].name, "self");
  EXPECT_EQ(cell.explainers[0].model, cell.target);
  EXPECT_EQ(cell.explainers[1].name, "target");
  EXPECT_EQ(cell.patching.seed, 9u);
  EXPECT_EQ(matrix_cell_recipe(matrix, task, 0, {0}).patching.seed, 1u);
  EXPECT_EQ(cell.variants.size(), 1u) << "of the task's recipe the variants are left out";
  EXPECT_FALSE(cell.search.has_value());
  EXPECT_EQ(cell.evaluate.limit, 12);
  const auto training = [&](size_t e) { return training_of(cell, cell.explainers[e], cell.variants[0], {}); };
  EXPECT_EQ(training(0).steps, 4);
  EXPECT_EQ(training(3).steps, 3);
  EXPECT_EQ(training(1).explainer.injection.projection, ProjectionKind::none);
  EXPECT_EQ(training(3).explainer.injection.projection, ProjectionKind::random);
  EXPECT_EQ(training(3).explainer.injection.policy, InjectionPolicy::norm_matched);

  const MatrixRecipe alone = read_matrix_recipe(recipe("explainers = [\"self\"]\n"));
  EXPECT_EQ(explainers_of(alone.tasks[0], 2), std::vector<size_t>{2});
  EXPECT_EQ(validate_recipe(recipe()), "matrix");
}

TEST_F(Matrix, RecipeErrors) {
  EXPECT_TRUE(holds(error("colour = 1\n"), "unknown key 'colour'"));
  EXPECT_TRUE(holds(error("targets = [\"uncle\"]\n"), "'uncle', which no [[model]] is called"));
  EXPECT_TRUE(holds(error("explainers = [\"twin\", \"twin\"]\n"), "'twin' is given twice"));
  EXPECT_TRUE(holds(error("targets = []\n"), "no targets"));
  EXPECT_TRUE(holds(error("", "colour = 1\n"), "task.colour"));
  EXPECT_TRUE(holds(error("", "metric = \"beauty\"\n"), "task.metric: got 'beauty'"));
  EXPECT_TRUE(holds(error("", "as_target = { uncle = {} }\n"), "task.as_target.uncle"));
  EXPECT_TRUE(holds(error("", "as_explainer = { twin = { colour = 1 } }\n"), "colour"));
  EXPECT_TRUE(holds(error("", "changes = { dataset = { colour = 1 } }\n"), "colour"));
  EXPECT_TRUE(holds(error("", "name = \"a/b\"\n"), "task.name: got 'a/b'"));
  EXPECT_TRUE(holds(error("", "[[task]]\nrecipe = \"demo-quick-patching.toml\"\n"), "two tasks are called 'patching'"));
  EXPECT_TRUE(holds(error("[[model]]\nname = \"twin\"\npath = \"x\"\n"), "two models are 'twin'"));
  EXPECT_TRUE(holds(error("[[model]]\nname = \"self\"\npath = \"x\"\n"), "the name of a row"));
  EXPECT_TRUE(holds(error("[[model]]\nname = \"x\"\n"), "either path or pretrain"));
  EXPECT_TRUE(holds(error("[[model]]\nname = \"x\"\npretrain = \"y\"\n"), "'y', which there is none of"));
  EXPECT_TRUE(holds(error("[[model]]\nname = \"x\"\npath = \"y\"\nstep = 3\n"), "a step, but no pretrain"));
  EXPECT_TRUE(holds(error("[similarity]\nexemplars = 0\n"), "similarity.exemplars"));
  EXPECT_TRUE(holds(error("", "[[task]]\nrecipe = \"none.toml\"\n"), "none.toml"));
}

TEST_F(Matrix, EveryExplainerOfEveryTarget) {
  const fs::path file = recipe("targets = [\"target\", \"double\", \"twin\", \"cousin\"]\n",
                               "as_target = { cousin = { dataset = { style = \"chat\" } } }\n"
                               "[similarity]\ntokens = 3000\ndirections = 4\nexemplars = 3\n"
                               "[[similarity.text]]\nkind = \"statements\"\nfacts = \"../facts\"\n");
  const RunResult result = run(file, "out");
  EXPECT_TRUE(holds(said_, "refused: it has no chat template"));
  EXPECT_TRUE(holds(said_, "refused: its data set has no test examples")) << "twin, as it happens";
  for (const char* made :
       {"patching/target/explainers/self-trained-seed1", "patching/target/explainers/twin-trained-seed1",
        "patching/double/explainers/wide-trained-seed1", "patching/target/similarity/wide", "patching/double/scores"}) {
    EXPECT_EQ(read_json(folder_ / "out" / made / "run.json")["status"], "complete") << made;
  }
  EXPECT_TRUE(fs::exists(folder_ / "out/patching/double/explainers/wide-trained-seed1/projections.safetensors"));
  EXPECT_FALSE(fs::exists(folder_ / "out/patching/cousin/explainers"));
  EXPECT_TRUE(fs::exists(folder_ / "out/patching/double/report/report.html"));

  const std::string page = read_text(result.page), markdown = read_text(folder_ / "out/report/report.md");
  for (const char* words : {"Who explains whom?", "Privileged access", "introspect run matrix", "best floor",
                            "Does similarity predict the score? Patching", "</html>"}) {
    EXPECT_TRUE(holds(page, words));
  }
  EXPECT_TRUE(holds(markdown, "refused: it has no chat template"));
  EXPECT_TRUE(holds(read_text(folder_ / "out/report/matrix.csv"), "patching,target,wide,zero_vector,"));
  EXPECT_TRUE(holds(markdown, "| patching, target, wide |"));
  EXPECT_TRUE(holds(markdown, "| zero vector at test |"));
  EXPECT_TRUE(holds(markdown, "cases where it is its own target"));
  EXPECT_TRUE(holds(result.summary, "target \\\\ explainer") || holds(result.summary, "target \\ explainer"));
  // a line a cell, and the refused target's
  const std::string csv = read_text(folder_ / "out/report/matrix.csv");
  for (const char* row : {"patching,target,self,trained,", "patching,target,wide,trained,",
                          "patching,double,target,trained,", "patching,target,self,zero_vector,", "patching,cousin,"}) {
    EXPECT_TRUE(holds(csv, row));
  }
  // two targets by five explainers by three blocks, at most
  const std::string points = read_text(folder_ / "out/report/similarity.csv");
  const auto lines = std::count(points.begin(), points.end(), '\n');
  EXPECT_GT(lines, 8);
  EXPECT_LE(lines, 1 + 2 * 5 * 3);
  EXPECT_TRUE(holds(points, "patching,target,target,1,"));
  EXPECT_TRUE(holds(points, "less_another_vector"));
  EXPECT_TRUE(holds(markdown, "have fewer than 30 items and are in the table of points alone"));
  // others of self's size are twin and double: wide is wider, cousin of another class by its recipe
  EXPECT_TRUE(holds(markdown, "(validation loss"));
  EXPECT_FALSE(static_cast<bool>(holds(markdown, "wide (validation loss")));
  EXPECT_FALSE(static_cast<bool>(holds(markdown, "cousin (validation loss")));

  const RunResult again = run(file, "out");
  EXPECT_EQ(again.summary, result.summary);
  EXPECT_TRUE(holds(said_, "complete, kept"));
  EXPECT_FALSE(static_cast<bool>(holds(said_, "answer tokens/s"))) << "nothing is trained twice";

  const fs::path refused = recipe("", "changes = { dataset = { style = \"chat\" } }\n");
  EXPECT_TRUE(holds(error_of([&] { run(refused, "refused"); }), "every target is refused"));
  fs::remove(folder_ / "models/twin/config.json");
  EXPECT_TRUE(holds(error_of([&] { run(file, "out"); }), "model 'twin': no config.json"));
}

TEST_F(Matrix, ExplainersOfOneCheckpointAreAskedAboutAnother) {
  folder_.write("recipes/raise.toml", R"(# Raised.
kind = "pretrain"
[model]
start_from = "../models/target"
[training]
tokens = 800
batch_tokens = 200
pass_tokens = 128
context = 64
learning_rate = 1e-3
compute = "fp32"
snapshots = [1, 3]
[[text]]
kind = "statements"
facts = "../facts"
)");
  const std::string raised = R"(explainers = ["self"]
targets = ["target", "one", "three"]
transfer = true
[[pretrain]]
name = "raised"
recipe = "raise.toml"
[[model]]
name = "one"
pretrain = "raised"
step = 1
[[model]]
name = "three"
pretrain = "raised"
step = 3
[projection]
tokens = 1500
[[projection.text]]
kind = "statements"
facts = "../facts"
)";
  const RunResult result = run(recipe(raised), "out");
  EXPECT_TRUE(fs::exists(folder_ / "out/pretrain/raised/snapshots/step-3/config.json"));
  const std::string csv = read_text(folder_ / "out/report/matrix.csv");
  for (const char* row : {"patching,target,one,asked_about_another_target,",
                          "patching,three,one,asked_about_another_target_mapped,", "patching,one,self,trained,"}) {
    EXPECT_TRUE(holds(csv, row));
  }
  const std::string markdown = read_text(folder_ / "out/report/report.md");
  EXPECT_TRUE(holds(markdown, "what the map changes"));
  EXPECT_TRUE(holds(markdown, "of 6 pairs are worse"));
  EXPECT_TRUE(holds(markdown, "Neighbours in the list of targets"));
  EXPECT_TRUE(holds(markdown, "by how many places apart"));
  EXPECT_FALSE(static_cast<bool>(holds(markdown, "Privileged access")));
  const Json record =
      read_json(folder_ / "out/patching/one/answers" / "three-asked_about_another_target_mapped-seed1" / "run.json");
  EXPECT_EQ(record["inputs"][2]["name"], "map");
  const RunResult again = run(recipe(raised), "out");
  EXPECT_EQ(again.summary, result.summary);
}

}  // namespace
}  // namespace introspect
