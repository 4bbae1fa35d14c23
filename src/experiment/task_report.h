// What a run found, as a part of a report.
#pragma once

#include "evaluate/scores.h"
#include "experiment/recipe.h"
#include "experiment/search.h"
#include "experiment/simulator_steps.h"
#include "report/report.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace introspect {

struct TaskResult {
  Dataset scored;  // with the test examples that were asked
  std::vector<Trial> trials;
  std::map<std::string, double> validation_loss;  // of each explainer (trained), the mean over its seeds
  std::vector<Row> rows;
  std::vector<Score> scores;
  std::vector<Comparison> comparisons;
  NamedValues notes;                              // what went otherwise than wanted
  std::vector<GeneralisationFact> transfers;      // ablation: what self comes to on other data sets
  std::vector<NamedTable> tables;                 // ablation: how self moves while it learns
  std::shared_ptr<const FeatureScorer> features;  // features: what scored them
  std::optional<SimulatedScores> simulated;       // what a trained simulator makes of some rows
  std::vector<Finding> findings;                  // findings.h
};

ReportInput report_of(const Recipe& recipe, const TaskResult& result, const std::string& command);

// The parts that only one kind of recipe has; for report_of.
void add_patching_facts(const Recipe& recipe, const TaskResult& result, ReportInput& input);
void add_ablation_facts(const Recipe& recipe, const TaskResult& result, ReportInput& input);
void add_feature_facts(const Recipe& recipe, const TaskResult& result, ReportInput& input);

// The row of an explainer that is asked about another data set than it learnt.
constexpr const char* kTransferred = "trained_on_the_other_task";
std::vector<GeneralisationFact> transfer_facts(const Transfer& transfer, const std::vector<Score>& scores);

// What is worth saying once the data set is made: for ablation the gate and what each wording does, for features how
// good the SAEs and the descriptions are.
std::vector<std::string> data_lines(const Recipe& recipe, const Dataset& dataset);
std::vector<std::string> feature_lines(const Dataset& dataset);

}  // namespace introspect
