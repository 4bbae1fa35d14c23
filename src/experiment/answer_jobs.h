// Who is asked the test questions, and how: every trained explainer, and the rows that are no explainer's but need a
// model.
#pragma once

#include "experiment/recipe.h"
#include "experiment/steps.h"
#include "experiment/train_jobs.h"

#include <vector>

namespace introspect {

// Trained explainers with their floors at test time first, then those that were not trained.
std::vector<AnswerJob> answer_jobs(const Recipe& recipe, const std::vector<TrainJob>& trained);

// The questions of input ablation as the target reads them are only for models that have a chat template, where it has
// one: whether `model` can run the prompts itself.
bool can_simulate(const Recipe& recipe, const fs::path& model);

// Asks every job's questions, `workers` jobs at a time, and keeps the answers in answer_folder(out, job).
void answer_side_by_side(const std::vector<AnswerJob>& jobs, const fs::path& dataset_folder, const fs::path& out,
                         int workers);

// Where a job's answers are, in the folder of the run.
fs::path answer_folder(const fs::path& out, const AnswerJob& job);

// Conditions that are read together: "selfie_5", one a scale, become the row "selfie_best_of_5".
constexpr const char* kSelfiePrefix = "selfie_";

}  // namespace introspect
