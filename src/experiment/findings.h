// What a run finds out about the question that its recipe asks, beyond what each row scores: a table and a sentence or
// two each. They are made of what a run has, its explainers and the answers of its rows; some ask further questions.
#pragma once

#include "evaluate/bootstrap.h"
#include "experiment/answer_jobs.h"
#include "experiment/task_report.h"
#include "experiment/train_jobs.h"
#include "report/report.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// Names of findings, for `answer` in a recipe.
constexpr const char* kFindings[] = {"scaling", "projection", "label_noise", "reading", "where_from", "mixtures"};

// A run whose rows are scored.
struct FoundIn {
  const Recipe& recipe;
  const TaskResult& result;
  const std::vector<TrainJob>& trained;
  fs::path dataset_folder, out;
  int workers = 1;
  std::function<void(const std::string&)> say;

  // Null where there is none.
  const Row* row(const std::string& explainer, const std::string& condition) const;
  const Score* score(const std::string& explainer, const std::string& condition, const std::string& metric) const;
  std::string label(const std::string& explainer, const std::string& condition) const;
  ScoreOptions options() const;  // for row_counts
};

// Each of the questions that the recipe has the variants or tables for.
std::vector<Finding> findings_of(const FoundIn& run);

std::vector<Finding> scaling_findings(const FoundIn& run);     // variants "scaling_..."
std::vector<Finding> projection_findings(const FoundIn& run);  // with [projection], a twin, and projections
std::vector<Finding> noise_findings(const FoundIn& run);       // variants with [train] label_noise
std::vector<Finding> reading_findings(const FoundIn& run);     // `answer` names it

// The metrics that findings are about.
std::vector<Metric> curve_metrics(const std::string& kind);

// The scores of the sizes "scaling_..." and of all examples, for the report's curves.
std::vector<ScalingPoint> scaling_points(const Recipe& recipe, const TaskResult& result);

// (row - twin) / (self - twin) with its paired interval; drawings in which self is not above twin are left out, and so
// is the value where it is not.
struct Share {
  double value;
  Interval interval;
};
Share gap_closed(const std::vector<Counts>& row, const std::vector<Counts>& twin, const std::vector<Counts>& self,
                 Metric metric);

// Further questions to trained explainers as a data set of their own in `folder`/dataset: `examples` as its test split,
// `vectors` a row an example, everything else as `like` has it. Returns the rows of their answers, one a job's
// condition, the jobs' seeds together.
std::vector<Row> ask_further(const FoundIn& run, const Dataset& like, const std::vector<Example>& examples,
                             const at::Tensor& vectors, const std::vector<TrainJob>& jobs, const fs::path& folder);
// How such a job is asked: with the vectors and layers that it was raised with.
AnswerJob answer_job(const Recipe& recipe, const TrainJob& job);

// Where a curve reaches something, between `first` and `last`: "53 (45 to 61)", "53 (45 to not reached)", "at most 50",
// "not reached up to 80".
std::string reached_words(double value, const Interval& interval, double first, double last,
                          const std::function<std::string(double)>& shown);

}  // namespace introspect
