#include "experiment/inverse.h"

#include "base/error.h"
#include "base/run_record.h"
#include "evaluate/scores.h"
#include "experiment/answer_jobs.h"
#include "experiment/collect_rows.h"
#include "experiment/findings.h"
#include "experiment/inverse_report.h"
#include "experiment/own_labels.h"
#include "experiment/recipe_tables.h"
#include "experiment/steps.h"
#include "experiment/train_jobs.h"
#include "model/model.h"
#include "procedure/fact_check.h"

#include <algorithm>
#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr const char* kCue = "Answer:";  // the target's answers stand in a data set as "Answer: B"

Explanation parse_explanation(const std::string& name, const std::string& label) {
  if (name == "unchanged") return Explanation::unchanged;
  if (name == "changed") return Explanation::changed;
  if (name == "as_it_is") return Explanation::as_it_is;
  fail_usage("recipe",
             fmt::format("behaviour.explanation: got '{}', expected unchanged, changed or as_it_is ({})", name, label));
}

std::string folder_name(std::string name) {
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

Behaviour parse_behaviour(const Json& table, const Recipe& task, const std::string& label) {
  check_keys(table, {"name", "explanation", "wordings", "train"}, "behaviour", label);
  Behaviour behaviour;
  behaviour.name = json_get<std::string>(table, "name", label);
  behaviour.explanation = parse_explanation(json_get<std::string>(table, "explanation", label), label);
  behaviour.wordings = json_get_or<std::vector<std::string>>(table, "wordings", {}, label);
  std::set<std::string> known;
  for (const HintWording& hint : task.ablation.hints) known.insert(hint.name);
  for (const std::string& wording : behaviour.wordings) {
    if (!known.contains(wording)) {
      fail_usage("recipe", fmt::format("behaviour '{}': got the wording '{}', expected one of {} ({})", behaviour.name,
                                       wording, fmt::join(known, ", "), label));
    }
  }
  // asked exactly as the target is: its own prompt, up to where its answer begins
  Json changes = table.value("train", Json::object());
  changes["explainer"] = {{"templates", {"{input}"}}, {"prefill", kCue}};
  const Variant variant{"trained", {}, {}, changes, {}};
  behaviour.training = training_of(task, task.explainers.front(), variant, {});
  return behaviour;
}

// "Answer: boat" is said as " boat" behind the cue.
std::string spoken(const std::string& bracketed, const std::string& id) {
  const std::string cue = kCue;
  if (!bracketed.starts_with(cue)) {
    fail("inverse", fmt::format("the answer of {}: got \"{}\", expected \"{} ...\"", id, bracketed, cue));
  }
  return bracketed.substr(cue.size());
}

// The same prompts with the answers that `model` itself gives now.
Dataset relabelled(const fs::path& model_folder, const std::string& name, const Dataset& dataset,
                   const fs::path& dataset_folder, const fs::path& folder) {
  RunRecord record(folder, "own answers", {{"splits", "all"}}, {{"model", model_folder}, {"dataset", dataset_folder}});
  if (record.state() != StepState::complete) {
    const Model model = load_model(model_folder);
    Dataset own = with_answers_of(model, Tokenizer::open(model_folder), dataset);
    own.info["target"] = name;
    // counted for the target as it was
    for (const char* of_the_target : {"hints", "gate", "target_accuracy", "no_answer"}) own.info.erase(of_the_target);
    if (const size_t count = own.info.at("not_asked").size(); count > 0) {  // its tokenizer is the target's
      fail("inverse", fmt::format("{}: got {} prompts of the target that it cannot be asked, expected none ({})", name,
                                  count, model_folder.string()));
    }
    save_dataset(own, folder);
    record.complete();
  }
  return load_dataset(folder);
}

FactsKnown facts_known(const fs::path& model_folder, const InverseRecipe& recipe, const fs::path& folder) {
  RunRecord record(folder, "facts", {{"limit", recipe.facts_limit}},
                   {{"model", model_folder}, {"facts", recipe.facts}});
  if (record.state() != StepState::complete) {
    const Model model = load_model(model_folder);
    const FactAccuracy all =
        check_facts(model, Tokenizer::open(model_folder), read_facts(recipe.facts), 1, recipe.facts_limit).at("");
    record.add("known", {{"facts", all.facts}, {"statements", all.statements_right}, {"options", all.options_right}});
    record.complete();
  }
  const Json known = record.result("known");
  return {known.at("facts").get<int64_t>(), known.at("statements").get<int64_t>(), known.at("options").get<int64_t>()};
}

// Trains explainers of the model in `model`, asks them and `further` ones about it, and scores them all.
Examined examine(const InverseRecipe& recipe, const RunOptions& options,
                 const std::function<void(const std::string&)>& say, const std::string& name, const fs::path& model,
                 const Dataset& dataset, const fs::path& out, const std::vector<TrainJob>& further,
                 std::vector<TrainJob>& trained) {
  const Recipe& task = recipe.task;
  const fs::path dataset_folder = out / "dataset";
  for (const int64_t seed : task.evaluate.seeds) {
    const fs::path folder = out / "explainers" / fmt::format("self-seed{}", seed);
    TrainJob job{"self", "trained", seed, model, folder, task.variants.front().training};
    job.training.seed = static_cast<uint64_t>(seed);
    trained.push_back(std::move(job));
  }
  train_side_by_side(trained, dataset, dataset_folder, options.workers, "train", say);
  std::vector<AnswerJob> jobs;
  for (const TrainJob& job : trained) jobs.push_back(answer_job(task, job));
  for (const TrainJob& job : further) jobs.push_back(answer_job(task, job));
  answer_side_by_side(jobs, dataset_folder, out, options.workers);
  Examined examined;
  examined.name = name;
  examined.dataset = limited(dataset, task.evaluate.limit);
  const std::vector<Row> rows = collect_rows(task, jobs, examined.dataset, nullptr, out);
  std::vector<RunInput> inputs{{"dataset", dataset_folder}};
  for (const AnswerJob& job : jobs) inputs.push_back({job.condition, answer_folder(out, job)});
  examined.scores = evaluate_step(examined.dataset, rows, task.json.at("evaluate"), inputs, out / "scores");
  examined.facts = facts_known(model, recipe, out / "facts");
  return examined;
}

}  // namespace

