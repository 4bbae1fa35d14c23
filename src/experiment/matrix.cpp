#include "experiment/matrix.h"

#include "base/error.h"
#include "evaluate/metrics.h"
#include "experiment/recipe_tables.h"
#include "report/task_words.h"
#include "train/pretrain.h"

#include <algorithm>
#include <set>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// It names folders and rows.
void check_name(const std::string& name, const char* what, const std::string& label) {
  const std::string letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  if (name.empty() || name[0] == '.' || name.find_first_not_of(letters) != std::string::npos) {
    fail_usage("recipe",
               fmt::format("{}: got '{}', expected letters, digits, '-', '_' and '.' ({})", what, name, label));
  }
  if (name == "self" || name == "none") {
    fail_usage("recipe", fmt::format("{}: '{}' is the name of a row that every matrix has ({})", what, name, label));
  }
}

std::vector<MatrixModel> parse_models(const Json& json, const std::vector<MatrixPretraining>& made,
                                      const fs::path& base, const std::string& label) {
  std::vector<MatrixModel> models;
  for (const Json& table : json) {
    check_keys(table, {"name", "path", "pretrain", "step", "size_class"}, "model", label);
    MatrixModel model;
    model.name = json_get<std::string>(table, "name", label);
    check_name(model.name, "model.name", label);
    for (const MatrixModel& other : models) {
      if (other.name == model.name) fail_usage("recipe", fmt::format("two models are '{}' ({})", model.name, label));
    }
    model.size_class = json_get_or<std::string>(table, "size_class", "", label);
    if (table.contains("path") == table.contains("pretrain")) {
      fail_usage("recipe", fmt::format("model '{}': expected either path or pretrain ({})", model.name, label));
    }
    if (table.contains("path")) {
      if (table.contains("step")) {
        fail_usage("recipe", fmt::format("model '{}': a step, but no pretrain ({})", model.name, label));
      }
      model.path = absolute_path(json_get<std::string>(table, "path", label), base);
    } else {
      model.pretrain = json_get<std::string>(table, "pretrain", label);
      if (table.contains("step")) model.step = json_get<int64_t>(table, "step", label);
      const bool known =
          std::any_of(made.begin(), made.end(), [&](const auto& each) { return each.name == model.pretrain; });
      if (!known) {
        fail_usage("recipe", fmt::format("model '{}' is of the pre-training '{}', which there is none of ({})",
                                         model.name, model.pretrain, label));
      }
    }
    models.push_back(std::move(model));
  }
  if (models.size() < 2) fail_usage("recipe", fmt::format("{} [[model]], expected several ({})", models.size(), label));
  return models;
}

// Those that `table` lists under `key`, else `otherwise`.
std::vector<size_t> places(const Json& table, const char* key, const std::vector<MatrixModel>& models,
                           const std::vector<size_t>& otherwise, const std::string& label) {
  if (!table.contains(key)) return otherwise;
  std::vector<size_t> chosen;
  for (const std::string& name : json_get<std::vector<std::string>>(table, key, label)) {
    const auto found =
        std::find_if(models.begin(), models.end(), [&](const auto& model) { return model.name == name; });
    if (found == models.end()) {
      fail_usage("recipe", fmt::format("{}: '{}', which no [[model]] is called ({})", key, name, label));
    }
    const auto place = static_cast<size_t>(found - models.begin());
    if (std::find(chosen.begin(), chosen.end(), place) != chosen.end()) {
      fail_usage("recipe", fmt::format("{}: '{}' is given twice ({})", key, name, label));
    }
    chosen.push_back(place);
  }
  return chosen;
}

void choose_explainers(const Json& table, const std::vector<MatrixModel>& models, MatrixTask& task,
                       const std::string& label) {
  if (!table.contains("explainers")) return;
  task.self_alone = table.at("explainers") == Json::array({"self"});
  if (!task.self_alone) task.explainers = places(table, "explainers", models, task.explainers, label);
}

void check_names(const Json& table, const char* key, const std::vector<MatrixModel>& models, const std::string& label) {
  if (!table.contains(key)) return;
  for (const auto& [name, changes] : table.at(key).items()) {
    const std::string wanted = name;
    if (std::none_of(models.begin(), models.end(), [&](const auto& model) { return model.name == wanted; })) {
      fail_usage("recipe", fmt::format("task.{}.{}: no [[model]] is called so ({})", key, name, label));
    }
  }
}

std::string parse_metric(const Json& table, const std::string& kind, const std::string& label) {
  const std::string metric =
      json_get_or<std::string>(table, "metric", words_of(task_of(kind)).headline_metrics.front(), label);
  std::vector<std::string> names;
  for (const Metric each : kMetrics) names.push_back(metric_name(each));
  if (std::find(names.begin(), names.end(), metric) == names.end()) {
    fail_usage("recipe",
               fmt::format("task.metric: got '{}', expected one of {} ({})", metric, fmt::join(names, ", "), label));
  }
  return metric;
}

