// The program from end to end. A home of tiny untrained models makes the whole demo a matter of seconds: its scores
// mean nothing, but every file must be there and a run that was killed must end in the same bytes. Then the bundled
// demo.
#ifdef INTROSPECT_BINARY
#include "base/json.h"
#include "base/temporary_folder.h"
#include "experiment/small_home.h"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <functional>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

struct Outcome {
  int code = -1;  // or the negative signal
  std::string out, error;
  double seconds = 0;
};

class Program : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string home_ = folder_.path().string();

  // One thread in the program: its results are compared bit for bit, and two would share what one core gives.
  pid_t begin(const std::vector<std::string>& arguments) const {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::setenv("INTROSPECT_HOME", home_.c_str(), 1);
    ::setenv("OMP_NUM_THREADS", "1", 1);
    for (const auto& [number, name] : {std::pair<int, const char*>{1, "out"}, {2, "error"}}) {
      const int file = ::open((folder_ / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      ::dup2(file, number);
    }
    std::vector<char*> argv{const_cast<char*>(INTROSPECT_BINARY)};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execv(INTROSPECT_BINARY, argv.data());
    ::_exit(126);
  }
  Outcome run(const std::vector<std::string>& arguments) const {
    const auto start = std::chrono::steady_clock::now();
    Outcome outcome;
    outcome.code = world::end_of_child(begin(arguments));
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    outcome.out = read_text(folder_ / "out");
    outcome.error = read_text(folder_ / "error");
    return outcome;
  }

  void make_home() { world::make_home(folder_); }
  std::string scores(const std::string& out) const { return read_text(folder_ / out / "scores/scores.json"); }
  Outcome demo(const std::string& out, const std::string& workers = "1") const {
    return run({"demo", "--quick", "--workers", workers, "--out", (folder_ / out).string()});
  }
};

// The flat list of fields that scores.json is; every row on every metric.
void check_scores(const Json& scores, const std::set<std::string>& rows) {
  ASSERT_TRUE(scores.is_array());
  std::map<std::string, std::set<std::string>> metrics;
  for (const Json& score : scores) {
    for (const char* key : {"task", "target", "explainer", "condition", "metric", "group", "value", "low", "high", "n",
                            "p_against_self"}) {
      ASSERT_TRUE(score.contains(key)) << key;
      ASSERT_FALSE(score[key].is_structured()) << key;
    }
    if (score["value"].is_number()) {
      EXPECT_GE(score["value"].get<double>(), 0);
      EXPECT_LE(score["value"].get<double>(), 1);
      // one cluster has no interval
      ASSERT_EQ(score["low"].is_number(), score["clusters"].get<int64_t>() > 1) << score.dump();
      if (score["low"].is_number()) {
        EXPECT_LE(score["low"].get<double>(), score["value"].get<double>() + 1e-9);
        EXPECT_GE(score["high"].get<double>(), score["value"].get<double>() - 1e-9);
      }
      EXPECT_GT(score["n"].get<double>(), 0);
    }
    if (score["group"] == "all") {
      metrics[score["explainer"].get<std::string>() + " " + score["condition"].get<std::string>()].insert(
          score["metric"].get<std::string>());
    }
  }
  std::set<std::string> found;
  for (const auto& [row, names] : metrics) {
    found.insert(row);
    EXPECT_TRUE(names.contains("content_on_changed")) << row;
    EXPECT_TRUE(names.contains("has_changed_f1")) << row;
    EXPECT_TRUE(names.contains("exact_match")) << row;
  }
  for (const std::string& row : rows) EXPECT_TRUE(found.contains(row)) << row;
}

TEST_F(Program, WalksTheWholeWayAndKeepsWhatIsComplete) {
  make_home();
  const Outcome first = demo("a");
  ASSERT_EQ(first.code, 0) << first.error;
  const std::string wanted = scores("a");
  check_scores(parse_json(wanted, "scores.json"),
               {"self trained", "twin trained", "twin projected", "self retrained_without_vector", "self zero_vector",
                "self shuffled_in_cell", "self untrained", "self few_shot", "none always_changed",
                "none always_unchanged", "none majority_relation", "none majority_cell"});
  EXPECT_TRUE(holds(first.out, "report.html"));
  const std::string page = read_text(folder_ / "a/report/report.html");
  EXPECT_TRUE(holds(page, "A question?"));
  EXPECT_TRUE(holds(page, "</html>"));
  for (const char* step : {"dataset", "explainers/self-trained-seed1", "explainers/twin-trained-seed1",
                           "answers/self-few_shot-seed1", "projections/twin", "search/self-1", "scores"}) {
    const Json record = read_json(folder_ / "a" / step / "run.json");
    EXPECT_EQ(record["status"], "complete") << step;
    EXPECT_EQ(record["command"][1], "demo") << step;
  }
  // each explainer has the setting with its lowest validation loss
  const Json trials = read_json(folder_ / "a/search/search.json");
  ASSERT_EQ(trials.size(), 4u);
  for (const char* name : {"self", "twin"}) {
    double chosen = 0, rate = 0, lowest = 1e9;
    for (const Json& trial : trials) {
      if (trial["explainer"] != name) continue;
      lowest = std::min(lowest, trial["validation_loss"].get<double>());
      if (!trial["chosen"].get<bool>()) continue;
      chosen = trial["validation_loss"].get<double>();
      rate = trial["setting"] == "slow" ? 1e-4 : 3e-3;
    }
    EXPECT_EQ(chosen, lowest) << name;
    const Json record = read_json(folder_ / "a/explainers" / fmt::format("{}-trained-seed1", name) / "run.json");
    EXPECT_EQ(record["settings"]["learning_rate"].get<double>(), rate) << name;
  }
  EXPECT_TRUE(fs::exists(folder_ / "a/explainers/twin-projected-seed1/projections.safetensors"));

  const auto time = fs::last_write_time(folder_ / "a/explainers/self-trained-seed1/model.safetensors");
  const Outcome second = demo("a");
  ASSERT_EQ(second.code, 0) << second.error;
  EXPECT_EQ(scores("a"), wanted);
  EXPECT_EQ(read_text(folder_ / "a/report/report.html"), page);
  EXPECT_EQ(fs::last_write_time(folder_ / "a/explainers/self-trained-seed1/model.safetensors"), time);
  EXPECT_TRUE(holds(second.out, "complete, kept"));

  // two at a time give the same
  const Outcome two = demo("b", "2");
  ASSERT_EQ(two.code, 0) << two.error;
  EXPECT_EQ(scores("b"), wanted);

  // killed in the sweep, in each training and between answers, each time once something new is there
  const auto in_training = [&](const std::string& explainer) {
    const fs::path at = folder_ / explainer;
    return fs::exists(at / "checkpoint/state.safetensors") || fs::exists(at / "model.safetensors");
  };
  const std::vector<std::pair<const char*, std::function<bool()>>> signs = {
      {"sweep", [&] { return fs::exists(folder_ / "c/dataset/sweep") && !fs::is_empty(folder_ / "c/dataset/sweep"); }},
      {"training of self", [&] { return in_training("c/explainers/self-trained-seed1"); }},
      {"training of twin", [&] { return in_training("c/explainers/twin-trained-seed1"); }},
      {"answers", [&] { return fs::exists(folder_ / "c/answers/self-few_shot-seed1/answers.jsonl"); }}};
  int killed = 0;
  for (const auto& [sign, holds_now] : signs) {
    const pid_t child = begin({"demo", "--quick", "--workers", "1", "--out", (folder_ / "c").string()});
    EXPECT_TRUE(world::wait_for(child, holds_now)) << sign;
    ::kill(child, SIGKILL);
    killed += world::end_of_child(child) == -SIGKILL;
    EXPECT_FALSE(fs::exists(folder_ / "c/scores/scores.json")) << sign;
  }
  EXPECT_EQ(killed, 4) << "a child had ended before it was killed: this test saw less than it should";
  const Outcome resumed = demo("c");
  ASSERT_EQ(resumed.code, 0) << resumed.error;
  EXPECT_EQ(scores("c"), wanted);
  EXPECT_EQ(read_text(folder_ / "c/explainers/twin-trained-seed1/model.safetensors"),
            read_text(folder_ / "a/explainers/twin-trained-seed1/model.safetensors"));
  EXPECT_EQ(read_text(folder_ / "c/dataset/examples.jsonl"), read_text(folder_ / "a/dataset/examples.jsonl"));

  // Ctrl-C: exit code 130, and the same in the end
  const pid_t child = begin({"demo", "--quick", "--workers", "1", "--out", (folder_ / "d").string()});
  EXPECT_TRUE(world::wait_for(child, [&] { return in_training("d/explainers/self-trained-seed1"); }));
  ::kill(child, SIGINT);
  EXPECT_EQ(world::end_of_child(child), 130);
  EXPECT_TRUE(holds(read_text(folder_ / "error"), "run the same command again"));
  ASSERT_EQ(demo("d").code, 0);
  EXPECT_EQ(scores("d"), wanted);
}

// Each step by itself, from a data set to a page.
TEST_F(Program, StepsByThemselves) {
  make_home();
  const auto path = [&](const char* name) { return (folder_ / name).string(); };
  const std::string row = "self:trained=" + path("answers/answers.jsonl");
  const std::vector<std::vector<std::string>> steps = {
      {"dataset", "patching", "--recipe", "demo-quick-patching", "--out", path("data")},
      {"project", "--target", path("models/target"), "--explainer", path("models/twin"), "--facts", path("facts"),
       "--tokens", "1500", "--out", path("maps")},
      {"train", "--model", path("models/target"), "--dataset", path("data"), "--recipe", "demo-quick-patching", "--out",
       path("explainer")},
      {"train", "--model", path("models/twin"), "--dataset", path("data"), "--recipe", "demo-quick-patching",
       "--condition", "projected", "--projections", path("maps"), "--out", path("twin")},
      {"train", "--model", path("models/target"), "--dataset", path("data"), "--dataset", path("data") + ":2",
       "--recipe", "demo-quick-patching", "--out", path("joint")},
      {"answer", "--explainer", path("joint"), "--dataset", path("data"), "--out", path("joint-answers")},
      {"answer", "--explainer", path("explainer"), "--dataset", path("data"), "--out", path("answers")},
      {"answer", "--explainer", path("twin"), "--dataset", path("data"), "--out", path("twin-answers")},
      {"evaluate", "--dataset", path("data"), "--row", row, "--row",
       "twin:projected=" + path("twin-answers/answers.jsonl"), "--out", path("scores")},
      {"report", "--recipe", "demo-quick-patching", "--dataset", path("data"), "--scores", path("scores"), "--row", row,
       "--row", "twin:projected=" + path("twin-answers/answers.jsonl"), "--out", path("page")}};
  for (const auto& step : steps) {
    const Outcome outcome = run(step);
    ASSERT_EQ(outcome.code, 0) << step[0] << ": " << outcome.error;
  }
  check_scores(read_json(folder_ / "scores/scores.json"), {"self trained", "twin projected", "none always_unchanged"});
  const std::string page = read_text(folder_ / "page/report.html");
  EXPECT_TRUE(holds(page, "A question?"));
  EXPECT_TRUE(holds(page, "</html>"));
}

// Input ablation with an explainer that moves and another data set, then both tasks learnt together.
TEST_F(Program, SelfConsistencyTransferAndJointTraining) {
  make_home();
  folder_.write("recipes/hints.toml", R"(# Hints.
kind = "ablation"
title = "Hints"
question = "What if the hint goes?"
[target]
model = "../models/target"
[questions]
path = "../facts"
choices = 3
[dataset]
trial_questions = 0
hints_per_question = 2
balanced = false
[dataset.prompt]
answers = "words"
chat = false
system = ""
user = "{question}\n{hint}\nSay {options}"
[[dataset.hint]]
name = "friend"
text = "A friend says {answer}."
[[dataset.hint]]
name = "book"
text = "The book has {answer}."
[train]
steps = 6
batch = 4
learning_rate = 3e-3
compute = "fp32"
validate_every = 3
validation_examples = 8
[train.explainer]
blank_in_brackets = true
templates = ["What if {part} went?\n{input}\n"]
[[explainer]]
name = "self"
model = "../models/target"
train = { self_consistency = { every = 2, relabel = false, prompts = 8 } }
[[variant]]
condition = "self_consistent"
train = { self_consistency = { relabel = true } }
[[transfer]]
folder = "sentences"
trained_on = "hints"
tested_on = "a sentence of a passage"
dataset = { passage = { statements = 1 } }
[evaluate]
few_shot = 0
untrained = false
limit = 12
max_new_tokens = 8
)");
  folder_.write("recipes/both.toml", R"(# Both.
kind = "joint"
title = "Both at once"
question = "Is one enough?"
[target]
model = "../models/target"
[[task]]
recipe = "../recipes/demo-quick-patching.toml"
[[task]]
recipe = "../recipes/hints.toml"
weight = 2
[train]
steps = 4
batch = 4
replay_share = 0.2
[[train.replay_text]]
kind = "statements"
facts = "../facts"
[evaluate]
seeds = [1, 2]
vectors = []
few_shot = 0
)");
  const std::string hints = (folder_ / "hints").string(), both = (folder_ / "both").string();
  const Outcome first = run({"run", (folder_ / "recipes/hints.toml").string(), "--workers", "1", "--out", hints});
  ASSERT_EQ(first.code, 0) << first.error;
  const std::string page = read_text(folder_ / "hints/report/report.html");
  for (const char* words : {"How far an explainer moves while it learns", "6 (kept)", "labels fixed",
                            "Right about what it was, and about what it has become", "a sentence of a passage"}) {
    EXPECT_TRUE(holds(page, words)) << words;
  }
  check_scores(read_json(folder_ / "hints/transfer/sentences/scores/scores.json"),
               {"self trained", "self trained_on_the_other_task", "none text_classifier"});
  // of the labels it has itself now
  const Json own = read_json(folder_ / "hints/own_labels/self-self_consistent-seed1/own/scores.json");
  EXPECT_GT(own.size(), 0u);
  const Outcome again = run({"run", (folder_ / "recipes/hints.toml").string(), "--workers", "1", "--out", hints});
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_EQ(read_text(folder_ / "hints/report/report.html"), page);

  const Outcome joint = run({"run", (folder_ / "recipes/both.toml").string(), "--workers", "1", "--out", both});
  ASSERT_EQ(joint.code, 0) << joint.error;
  const Json record = read_json(folder_ / "both/joint/self-seed2/run.json");
  EXPECT_EQ(record["results"]["result"]["steps"], 8);
  EXPECT_EQ(record["settings"]["lessons"][1]["weight"], 2.0);
  for (const char* task : {"patching", "ablation"}) {
    check_scores(read_json(folder_ / "both" / task / "scores/scores.json"), {"self trained", "self joint"});
  }
  EXPECT_TRUE(holds(read_text(folder_ / "both/report/report.md"), "One explainer of all tasks against one for each"));
  // beside a single task, as the demo in full has it: that task's part, and the comparison
  const Outcome beside =
      run({"run", (folder_ / "recipes/both.toml").string(), (folder_ / "recipes/hints.toml").string(), "--workers", "1",
           "--out", (folder_ / "beside").string()});
  ASSERT_EQ(beside.code, 0) << beside.error;
  const std::string parts = read_text(folder_ / "beside/report/report.html");
  for (const char* words : {"Right about what it was", "One explainer of all tasks against one for each"}) {
    EXPECT_TRUE(holds(parts, words));
  }
  EXPECT_NE(run({"run", (folder_ / "recipes/both.toml").string(), (folder_ / "recipes/both.toml").string(), "--out",
                 (folder_ / "no").string()})
                .code,
            0);
  EXPECT_TRUE(holds(read_text(folder_ / "error"), "two recipes of the kind joint"));
}

TEST_F(Program, ChangedSettingsInTheSameFolderAreAnError) {
  make_home();
  const fs::path recipe = folder_ / "recipes/demo-quick-patching.toml";
  const auto dataset = [&] {
    return run({"dataset", "patching", "--recipe", recipe.string(), "--out", (folder_ / "data").string()});
  };
  ASSERT_EQ(dataset().code, 0);
  const std::string examples = read_text(folder_ / "data/examples.jsonl");
  std::string text = read_text(recipe);
  write_text(recipe, text.replace(text.find("blocks = 3"), 10, "blocks = 2"));
  const Outcome changed = dataset();
  EXPECT_EQ(changed.code, 1);
  EXPECT_TRUE(holds(changed.error, "'blocks' was 3, now it is 2"));
  EXPECT_EQ(read_text(folder_ / "data/examples.jsonl"), examples);
}

TEST_F(Program, AblatesAnyTextAndReadsQuestions) {
  make_home();
  const auto path = [&](const std::string& name) { return (folder_ / name).string(); };
  Outcome outcome = run({"questions", path("facts"), "--out", path("questions.jsonl")});
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(read_json_lines(folder_ / "questions.jsonl").size(), world::capitals().size());

  outcome = run({"ablate", path("models/target"), "--text", "The capital of France is", "--by", "words", "--answers",
                 "Paris,Rome", "--out", path("out.jsonl")});
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const std::vector<Json> lines = read_json_lines(folder_ / "out.jsonl");
  ASSERT_EQ(lines.size(), 1u);
  ASSERT_EQ(lines[0].at("without").size(), 5u);
  EXPECT_EQ(lines[0].at("without")[3].at("removed"), "France ");
  for (const Json& each : lines[0].at("without")) {
    EXPECT_EQ(each.at("changed").get<bool>(), each.at("answer") != lines[0].at("answer"));
    EXPECT_TRUE(each.at("answer") == "Paris" || each.at("answer") == "Rome");
  }
  folder_.write("texts.jsonl", R"({"text": "One. Two.", "behind": " So", "remove": ["Two."]})"
                               "\n");
  outcome = run({"ablate", path("models/target"), "--jsonl", path("texts.jsonl")});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("without \"Two.\""), std::string::npos) << outcome.out;

  for (const auto& [line, words] : {std::pair{R"({"text": "a b", "remove": ["c"]})", "exactly once"},
                                    {R"({"text": "a b", "spans": [[0, 1]]})", "unknown key 'spans'"},
                                    {R"({"text": ""})", "empty text"},
                                    {R"({"text": "a", "answers": ["Rome", "Rome"]})", "same token"}}) {
    folder_.write("texts.jsonl", std::string(line) + "\n");
    outcome = run({"ablate", path("models/target"), "--jsonl", path("texts.jsonl")});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_NE(outcome.error.find(words), std::string::npos) << outcome.error;
    EXPECT_NE(outcome.error.find("texts.jsonl:1"), std::string::npos) << outcome.error;
  }
  EXPECT_EQ(run({"ablate", path("models/target")}).code, 2);
  EXPECT_EQ(run({"ablate", path("models/target"), "--text", "a", "--by", "letters"}).code, 2);
}

