// Recipes: what is read, what is refused, and that every shipped one holds; jobs side by side.
#include "experiment/recipe.h"

#include "base/parallel.h"
#include "base/temporary_folder.h"
#include "experiment/joint.h"
#include "experiment/rehearsal.h"
#include "train/small_world.h"

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

Json good() {
  return parse_toml(R"(
kind = "patching"
title = "A title"
question = "A question?"
weak = ["It is small."]
[target]
model = "models/target"
[records]
path = "facts"
[dataset]
seed = 3
blocks = 2
[train]
steps = 7
learning_rate = 1e-3
[train.explainer]
blank_in_brackets = true
[train.explainer.injection]
policy = "raw"
[[explainer]]
name = "self"
model = "models/target"
[[explainer]]
name = "twin"
model = "/absolute/twin"
[[variant]]
condition = "without"
explainers = ["self"]
train = { vectors = "zero", explainer = { injection = { scale = 2.0 } } }
[evaluate]
seeds = [1, 2]
vectors = ["zero", "shuffled"]
limit = 50
)",
                    "good.toml");
}

std::string error_with(const std::string& pointer, const Json& value) {
  Json json = good();
  json[Json::json_pointer(pointer)] = value;
  return error_of([&] { parse_recipe(json, "/home/x/recipe.toml"); });
}
std::string error_without(const std::string& key) {
  Json json = good();
  json.erase(key);
  return error_of([&] { parse_recipe(json, "/home/x/recipe.toml"); });
}

