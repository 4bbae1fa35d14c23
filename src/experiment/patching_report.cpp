#include "experiment/patching_report.h"

#include "base/run_record.h"
#include "evaluate/browse.h"
#include "report/report.h"

#include <map>

#include <ATen/Parallel.h>
#include <fmt/ranges.h>

namespace introspect {

namespace {

NamedValues data_facts(const Recipe& recipe, const Dataset& dataset) {
  const Json& accuracy = dataset.info.at("target_accuracy");
  return {{"task", "activation patching"},
          {"target",
           fmt::format("{}; it answers {:.1f}% of {} prompts rightly, and only those are patched", recipe.target_name,
                       100 * accuracy.at("share").get<double>(), accuracy.at("prompts").get<int64_t>())},
          {"layer blocks", dataset.info.at("blocks").dump()},
          {"examples",
           fmt::format("{} train, {} validation, {} test; half of each cell changed", dataset.of(Split::train).size(),
                       dataset.of(Split::validation).size(), dataset.of(Split::test).size())},
          {"split", "by subject: no subject, nor counterfactual subject, is in two splits"}};
}

// Found before balancing per (token type, block), and how many of them the data set keeps.
std::vector<CellFact> cell_facts(const Dataset& dataset) {
  std::map<std::pair<std::string, std::string>, int64_t> kept;
  for (const Example& example : dataset.examples) {
    ++kept[{example.attributes.at("token_type"), example.attributes.at("block")}];
  }
  std::vector<CellFact> cells;
  for (const Json& entry : dataset.info.at("change_map")) {
    CellFact cell;
    cell.token_type = entry.at("token_type").get<std::string>();
    cell.block = std::to_string(entry.at("block").get<int64_t>());
    cell.items = entry.at("patches").get<int64_t>();
    cell.changed = entry.at("changed").get<int64_t>();
    cell.kept = kept[{cell.token_type, cell.block}];
    if (cell.kept == 0) cell.reason = "too few changed or unchanged items in every relation";
    cells.push_back(cell);
  }
  return cells;
}

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

NamedValues settings_of(const Recipe& recipe, const std::vector<Trial>& trials) {
  const ExplainerTraining& t = recipe.variants.front().training;
  std::vector<std::string> models;
  for (const ExplainerEntry& entry : recipe.explainers) {
    models.push_back(fmt::format("{}: {}", entry.name, entry.model.filename().string()));
  }
  const Json injection = injection_to_json(t.explainer.injection);
  NamedValues values = {
      {"recipe", recipe.path.filename().string()},
      {"explainers", fmt::format("{}", fmt::join(models, "; "))},
      {"training",
       fmt::format("{}, {} steps of {} examples, learning rate {}{}, {} schedule, replay share {}",
                   t.full ? "all weights" : fmt::format("LoRA rank {}", t.lora.rank), t.steps, t.batch, t.learning_rate,
                   t.muon_rate > 0 ? fmt::format(" and Muon {}", t.muon_rate) : std::string(), t.schedule,
                   t.replay_share)},
      {"vector", injection.dump()},
      {"question",
       t.explainer.style.templates.empty() ? "the paper's five wordings" : t.explainer.style.templates.front()},
      {"seeds", fmt::format("{}", fmt::join(recipe.evaluate.seeds, ", "))}};
  if (!trials.empty()) {
    values.push_back({fmt::format("settings search (the same for every explainer, {} steps a trial; the lowest "
                                  "validation loss chose)",
                                  recipe.search->steps),
                      search_words(trials)});
  }
  return values;
}

}  // namespace

fs::path write_patching_report(const Recipe& recipe, const std::vector<Trial>& trials, const Dataset& dataset,
                               const std::vector<Row>& rows, const std::vector<Score>& scores,
                               const std::vector<Comparison>& comparisons, const std::string& command,
                               const fs::path& folder) {
  ReportInput input;
  input.title = recipe.title;
  input.question = recipe.question;
  input.scores = scores;
  for (Score& score : input.scores) score.target = recipe.target_name;
  input.comparisons = comparisons;
  for (Comparison& comparison : input.comparisons) comparison.target = recipe.target_name;
  input.facts = data_facts(recipe, dataset);
  input.cells = cell_facts(dataset);
  input.examples = browse_examples(dataset, rows, 30, 1);
  input.command = command;
  input.settings = settings_of(recipe, trials);
  input.versions = {{"introspect", INTROSPECT_VERSION}, {"threads", std::to_string(at::get_num_threads())}};
  input.weak = recipe.weak;
  write_report(input, folder);
  return folder / "report.html";
}

}  // namespace introspect