TEST_F(Program, QuestionsAreAnsweredOnTheirPage) {
  make_home();
  std::string text = read_text(folder_ / "recipes/demo-quick-patching.toml");
  const std::string title = "title = \"A title\"\n";
  text.insert(text.find(title) + title.size(), R"(answer = ["label_noise", "scaling", "projection", "reading"]
)");
  folder_.write("recipes/questions.toml", text + R"(
[[variant]]
condition = "random_noise_50"
explainers = ["self"]
train = { label_noise = { share = 0.5, kind = "random" } }
[[variant]]
condition = "systematic_noise_100"
explainers = ["self"]
train = { label_noise = { share = 1.0, kind = "systematic" } }
[[variant]]
condition = "scaling_8"
train = { examples = 8 }
[[variant]]
condition = "turned"
explainers = ["twin"]
train = { explainer = { injection = { projection = "procrustes", train_projection = false } } }
[[variant]]
condition = "retrained_with_wrong_layers"
explainers = ["self"]
train = { layers = "random" }
)");
  const auto answered = [&] {
    return run({"run", (folder_ / "recipes/questions.toml").string(), "--workers", "1", "--out",
                (folder_ / "questions").string()});
  };
  const Outcome first = answered();
  ASSERT_EQ(first.code, 0) << first.error << first.out;
  const std::string page = read_text(folder_ / "questions/report/report.md");
  for (const char* words :
       {"Wrong labels in training", "random wrong labels, 50%", "systematically wrong labels, 100%",
        "Train examples that are enough", "Ways to hand the vector over", "| procrustes | frozen |",
        "What self comes to when its question is another one", "self, retrained with wrong layers"}) {
    EXPECT_TRUE(holds(page, words)) << page;
  }
  const Json taught = read_json(folder_ / "questions/explainers/self-systematic_noise_100-seed1/run.json");
  EXPECT_EQ(taught.at("settings").at("label_noise").at("kind"), "systematic");
  ASSERT_EQ(answered().code, 0);
  EXPECT_EQ(read_text(folder_ / "questions/report/report.md"), page) << "what is complete is kept";
}