TEST(Recipe, IsReadWhole) {
  const Recipe recipe = parse_recipe(good(), "/home/x/recipe.toml");
  EXPECT_EQ(recipe.title, "A title");
  EXPECT_EQ(recipe.question, "A question?");
  EXPECT_EQ(recipe.weak, std::vector<std::string>{"It is small."});
  EXPECT_EQ(recipe.target, "/home/x/models/target");
  EXPECT_EQ(recipe.target_name, "target");
  EXPECT_EQ(recipe.records, "/home/x/facts");
  EXPECT_EQ(recipe.patching.seed, 3u);
  EXPECT_EQ(recipe.patching.sweep.blocks, 2);
  ASSERT_EQ(recipe.explainers.size(), 2u);
  EXPECT_EQ(recipe.explainers[1].model, "/absolute/twin");
  ASSERT_EQ(recipe.variants.size(), 2u);
  EXPECT_EQ(recipe.variants[0].condition, "trained");
  EXPECT_EQ(recipe.variants[0].training.vectors, VectorCondition::real);
  EXPECT_EQ(recipe.variants[0].training.steps, 7);
  EXPECT_EQ(recipe.variants[1].condition, "without");
  EXPECT_EQ(recipe.variants[1].explainers, std::vector<std::string>{"self"});
  EXPECT_EQ(recipe.evaluate.seeds, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(recipe.evaluate.vectors, (std::vector<VectorCondition>{VectorCondition::zero, VectorCondition::shuffled}));
  EXPECT_EQ(recipe.evaluate.limit, 50);
}

TEST(Recipe, AVariantChangesWhatItNamesAndKeepsTheRest) {
  const Recipe recipe = parse_recipe(good(), "/home/x/recipe.toml");
  const ExplainerTraining& changed = recipe.variants[1].training;
  EXPECT_EQ(changed.vectors, VectorCondition::zero);
  EXPECT_EQ(changed.steps, 7);
  EXPECT_EQ(changed.explainer.injection.scale, 2);
  EXPECT_EQ(changed.explainer.injection.policy, InjectionPolicy::raw);
  EXPECT_TRUE(changed.explainer.style.blank_in_brackets);
  EXPECT_EQ(recipe.variants[0].training.explainer.injection.scale, 1);
}

TEST(Recipe, ASearchAndAProjection) {
  Json json = good();
  EXPECT_FALSE(parse_recipe(json, "/home/x/recipe.toml").search.has_value());
  json["search"] = {
      {"steps", 3},
      {"setting", Json::array({{{"name", "slow"}, {"train", {{"learning_rate", 1e-4}}}},
                               {{"name", "loud"}, {"train", {{"explainer", {{"injection", {{"scale", 9.0}}}}}}}}})}};
  json["projection"] = {{"tokens", 100}, {"text", Json::array({{{"kind", "statements"}, {"facts", "facts"}}})}};
  json["train"]["explainer"]["injection"]["projection"] = "least_squares";
  const Recipe recipe = parse_recipe(json, "/home/x/recipe.toml");
  ASSERT_EQ(recipe.search->settings.size(), 2u);
  EXPECT_EQ(recipe.search->steps, 3);
  EXPECT_EQ(recipe.projection->tokens, 100);
  EXPECT_EQ(recipe.projection->base, "/home/x");
  // what was chosen changes the plain settings, and a variant has the last word
  const Json &slow = recipe.search->settings[0].changes, &loud = recipe.search->settings[1].changes;
  EXPECT_EQ(training_of(recipe, recipe.explainers[0], recipe.variants[1], slow).learning_rate, 1e-4);
  EXPECT_EQ(training_of(recipe, recipe.explainers[0], recipe.variants[1], slow).vectors, VectorCondition::zero);
  EXPECT_EQ(training_of(recipe, recipe.explainers[0], recipe.variants[0], loud).explainer.injection.scale, 9);
  EXPECT_EQ(training_of(recipe, recipe.explainers[0], recipe.variants[1], loud).explainer.injection.scale, 2);
  EXPECT_EQ(training_of(recipe, recipe.explainers[0], recipe.variants[0], {}).learning_rate, 1e-3);

  const auto error = [&](const char* pointer, const Json& value) {
    Json changed = json;
    changed[Json::json_pointer(pointer)] = value;
    return error_of([&] { parse_recipe(changed, "recipe.toml"); });
  };
  EXPECT_TRUE(holds(error("/search/colour", 1), "search.colour"));
  EXPECT_TRUE(holds(error("/search/setting/0/colour", 1), "search.setting.colour"));
  EXPECT_TRUE(holds(error("/search/setting/0/train/colour", 1), "colour"));
  EXPECT_TRUE(holds(error("/search/setting/0/name", "loud"), "two search settings are called 'loud'"));
  EXPECT_TRUE(holds(error("/search/steps", 0), "search.steps: got 0"));
  EXPECT_TRUE(holds(error("/projection/colour", 1), "projection.colour"));
  json.erase("projection");
  EXPECT_TRUE(holds(error_of([&] { parse_recipe(json, "recipe.toml"); }), "[projection]"));
}

// The same of input ablation.
Json good_ablation() {
  Json json = good();
  json["kind"] = "ablation";
  json.erase("records");
  json["questions"] = {{"path", "mmlu"}};
  json["dataset"] = {{"prompt", {{"system", "Choose."}}},
                     {"hint", Json::array({{{"name", "friend"}, {"text", "A friend says {answer}."}}})}};
  json["train"].erase("explainer");
  json["explainer"][1]["train"] = {{"explainer", {{"chat", false}, {"system", ""}}}};
  json["variant"] =
      Json::array({{{"condition", "part"}, {"seeds", {2}}, {"train", {{"only", {{"wording", {"friend"}}}}}}}});
  json["evaluate"]["few_shot"] = {0, 4, 8};
  json["generalisation"] = Json::array(
      {{{"condition", "part"}, {"group", "wording=book"}, {"trained_on", "friend"}, {"tested_on", "book"}}});
  return json;
}

TEST(Recipe, OfAblationIsAskedAsTheTargetIs) {
  const Recipe recipe = parse_recipe(good_ablation(), "/home/x/recipe.toml");
  EXPECT_EQ(recipe.kind, "ablation");
  EXPECT_EQ(recipe.records, "/home/x/mmlu");
  const Variant& plain = recipe.variants[0];
  const ExplainerConfig self = training_of(recipe, recipe.explainers[0], plain, {}).explainer;
  EXPECT_EQ(self.task, "ablation");
  EXPECT_TRUE(self.style.chat);
  EXPECT_EQ(self.style.system, "Choose.");
  const ExplainerConfig other = training_of(recipe, recipe.explainers[1], plain, {}).explainer;
  EXPECT_FALSE(other.style.chat) << "an explainer's own changes";
  EXPECT_EQ(other.style.system, "");
  EXPECT_EQ(recipe.variants[1].seeds, std::vector<int64_t>{2});
  EXPECT_EQ(recipe.variants[1].training.only.at("wording"), std::vector<std::string>{"friend"});
  EXPECT_EQ(recipe.evaluate.few_shot, (std::vector<int64_t>{4, 8}));
  ASSERT_EQ(recipe.generalisation.size(), 1u);

  const auto error = [&](const char* pointer, const Json& value) {
    Json changed = good_ablation();
    changed[Json::json_pointer(pointer)] = value;
    return error_of([&] { parse_recipe(changed, "recipe.toml"); });
  };
  EXPECT_TRUE(holds(error("/variant/0/seeds", {5}), "the seed 5"));
  EXPECT_TRUE(holds(error("/generalisation/0/condition", "whole"), "'whole', which no variant has"));
  EXPECT_TRUE(holds(error("/explainer/1/train/colour", 1), "colour"));
  EXPECT_TRUE(holds(error("/dataset/colour", 1), "dataset.colour"));
  EXPECT_TRUE(holds(error("/records", {{"path", "facts"}}), "'records'"));
}

TEST(Recipe, ATransferIsARecipeOfItsOwn) {
  Json json = good_ablation();
  const Json transfer{{"folder", "sentences"},
                      {"trained_on", "hints"},
                      {"tested_on", "sentences"},
                      {"dataset", {{"passage", {{"statements", 2}}}}},
                      {"evaluate", {{"seeds", {1}}}}};
  json["transfer"] = Json::array({transfer});
  const Recipe recipe = parse_recipe(json, "/home/x/recipe.toml");
  ASSERT_EQ(recipe.transfers.size(), 1u);
  const Recipe other = parse_recipe(recipe.transfers[0].json, recipe.path);
  EXPECT_EQ(other.ablation.passage.statements, 2);
  EXPECT_EQ(recipe.ablation.passage.statements, 0);
  EXPECT_EQ(other.explainers.size(), 1u);
  EXPECT_EQ(other.variants.size(), 1u);
  EXPECT_EQ(other.evaluate.seeds, std::vector<int64_t>{1});
  json["transfer"].push_back(json["transfer"][0]);
  EXPECT_TRUE(holds(error_of([&] { parse_recipe(json, "r.toml"); }), "two transfers into the folder 'sentences'"));
  json["transfer"].erase(1);
  json["transfer"][0]["dataset"]["colour"] = 1;
  EXPECT_TRUE(holds(error_of([&] { parse_recipe(json, "r.toml"); }), "dataset.colour"));
  Json patching = good();
  patching["transfer"] = Json::array({transfer});
  EXPECT_TRUE(holds(error_of([&] { parse_recipe(patching, "r.toml"); }), "is for ablation"));
}

TEST(Recipe, AnswersNameFindings) {
  Json json = good();
  json["answer"] = {"label_noise"};
  json["variant"].push_back(
      {{"condition", "noisy"}, {"train", {{"label_noise", {{"share", 0.4}, {"kind", "systematic"}}}}}});
  const Recipe recipe = parse_recipe(json, "/home/x/recipe.toml");
  EXPECT_EQ(recipe.answer, std::vector<std::string>{"label_noise"});
  EXPECT_EQ(recipe.variants.back().training.label_noise->kind, NoiseKind::systematic);
  EXPECT_TRUE(holds(error_with("/answer", {"weather"}), "'weather'"));
  EXPECT_TRUE(holds(error_with("/mixtures", Json::object()), "[mixtures] in a recipe of kind patching"));
  EXPECT_TRUE(holds(error_with("/where_from", Json::object()), "[where_from] in a recipe of kind patching"));
}

TEST(Recipe, WhereFromMustNotTellTheLayer) {
  const fs::path path = fs::path(INTROSPECT_SOURCE_DIR) / "recipes/questions/what-is-read-features.toml";
  const Json json = read_toml(path);
  EXPECT_GT(parse_recipe(json, path).where_from->states, 0);
  const auto error = [&](const char* pointer, const Json& value) {
    Json changed = json;
    changed[Json::json_pointer(pointer)] = value;
    return error_of([&] { parse_recipe(changed, path); });
  };
  EXPECT_TRUE(holds(error("/where_from/train/explainer/templates", {"At layer {layer} {s}{v}{e} is"}), "the layer"));
  EXPECT_TRUE(holds(error("/where_from/train/explainer/templates", Json::array()), "the layer"));
  EXPECT_TRUE(holds(error("/where_from/train/explainer/injection", {{"projection", "random"}}), "the layer"));
  EXPECT_TRUE(holds(error("/where_from/states", 3), "where_from.states: got 3"));
  EXPECT_TRUE(holds(error("/where_from/explainers", {"nobody"}), "'nobody'"));
  EXPECT_TRUE(holds(error("/mixtures/shares", {0.2}), "mixtures.shares: got 0.2"));
  EXPECT_TRUE(holds(error("/mixtures/pairs", 1), "mixtures.pairs: got 1"));
}

TEST(Recipe, AJointOneChangesItsTasks) {
  const fs::path recipes = fs::path(INTROSPECT_SOURCE_DIR) / "recipes";
  const JointRecipe joint = read_joint_recipe(recipes / "demo-full-joint.toml");
  ASSERT_EQ(joint.tasks.size(), 3u);
  for (const Recipe& task : joint.tasks) {
    EXPECT_EQ(task.target, joint.tasks[0].target) << "every explainer begins the same";
    ASSERT_EQ(task.explainers.size(), 1u);
    EXPECT_EQ(task.explainers[0].model, task.target);
    EXPECT_EQ(task.variants.size(), 1u);
    EXPECT_EQ(task.variants[0].training.steps * 3, joint.training.steps) << "as many steps a task";
    EXPECT_EQ(task.variants[0].training.batch, joint.training.batch);
    EXPECT_EQ(task.variants[0].training.replay_text, joint.training.replay_text);
  }
  EXPECT_EQ(joint.tasks[0].variants[0].training.explainer.injection.policy, InjectionPolicy::raw);
  EXPECT_EQ(joint.tasks[2].variants[0].training.explainer.injection.scale, 300);
  const TemporaryFolder folder;
  const std::string text = read_text(recipes / "demo-full-joint.toml");
  const auto written = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    for (size_t at = 0; (at = changed.find("\"../", at)) != std::string::npos;) {
      changed.replace(at + 1, 3, (recipes.parent_path().string() + "/"));
    }
    return folder.write("joint.toml", changed);
  };
  const auto error = [&](const std::string& from, const std::string& to) {
    const fs::path file = written(from, to);
    return error_of([&] { read_joint_recipe(file); });
  };
  EXPECT_EQ(validate_recipe(written("title", "title")), "joint");
  EXPECT_TRUE(holds(error("title", "titel"), "unknown key 'titel'"));
  EXPECT_TRUE(holds(error("demo-ablation", "demo-patching"), "two tasks of the kind patching"));
  EXPECT_TRUE(holds(error("[[task]]\n", "[[task]]\nweight = 0\n"), "task.weight: got 0"));
  EXPECT_TRUE(holds(error("[[task]]\n", "[[task]]\ncolour = 0\n"), "task.colour"));
  EXPECT_TRUE(holds(error("steps = 160", "steps = 0"), "train.steps"));
  EXPECT_TRUE(holds(error_with("/kind", "joint"), "'introspect run' runs it, alone"));
}

