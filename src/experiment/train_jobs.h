// Explainers trained side by side.
#pragma once

#include "dataset/example.h"
#include "explainer/train.h"

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace introspect {

struct TrainJob {
  std::string name, condition;  // of the row: "self", "trained"
  int64_t seed = 1;
  fs::path model, folder;
  ExplainerTraining training;
  std::vector<Lesson> lessons = {};  // learnt in place of the one data set, where it learns several
  fs::path map = {};                 // when it is asked: see AnswerJob
};

// Where the fitted projections of each explainer are, by its name and the kind of map.
using FittedFolders = std::map<std::pair<std::string, ProjectionKind>, fs::path>;
// Gives a job those that it wants, if it wants any.
void add_projections(TrainJob& job, const FittedFolders& folders);

// Trains every job, `workers` at a time; those that are complete are kept. Progress under `title`; `say` receives a
// line for each. Returns their results in order.
std::vector<TrainedExplainer> train_side_by_side(const std::vector<TrainJob>& jobs, const Dataset& dataset,
                                                 const fs::path& dataset_folder, int workers, const std::string& title,
                                                 const std::function<void(const std::string&)>& say);

}  // namespace introspect