TEST_F(Program, ExitCodes) {
  make_home();
  const std::string out = (folder_ / "out-folder").string();
  EXPECT_EQ(run({"--version"}).code, 0);
  EXPECT_EQ(run({"--help"}).code, 0);
  EXPECT_EQ(run({"dance"}).code, 2);
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"demo", "--quick", "--full"}).code, 2);
  EXPECT_EQ(run({"recipe", "ls"}).code, 0);
  EXPECT_EQ(run({"recipe", "validate", "demo-quick-patching"}).code, 0);
  EXPECT_EQ(run({"recipe", "validate", "none-such"}).code, 2);
  const Outcome missing = run({"train", "--model", (folder_ / "no-model").string(), "--dataset", home_, "--recipe",
                               "demo-quick-patching", "--out", out});
  EXPECT_EQ(missing.code, 1);
  const Outcome info = run({"model", "info", (folder_ / "no-model").string()});
  EXPECT_EQ(info.code, 1);
  EXPECT_TRUE(holds(info.error, "no-model"));
  // a recipe whose model is not there, and one with a misspelt key
  std::string text = read_text(folder_ / "recipes/demo-quick-patching.toml");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    folder_.write("recipes/changed.toml", changed.replace(changed.find(from), from.size(), to));
    return run({"run", "changed", "--out", out});
  };
  const Outcome gone = with("models/target", "models/gone");
  EXPECT_EQ(gone.code, 1);
  EXPECT_TRUE(holds(gone.error, "gone"));
  const Outcome misspelt = with("blocks = 3", "blokcs = 3");
  EXPECT_EQ(misspelt.code, 2);
  EXPECT_TRUE(holds(misspelt.error, "blokcs"));
  EXPECT_FALSE(fs::exists(folder_ / "out-folder/scores/scores.json"));
  home_ = (folder_ / "elsewhere").string();
  EXPECT_EQ(run({"recipe", "ls"}).code, 1);
}