TEST(Recipe, UnknownKeysAreErrorsEverywhere) {
  for (const char* pointer : {"/colour", "/target/colour", "/records/colour", "/dataset/colour", "/train/colour",
                              "/train/explainer/colour", "/train/explainer/injection/colour", "/explainer/0/colour",
                              "/variant/0/colour", "/variant/0/train/colour", "/evaluate/colour"}) {
    const std::string text = error_with(pointer, 1);
    EXPECT_TRUE(holds(text, "colour")) << pointer;
    EXPECT_TRUE(holds(text, "recipe.toml")) << pointer;
  }
  EXPECT_TRUE(holds(error_with("/train/lora", {{"colour", 1}}), "lora.colour"));
  EXPECT_TRUE(holds(error_with("/train/replay_text", Json::array({{{"kind", "files"}, {"colour", 1}}})), "colour"));
}

TEST(Recipe, MissingAndWrongValues) {
  for (const char* key :
       {"kind", "title", "question", "target", "records", "dataset", "train", "explainer", "evaluate"}) {
    EXPECT_TRUE(holds(error_without(key), key)) << key;
  }
  EXPECT_TRUE(holds(error_with("/kind", "poem"), "kind: got 'poem', expected patching"));
  EXPECT_TRUE(holds(error_with("/kind", "pretrain"), "'introspect pretrain' runs it"));
  EXPECT_TRUE(holds(error_with("/target", "models/target"), "target"));
  EXPECT_TRUE(holds(error_with("/target/model", 5), "model"));
  Json none = good();
  none["explainer"] = Json::array();
  none.erase("variant");
  EXPECT_TRUE(holds(error_of([&] { parse_recipe(none, "r.toml"); }), "no [[explainer]] table"));
  EXPECT_TRUE(holds(error_with("/evaluate/seeds", Json::array()), "seeds is empty"));
  EXPECT_TRUE(holds(error_with("/evaluate/seeds", {1, 2, 1}), "a seed twice"));
  EXPECT_TRUE(holds(error_with("/evaluate/vectors", {"zero", "noise"}), "'noise'"));
  EXPECT_TRUE(holds(error_with("/evaluate/vectors_of", "some"), "vectors_of: got 'some'"));
  EXPECT_TRUE(holds(error_with("/dataset/blocks", "two"), "blocks"));
  EXPECT_TRUE(holds(error_with("/train/steps", "many"), "steps"));
}