MatrixTask parse_task(const Json& table, const Json& json, const MatrixRecipe& recipe, const MatrixTask& all,
                      const std::string& label) {
  check_keys(table, {"recipe", "name", "targets", "explainers", "metric", "changes", "as_target", "as_explainer"},
             "task", label);
  const fs::path base = recipe.path.parent_path();
  MatrixTask task;
  task.json = task_json(table, base, label, task.path);
  for (const char* key : {"train", "evaluate", "projection"}) {
    if (!json.contains(key)) continue;
    Json changes = json.at(key);
    for (const char* texts : {"replay_text", "text"}) {
      if (changes.contains(texts)) make_texts_absolute(changes.at(texts), base);
    }
    if (!task.json.contains(key)) task.json[key] = Json::object();
    task.json[key].merge_patch(changes);
  }
  task.kind = json_get<std::string>(task.json, "kind", task.path.string());
  task.name = json_get_or<std::string>(table, "name", task.kind, label);
  check_name(task.name, "task.name", label);
  task.metric = parse_metric(table, task.kind, label);
  task.targets = places(table, "targets", recipe.models, all.targets, label);
  task.explainers = all.explainers;
  task.self_alone = all.self_alone;
  choose_explainers(table, recipe.models, task, label);
  check_names(table, "as_target", recipe.models, label);
  check_names(table, "as_explainer", recipe.models, label);
  task.as_target = table.value("as_target", Json::object());
  task.as_explainer = table.value("as_explainer", Json::object());
  if (task.targets.empty()) fail_usage("recipe", fmt::format("task '{}' has no targets ({})", task.name, label));
  return task;
}

}  // namespace

std::vector<size_t> explainers_of(const MatrixTask& task, size_t target) {
  if (task.self_alone) return {target};
  std::vector<size_t> order;
  for (const size_t each : task.explainers) {
    if (each == target) order.insert(order.begin(), each);
    if (each != target) order.push_back(each);
  }
  return order;
}

Recipe matrix_cell_recipe(const MatrixRecipe& recipe, const MatrixTask& task, size_t target,
                          const std::vector<size_t>& explainers, const std::vector<size_t>& random_projection) {
  const MatrixModel& examined = recipe.model(target);
  Json json = task.json;
  if (task.as_target.contains(examined.name)) json.merge_patch(task.as_target.at(examined.name));
  json["target"] = {{"model", examined.path.string()}, {"name", examined.name}};
  json["explainer"] = Json::array();
  for (const size_t each : explainers) {
    const MatrixModel& model = recipe.model(each);
    Json entry{{"name", each == target ? "self" : model.name}, {"model", model.path.string()}};
    Json changes = task.as_explainer.value(model.name, Json::object());
    if (std::find(random_projection.begin(), random_projection.end(), each) != random_projection.end()) {
      changes["explainer"]["injection"]["projection"] = "random";
    }
    if (!changes.empty()) entry["train"] = std::move(changes);
    json["explainer"].push_back(std::move(entry));
  }
  return parse_recipe(json, task.path);
}

MatrixRecipe read_matrix_recipe(const fs::path& path) {
  const std::string label = path.string();
  const Json json = read_toml(path);
  const fs::path base = path.parent_path();
  check_keys(json,
             {"kind", "title", "question", "weak", "targets", "explainers", "transfer", "model", "pretrain", "task",
              "train", "evaluate", "projection", "similarity"},
             "", label);
  for (const char* key : {"model", "task"}) {
    if (!json.contains(key)) fail_usage("recipe", fmt::format("no table [[{}]] ({})", key, label));
  }
  MatrixRecipe recipe;
  recipe.path = path;
  recipe.title = json_get<std::string>(json, "title", label);
  recipe.question = json_get<std::string>(json, "question", label);
  recipe.weak = json_get_or<std::vector<std::string>>(json, "weak", {}, label);
  recipe.transfer = json_get_or<bool>(json, "transfer", false, label);
  if (json.contains("similarity")) {
    recipe.similarity = parse_similarity_settings(json.at("similarity"), label, base);
  }
  for (const Json& table : json.value("pretrain", Json::array())) {
    check_keys(table, {"name", "recipe"}, "pretrain", label);
    MatrixPretraining each{json_get<std::string>(table, "name", label),
                           absolute_path(json_get<std::string>(table, "recipe", label), base)};
    check_name(each.name, "pretrain.name", label);
    read_pretrain_recipe(each.recipe);  // throws
    recipe.pretraining.push_back(std::move(each));
  }
  recipe.models = parse_models(json.at("model"), recipe.pretraining, base, label);
  MatrixTask all;
  for (size_t i = 0; i < recipe.models.size(); ++i) all.targets.push_back(i);
  all.explainers = all.targets;
  all.targets = places(json, "targets", recipe.models, all.targets, label);
  choose_explainers(json, recipe.models, all, label);
  std::set<std::string> names;
  for (const Json& table : json.at("task")) {
    recipe.tasks.push_back(parse_task(table, json, recipe, all, label));
    MatrixTask& task = recipe.tasks.back();
    if (!names.insert(task.name).second) {
      fail_usage("recipe", fmt::format("two tasks are called '{}' ({})", task.name, label), "give one a name");
    }
    for (const size_t target : task.targets) {
      matrix_cell_recipe(recipe, task, target, explainers_of(task, target));  // throws
    }
  }
  return recipe;
}

}  // namespace introspect