// The bundled models, a minute or two.
TEST_F(Program, BundledDemo) {
  home_ = INTROSPECT_SOURCE_DIR;
  for (const char* needed : {"recipes/demo-quick-patching.toml", "models/tiny-llama/model.safetensors",
                             "models/tiny-llama-twin/model.safetensors", "models/tiny-llama-chat/model.safetensors",
                             "models/tiny-llama-twin-chat/model.safetensors"}) {
    if (!fs::exists(fs::path(home_) / needed)) GTEST_SKIP() << needed << " is not there";
  }
  const auto bundled = [&] { return run({"demo", "--quick", "--out", (folder_ / "demo").string()}); };
  const Outcome first = bundled();
  ASSERT_EQ(first.code, 0) << first.error;
  const std::string patching = scores("demo/patching"), ablation = scores("demo/ablation");
  check_scores(
      parse_json(patching, "scores.json"),
      {"self trained", "twin trained", "self retrained_without_vector", "self zero_vector", "self random_vector",
       "self shuffled_vector", "self shuffled_in_cell", "self untrained", "self few_shot", "none always_changed",
       "none always_unchanged", "none majority_relation", "none majority_cell"});
  std::set<std::string> rows;
  for (const Json& score : parse_json(ablation, "scores.json")) {
    rows.insert(score.at("explainer").get<std::string>() + " " + score.at("condition").get<std::string>());
    // whoever is the target says rightly what the target says
    if (rows.contains("self untrained_simulation") && score.at("explainer") == "self" &&
        score.at("condition") == "untrained_simulation" && score.at("metric") == "exact_match") {
      EXPECT_EQ(score.at("value"), 1.0);
    }
  }
  for (const char* row : {"self trained", "twin trained", "base trained", "self self_simulation", "twin hint_differs",
                          "self untrained_simulation", "self untrained", "self untrained_lenient", "self few_shot",
                          "self few_shot_lenient", "none text_classifier", "none majority_wording",
                          "none majority_wording_subject", "none always_changed", "none always_unchanged"}) {
    EXPECT_TRUE(rows.contains(row)) << row;
  }
  EXPECT_FALSE(rows.contains("base self_simulation")) << "it has no chat template";
  const std::string page = read_text(folder_ / "demo/report/report.html");
  EXPECT_NE(page.find("activations are replaced"), std::string::npos);
  EXPECT_NE(page.find("whether a hint decided"), std::string::npos);
  const fs::path trained = folder_ / "demo/ablation/explainers/self-trained-seed1/model.safetensors";
  const auto time = fs::last_write_time(trained);
  const Outcome second = bundled();
  ASSERT_EQ(second.code, 0) << second.error;
  EXPECT_EQ(scores("demo/patching"), patching);
  EXPECT_EQ(scores("demo/ablation"), ablation);
  EXPECT_EQ(fs::last_write_time(trained), time);
  std::printf("the bundled demo took %.0f s, again %.0f s\n", first.seconds, second.seconds);
}

}  // namespace
}  // namespace introspect
#endif