TEST(Recipe, NamesAreGivenOnceAndExist) {
  EXPECT_TRUE(holds(error_with("/explainer/1/name", "self"), "two explainers are called 'self'"));
  EXPECT_TRUE(holds(error_with("/variant/0/explainers", {"self", "cousin"}), "names the explainer 'cousin'"));
  EXPECT_TRUE(holds(error_with("/variant/0/condition", "trained"), "two variants have the condition 'trained'"));
  Json json = good();
  json["variant"].push_back(json["variant"][0]);
  EXPECT_TRUE(holds(error_of([&] { parse_recipe(json, "r.toml"); }), "two variants have the condition 'without'"));
}

TEST(Recipe, EveryShippedOneIsValid) {
  int patching = 0, pretrain = 0;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(INTROSPECT_SOURCE_DIR) / "recipes")) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path().string());
    std::string kind;
    ASSERT_NO_THROW(kind = validate_recipe(entry.path()));
    EXPECT_TRUE(read_text(entry.path()).starts_with("# ")) << "it opens with what it needs and how to launch it";
    EXPECT_TRUE(holds(read_text(entry.path()), "Launch:"));
    patching += kind == "patching";
    pretrain += kind == "pretrain";
  }
  EXPECT_GE(patching, 1);
  EXPECT_GE(pretrain, 1);
}

