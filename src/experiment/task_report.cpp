#include "experiment/task_report.h"

#include "evaluate/browse.h"
#include "experiment/findings.h"

#include <algorithm>
#include <map>

#include <ATen/Parallel.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// "self: Muon 0.012 (validation loss 0.31; Muon 0.006 0.34)".
std::string search_words(const std::vector<Trial>& trials) {
  std::map<std::string, std::pair<std::string, std::vector<std::string>>> by_explainer;
  std::vector<std::string> order;
  for (const Trial& trial : trials) {
    auto& [chosen, others] = by_explainer[trial.explainer];
    if (chosen.empty() && others.empty()) order.push_back(trial.explainer);
    if (trial.chosen) {
      chosen = fmt::format("{} ({:.3f}", trial.setting, trial.validation_loss);
    } else {
      others.push_back(fmt::format("{} {:.3f}", trial.setting, trial.validation_loss));
    }
  }
  std::vector<std::string> words;
  for (const std::string& name : order) {
    const auto& [chosen, others] = by_explainer[name];
    words.push_back(fmt::format("{}: {}; {})", name, chosen, fmt::join(others, ", ")));
  }
  return fmt::format("{}", fmt::join(words, "; "));
}

std::string weights_words(const ExplainerTraining& t) {
  if (t.method == TrainMethod::full) return "all weights";
  return t.method == TrainMethod::lora ? fmt::format("LoRA rank {}", t.lora.rank) : "the projection alone";
}

NamedValues settings_of(const Recipe& recipe, const std::vector<Trial>& trials) {
  const ExplainerTraining& t = recipe.variants.front().training;
  std::vector<std::string> models;
  for (const ExplainerEntry& entry : recipe.explainers) {
    models.push_back(fmt::format("{}: {}", entry.name, entry.model.filename().string()));
  }
  NamedValues values = {
      {"recipe", recipe.path.filename().string()},
      {"explainers", fmt::format("{}", fmt::join(models, "; "))},
      {"training", fmt::format("{}, {} steps of {} examples, learning rate {}{}, {} schedule, replay share {}",
                               weights_words(t), t.steps, t.batch, t.learning_rate,
                               t.muon_rate > 0 ? fmt::format(" and Muon {}", t.muon_rate) : std::string(), t.schedule,
                               t.replay_share)},
      {"question", t.explainer.style.templates.empty() ? "the paper's wordings" : t.explainer.style.templates.front()},
      {"seeds", fmt::format("{}", fmt::join(recipe.evaluate.seeds, ", "))}};
  if (recipe.kind != "ablation") values.push_back({"vector", injection_to_json(t.explainer.injection).dump()});
  if (!trials.empty()) {
    values.push_back({fmt::format("settings search (the same for every explainer, {} steps a trial; the lowest "
                                  "validation loss chose)",
                                  recipe.search->steps),
                      search_words(trials)});
  }
  return values;
}

}  // namespace

ReportInput report_of(const Recipe& recipe, const TaskResult& result, const std::string& command) {
  ReportInput input;
  input.task = recipe.kind;
  input.title = recipe.title;
  input.question = recipe.question;
  input.scores = result.scores;
  for (Score& score : input.scores) score.target = recipe.target_name;
  input.comparisons = result.comparisons;
  for (Comparison& comparison : input.comparisons) comparison.target = recipe.target_name;
  if (recipe.kind == "features") {
    add_feature_facts(recipe, result, input);
  } else if (recipe.kind == "ablation") {
    add_ablation_facts(recipe, result, input);
  } else {
    add_patching_facts(recipe, result, input);
  }
  input.scaling = scaling_points(recipe, result);
  OwnSection found{"What was found", "Shares and scores times 100, with 95% intervals, bootstrap over clusters."};
  for (const Finding& finding : result.findings) {
    const bool wanted = std::find(recipe.answer.begin(), recipe.answer.end(), finding.name) != recipe.answer.end();
    // what the recipe asks stands in front of the scores, what it found besides among the other tables
    if (!finding.table.lines.empty()) (wanted ? found.tables : input.tables).push_back(finding.table);
    if (!wanted) continue;
    found.curves.insert(found.curves.end(), finding.curves.begin(), finding.curves.end());
    input.answer.insert(input.answer.end(), finding.sentences.begin(), finding.sentences.end());
  }
  if (!found.tables.empty()) input.sections.push_back(std::move(found));
  input.facts.insert(input.facts.end(), result.notes.begin(), result.notes.end());
  input.examples = browse_examples(result.scored, result.rows, 30, 1, result.features.get());
  input.command = command;
  input.settings = settings_of(recipe, result.trials);
  input.versions = {{"introspect", INTROSPECT_VERSION}, {"threads", std::to_string(at::get_num_threads())}};
  input.weak = recipe.weak;
  return input;
}

}  // namespace introspect