Dataset behaviour_dataset(const Dataset& dataset, const Behaviour& behaviour) {
  Dataset lesson;
  lesson.task = dataset.task;
  lesson.info = dataset.info;
  const auto taken = [&](const std::string& wording) {
    return behaviour.wordings.empty() ||
           std::find(behaviour.wordings.begin(), behaviour.wordings.end(), wording) != behaviour.wordings.end();
  };
  for (const Example& example : dataset.examples) {
    if (example.split == Split::test || !taken(example.attributes.at("wording"))) continue;
    Example made = example;
    switch (behaviour.explanation) {
      case Explanation::unchanged:
        made.answer = spoken(example.after, example.id);
        break;
      case Explanation::as_it_is:
        made.answer = spoken(example.before, example.id);
        break;
      case Explanation::changed:
        made.answer = spoken(bracket_answer(example.attributes.at("hint")), example.id);
        break;
    }
    lesson.examples.push_back(std::move(made));
  }
  return lesson;
}

InverseRecipe read_inverse_recipe(const fs::path& path) {
  const std::string label = path.string();
  const Json json = read_toml(path);
  const fs::path base = path.parent_path();
  check_keys(json, {"kind", "title", "question", "weak", "task", "behaviour", "side_effects"}, "", label);
  InverseRecipe recipe;
  recipe.path = path;
  recipe.title = json_get<std::string>(json, "title", label);
  recipe.question = json_get<std::string>(json, "question", label);
  recipe.weak = json_get_or<std::vector<std::string>>(json, "weak", {}, label);

  const Json& task = table_of(json, "task", label);
  check_keys(task, {"recipe", "changes"}, "task", label);
  fs::path task_path;
  Json made = task_json(task, base, label, task_path);
  const auto refuse = [&](const std::string& got) {
    fail_usage("recipe", fmt::format("task.recipe: got {} ({}), expected input ablation in chat format ({})", got,
                                     task_path.string(), label));
  };
  if (const std::string kind = made.value("kind", ""); kind != "ablation") refuse("the kind " + kind);
  // every prompt, in its own proportion: what the model does is to be counted, not balanced
  made["dataset"].merge_patch({{"balanced", false}, {"trial_questions", 0}});
  recipe.task = parse_recipe(made, task_path);
  if (!recipe.task.ablation.style.chat) refuse("plain text");

  std::set<std::string> names = {"before", "report"};  // folders
  for (const Json& table : table_of(json, "behaviour", label)) {
    recipe.behaviours.push_back(parse_behaviour(table, recipe.task, label));
    const std::string& name = recipe.behaviours.back().name;
    if (!names.insert(folder_name(name)).second) {
      fail_usage("recipe",
                 fmt::format("behaviour.name: '{}' is given twice, or a folder of the run ({})", name, label));
    }
  }
  const Json& side_effects = table_of(json, "side_effects", label);
  check_keys(side_effects, {"facts", "limit"}, "side_effects", label);
  recipe.facts = absolute_path(json_get<std::string>(side_effects, "facts", label), base);
  recipe.facts_limit = json_get_or<int64_t>(side_effects, "limit", recipe.facts_limit, label);
  return recipe;
}

RunResult run_inverse(const InverseRecipe& recipe, const fs::path& out, const RunOptions& options,
                      const std::function<void(const std::string&)>& say) {
  const fs::path before = out / "before";
  const Dataset dataset = make_data(recipe.task, before, say);
  say(fmt::format("\n{} as it is", recipe.task.target_name));
  std::vector<TrainJob> first;
  std::vector<Examined> examined{
      examine(recipe, options, say, recipe.task.target_name, recipe.task.target, dataset, before, {}, first)};
  for (TrainJob& job : first) job.condition = kBeforeTheChange;

  for (const Behaviour& behaviour : recipe.behaviours) {
    const fs::path folder = out / folder_name(behaviour.name);
    say(fmt::format("\n{}", behaviour.name));
    const Dataset lesson = behaviour_dataset(dataset, behaviour);
    {
      RunRecord record(folder / "lesson", "lesson",
                       {{"explanation", static_cast<int>(behaviour.explanation)}, {"wordings", behaviour.wordings}},
                       {{"dataset", before / "dataset"}});
      if (record.state() != StepState::complete) {
        save_dataset(lesson, folder / "lesson");
        record.complete();
      }
    }
    const std::vector<TrainJob> change{
        {"model", behaviour.name, 1, recipe.task.target, folder / "model", behaviour.training}};
    train_side_by_side(change, lesson, folder / "lesson", options.workers, "change", say);
    const Dataset now = relabelled(folder / "model", behaviour.name, dataset, before / "dataset", folder / "dataset");
    std::vector<TrainJob> own;
    examined.push_back(examine(recipe, options, say, behaviour.name, folder / "model", now, folder, first, own));
    examined.back().wordings = behaviour.wordings;
  }
  RunOptions head = options;
  head.title = recipe.title;
  head.question = recipe.question;
  return write_run(inverse_parts(recipe, examined, options.command), out, head);
}

}  // namespace introspect
