#include "experiment/search.h"

#include "base/error.h"
#include "base/json.h"
#include "experiment/train_jobs.h"

#include <algorithm>
#include <cmath>

namespace introspect {

std::vector<Trial> search_settings(const Recipe& recipe, const Dataset& dataset, const fs::path& dataset_folder,
                                   const FittedFolders& projections, const fs::path& folder, int workers,
                                   const std::function<void(const std::string&)>& say) {
  std::vector<Trial> trials;
  if (!recipe.search) return trials;
  if (dataset.of(Split::validation).empty()) {
    fail("search", "the data set has no validation examples to choose settings by");
  }
  const Search& search = *recipe.search;
  std::vector<TrainJob> jobs;
  for (size_t e = 0; e < recipe.explainers.size(); ++e) {
    for (size_t s = 0; s < search.settings.size(); ++s) {
      const ExplainerEntry& entry = recipe.explainers[e];
      TrainJob job{entry.name,
                   search.settings[s].name,
                   search.seed,
                   entry.model,
                   folder / fmt::format("{}-{}", entry.name, s + 1),
                   training_of(recipe, entry, recipe.variants.front(), search.settings[s].changes)};
      job.training.seed = static_cast<uint64_t>(search.seed);
      job.training.steps = search.steps;
      add_projections(job, projections);
      jobs.push_back(std::move(job));
    }
  }
  const std::vector<TrainedExplainer> trained =
      train_side_by_side(jobs, dataset, dataset_folder, workers, "search", say);
  for (size_t i = 0; i < jobs.size(); ++i) {
    trials.push_back({jobs[i].name, jobs[i].condition, trained[i].validation_loss, false});
  }
  Json list = Json::array();
  for (size_t first = 0; first < trials.size(); first += search.settings.size()) {
    const auto begin = trials.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = begin + std::ssize(search.settings);
    std::min_element(begin, end, [](const Trial& a, const Trial& b) {
      return a.validation_loss < b.validation_loss;
    })->chosen = true;
  }
  for (const Trial& trial : trials) {
    list.push_back({{"explainer", trial.explainer},
                    {"setting", trial.setting},
                    {"validation_loss", trial.validation_loss},
                    {"chosen", trial.chosen}});
  }
  write_json(folder / "search.json", list);
  return trials;
}

Json chosen_changes(const Recipe& recipe, const std::vector<Trial>& trials, const std::string& explainer) {
  for (const Trial& trial : trials) {
    if (trial.explainer != explainer || !trial.chosen) continue;
    for (const SearchSetting& setting : recipe.search->settings) {
      if (setting.name == trial.setting) return setting.changes;
    }
  }
  return {};
}

}  // namespace introspect
