// The same search for every explainer: each is trained briefly with each setting of the recipe's [search] table, and
// the setting with the lowest validation loss is its own. The test split has no part in it.
#pragma once

#include "dataset/example.h"
#include "experiment/recipe.h"
#include "experiment/train_jobs.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace introspect {

struct Trial {
  std::string explainer, setting;
  double validation_loss = 0;
  bool chosen = false;
};

// Trials go to folder/<explainer>-<setting number>/, the outcome to folder/search.json. Complete trials are kept.
// Throws Error if no trial of an explainer has a validation loss (a data set without validation examples).
std::vector<Trial> search_settings(const Recipe& recipe, const Dataset& dataset, const fs::path& dataset_folder,
                                   const FittedFolders& projections, const fs::path& folder, int workers,
                                   const std::function<void(const std::string&)>& say);

// The changes that the search chose for an explainer; null where nothing was searched.
Json chosen_changes(const Recipe& recipe, const std::vector<Trial>& trials, const std::string& explainer);

}  // namespace introspect
