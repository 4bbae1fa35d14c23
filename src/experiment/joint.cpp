#include "experiment/joint.h"

#include "base/error.h"
#include "experiment/recipe_tables.h"
#include "report/row_names.h"
#include "report/table.h"
#include "report/task_words.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr const char* kJoint = "joint";  // the row's condition

Recipe task_recipe(const Json& table, const Json& train, const Json& evaluate, const std::string& target,
                   const fs::path& base, const std::string& label) {
  fs::path path;
  Json json = task_json(table, base, label, path);
  json["target"] = {{"model", target}};
  json["explainer"] = Json::array({{{"name", "self"}, {"model", target}}});
  json["train"].merge_patch(train);
  json["evaluate"].merge_patch(evaluate);
  return parse_recipe(json, path);
}

// Joint against single, a line for each headline metric of each task.
NamedTable joint_table(const std::vector<Recipe>& tasks, const std::vector<TaskResult>& results) {
  NamedTable table{"One explainer of all tasks against one for each",
                   {"task", "metric", "single", "joint", "joint minus single", "p", "n", "clusters", "seeds"},
                   {}};
  for (size_t i = 0; i < tasks.size(); ++i) {
    std::vector<std::string> metrics = words_of(task_of(tasks[i].kind)).headline_metrics;
    metrics.push_back("exact_match");
    std::set<std::string> shown;
    for (const std::string& metric : metrics) {
      const Score *single = find_score(results[i].scores, "self", "trained", metric),
                  *joint = find_score(results[i].scores, "self", kJoint, metric);
      if (!single || !joint || !shown.insert(metric).second) continue;
      table.lines.push_back({task_title(tasks[i].kind, ""), metric_label(metric), score_shown(single),
                             score_shown(joint),
                             difference_shown(joint->difference_to_self, joint->difference_low, joint->difference_high),
                             p_cell(joint->p_against_self), std::to_string(joint->n), std::to_string(joint->clusters),
                             std::to_string(joint->seeds)});
    }
  }
  return table;
}

std::vector<std::string> joint_answer(const std::vector<Recipe>& tasks, const std::vector<TaskResult>& results) {
  std::vector<std::string> sentences;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const std::string metric = words_of(task_of(tasks[i].kind)).headline_metrics.front();
    const Score *single = find_score(results[i].scores, "self", "trained", metric),
                *joint = find_score(results[i].scores, "self", kJoint, metric);
    if (!single || !joint) continue;
    const bool shown = joint->p_against_self < 0.05;
    sentences.push_back(fmt::format(
        "On {}, the explainer of all tasks comes to {}% ({}), the explainer of this task alone to {}%: {} ({} points, "
        "{}, {}).",
        task_title(tasks[i].kind, ""), percent(joint->value), metric_label(metric), percent(single->value),
        !shown                          ? "no difference is shown"
        : joint->difference_to_self > 0 ? "learning the others as well helps"
                                        : "learning the others as well costs something",
        signed_percent(joint->difference_to_self), signed_interval(joint->difference_low, joint->difference_high),
        p_value(joint->p_against_self)));
  }
  return sentences;
}

ReportInput joint_part(const JointRecipe& recipe, const std::vector<TaskResult>& results, const std::string& command) {
  ReportInput input;
  input.task = kJoint;
  input.title = recipe.title;
  input.question = recipe.question;
  input.answer = joint_answer(recipe.tasks, results);
  input.tables.push_back(joint_table(recipe.tasks, results));
  std::vector<std::string> shares;
  for (size_t i = 0; i < recipe.tasks.size(); ++i) {
    shares.push_back(fmt::format("{} {:g}", task_title(recipe.tasks[i].kind, ""), recipe.weights[i]));
  }
  const ExplainerTraining &joint = recipe.training, &single = recipe.tasks.front().variants.front().training;
  input.facts = {{"every explainer begins as", recipe.tasks.front().target_name + ", the target of all tasks"},
                 {"a single explainer", fmt::format("{} steps of {} examples", single.steps, single.batch)},
                 {"the joint explainer", fmt::format("{} steps of {} examples, drawn by weight ({})", joint.steps,
                                                     joint.batch, fmt::join(shares, ", "))},
                 {"tests", "paired permutation tests on the same items, whole clusters swapped, seeds averaged"}};
  input.weak = recipe.weak;
  input.command = command;
  input.settings = {{"recipe", recipe.path.filename().string()}};
  return input;
}

}  // namespace