TEST(Recipe, RehearsalKeepsWhatMemoryNeedsAndShortensTheRest) {
  const fs::path recipes = fs::path(INTROSPECT_SOURCE_DIR) / "recipes";
  for (const char* name : {"demo-full-patching.toml", "demo-full-ablation.toml", "demo-full-features.toml"}) {
    const Recipe full = read_recipe(recipes / name), small = rehearsal_of(full);
    const ExplainerTraining &before = full.variants.front().training, &after = small.variants.front().training;
    EXPECT_EQ(after.batch, before.batch) << name;
    EXPECT_EQ(after.compute, before.compute) << name;
    EXPECT_EQ(after.explainer.style.templates, before.explainer.style.templates) << name;
    EXPECT_LT(after.steps, 5) << name;
    EXPECT_EQ(small.variants.size(), full.variants.size()) << name << ": every row is rehearsed";
    EXPECT_EQ(small.explainers.size(), full.explainers.size()) << name;
    EXPECT_EQ(small.evaluate.seeds, std::vector<int64_t>{full.evaluate.seeds.front()}) << name;
    EXPECT_LT(small.evaluate.limit, 10) << name;
    for (const Variant& variant : small.variants) EXPECT_LT(variant.training.steps, 5) << name;
  }
}

TEST(Recipe, RehearsalIsReckonedInProportion) {
  const fs::path recipes = fs::path(INTROSPECT_SOURCE_DIR) / "recipes";
  Json json = read_toml(recipes / "demo-patching.toml");
  json["train"]["steps"] = 300;
  json["evaluate"]["seeds"] = {1, 2, 3};  // each explainer is trained with each
  const Recipe full = parse_recipe(json, recipes / "demo-patching.toml"), small = rehearsal_of(full);
  const TemporaryFolder out;
  const Json results{{"seconds_per_step", 0.5}};
  out.write("explainers/self-trained-seed1/run.json", Json{{"seconds", 10.0}, {"results", results}}.dump());
  for (const RehearsedPart& part : reckon(full, small, out.path())) {
    if (part.name != "training") continue;
    EXPECT_EQ(part.folders, 1);
    EXPECT_DOUBLE_EQ(part.seconds, 10);
    // what is not steps is opening, as long as before
    const double opening = 10 - 0.5 * static_cast<double>(small.variants.front().training.steps);
    EXPECT_DOUBLE_EQ(part.real, 3 * (opening + 0.5 * 300));
  }
}