JointRecipe read_joint_recipe(const fs::path& path) {
  const std::string label = path.string();
  const Json json = read_toml(path);
  const fs::path base = path.parent_path();
  check_keys(json, {"kind", "title", "question", "weak", "target", "task", "train", "evaluate"}, "", label);
  for (const char* key : {"target", "task", "train", "evaluate"}) {
    if (!json.contains(key)) fail_usage("recipe", fmt::format("no table [{}] ({})", key, label));
  }
  check_keys(json.at("target"), {"model"}, "target", label);
  JointRecipe recipe;
  recipe.path = path;
  recipe.title = json_get<std::string>(json, "title", label);
  recipe.question = json_get<std::string>(json, "question", label);
  recipe.weak = json_get_or<std::vector<std::string>>(json, "weak", {}, label);
  const std::string target = absolute_path(json_get<std::string>(json.at("target"), "model", label), base);
  Json train = json.at("train");
  if (train.contains("replay_text")) make_texts_absolute(train.at("replay_text"), base);
  std::set<std::string> kinds;
  for (const Json& table : json.at("task")) {
    check_keys(table, {"recipe", "weight", "changes"}, "task", label);
    recipe.tasks.push_back(task_recipe(table, train, json.at("evaluate"), target, base, label));
    recipe.weights.push_back(json_get_or<double>(table, "weight", 1, label));
    if (!(recipe.weights.back() > 0)) {
      fail_usage("recipe", fmt::format("task.weight: got {}, expected above 0 ({})", recipe.weights.back(), label));
    }
    if (!kinds.insert(recipe.tasks.back().kind).second) {
      fail_usage("recipe", fmt::format("two tasks of the kind {} ({})", recipe.tasks.back().kind, label));
    }
  }
  if (recipe.tasks.size() < 2) fail_usage("recipe", fmt::format("a single [[task]], expected several ({})", label));
  recipe.training = recipe.tasks.front().variants.front().training;
  if (recipe.training.steps < 1) fail_usage("recipe", fmt::format("train.steps: expected at least 1 ({})", label));
  recipe.training.steps *= std::ssize(recipe.tasks);
  return recipe;
}

std::vector<ReportInput> joint_parts(const JointRecipe& recipe, const fs::path& out, const RunOptions& options,
                                     const std::function<void(const std::string&)>& say) {
  std::vector<Dataset> datasets;
  for (const Recipe& task : recipe.tasks) {
    say(task_title(task.kind, ""));
    datasets.push_back(make_data(task, out / task.kind, say));
  }

  say("\njoint explainers: trained on all tasks at once");
  std::vector<TrainJob> jobs;
  for (const int64_t seed : recipe.tasks.front().evaluate.seeds) {
    TrainJob job{
        "self",          kJoint, seed, recipe.tasks.front().target, out / kJoint / fmt::format("self-seed{}", seed),
        recipe.training, {}};
    job.training.seed = static_cast<uint64_t>(seed);
    for (size_t i = 0; i < recipe.tasks.size(); ++i) {
      job.lessons.push_back({out / recipe.tasks[i].kind / "dataset", &datasets[i],
                             recipe.tasks[i].variants.front().training, recipe.weights[i]});
    }
    jobs.push_back(std::move(job));
  }
  train_side_by_side(jobs, datasets.front(), {}, options.workers, "train joint", say);

  std::vector<TaskResult> results;
  std::vector<ReportInput> parts(1);
  for (size_t i = 0; i < recipe.tasks.size(); ++i) {
    const Recipe& task = recipe.tasks[i];
    say("\n" + task_title(task.kind, ""));
    for (size_t j = 0; j < jobs.size(); ++j) jobs[j].training = jobs[j].lessons[i].training;
    results.push_back(run_task(task, out / task.kind, options, say, jobs));
    parts.push_back(report_of(task, results.back(), options.command));
  }
  parts.front() = joint_part(recipe, results, options.command);
  return parts;
}

RunResult run_joint(const JointRecipe& recipe, const fs::path& out, const RunOptions& options,
                    const std::function<void(const std::string&)>& say) {
  RunOptions own = options;
  own.title = recipe.title;
  own.question = recipe.question;
  return write_run(joint_parts(recipe, out, own, say), out, own);
}

}  // namespace introspect