TEST(Recipe, FilesThatAreNone) {
  const TemporaryFolder folder;
  EXPECT_TRUE(holds(error_of([&] { validate_recipe(folder / "none.toml"); }), "none.toml"));
  folder.write("bad.toml", "kind = \n");
  EXPECT_TRUE(holds(error_of([&] { validate_recipe(folder / "bad.toml"); }), "bad.toml"));
  folder.write("kindless.toml", "title = 'x'\n");
  EXPECT_TRUE(holds(error_of([&] { validate_recipe(folder / "kindless.toml"); }), "kind"));
}

TEST(RunParallel, EveryJobRunsOnceWhateverTheWorkers) {
  for (const int workers : {0, 1, 2, 5, 40}) {
    std::vector<int> runs(17, 0);
    std::vector<std::function<void()>> jobs;
    for (int& count : runs) jobs.emplace_back([&count] { ++count; });
    run_parallel(jobs, workers);
    EXPECT_EQ(runs, std::vector<int>(17, 1)) << workers << " workers";
  }
  run_parallel({}, 3);
}

TEST(RunParallel, NoMoreThanTheWorkersAtOnceAndInOrder) {
  std::atomic<int> running = 0, most = 0, next = 0;
  std::vector<int> order(12, -1);
  std::vector<std::function<void()>> jobs;
  for (int i = 0; i < 12; ++i) {
    jobs.emplace_back([&, i] {
      order[static_cast<size_t>(i)] = next++;
      const int now = ++running;
      for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      --running;
    });
  }
  run_parallel(jobs, 3);
  EXPECT_LE(most, 3);
  EXPECT_GT(most, 1);
  next = 0;
  run_parallel(jobs, 1);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(RunParallel, TheFirstErrorIsThrownOnceRunningJobsHaveEnded) {
  std::atomic<int> begun = 0, ended = 0;
  std::vector<std::function<void()>> jobs;
  for (int i = 0; i < 30; ++i) {
    jobs.emplace_back([&, i] {
      ++begun;
      if (i == 2) fail("test", "job 2 failed");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ++ended;
    });
  }
  EXPECT_TRUE(holds(error_of([&] { run_parallel(jobs, 2); }), "job 2 failed"));
  EXPECT_EQ(begun, ended + 1);
  EXPECT_LT(begun, 10);
}

TEST(RunParallel, AJobsResultDoesNotDependOnTheWorkers) {
  const auto results = [](int workers) {
    std::vector<double> values(6);
    std::vector<int> threads(6);
    std::vector<std::function<void()>> jobs;
    for (size_t i = 0; i < values.size(); ++i) {
      jobs.emplace_back([&, i] {
        const at::Tensor a = world::random_tensor({300, 301}, i), b = world::random_tensor({301, 257}, 100 + i);
        values[i] = (at::mm(a, b).sum() + a.sum() + at::softmax(b, 0).norm()).item<double>();
        threads[i] = at::get_num_threads();
      });
    }
    run_parallel(jobs, workers);
    EXPECT_EQ(threads, std::vector<int>(6, 1));
    return values;
  };
  at::set_num_threads(2);
  const std::vector<double> one = results(1);
  EXPECT_EQ(results(2), one);
  EXPECT_EQ(results(6), one);
  EXPECT_EQ(at::get_num_threads(), 2) << "the caller's threads come back";
  at::set_num_threads(1);
}

}  // namespace
}  // namespace introspect
