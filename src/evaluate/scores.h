// How rows of answers become scores.
#pragma once

#include "dataset/example.h"
#include "evaluate/feature_score.h"
#include "evaluate/score.h"
#include "evaluate/statistics.h"
#include "explainer/answers.h"

#include <string>
#include <vector>

namespace introspect {

// One explainer under one condition; one set of answers for each seed of its training.
struct Row {
  std::string explainer, condition;
  std::vector<std::vector<Answer>> seeds;
};

// The row of this name; null if there is none.
const Row* find_row(const std::vector<Row>& rows, const std::string& explainer, const std::string& condition);
// The answers of one more seed of the row of this name, which is appended if there is none.
void add_seed(std::vector<Row>& rows, const std::string& explainer, const std::string& condition,
              std::vector<Answer> answers);

struct ScoreOptions {
  StatisticsOptions statistics;
  Split split = Split::test;
  // Attributes whose every value becomes a group; one that no example has is passed over.
  std::vector<std::string> group_by = {"token_type",   "block", "relation", "wording", "subject",
                                       "subject_half", "layer", "kind",     "label",   "aside"};
  const FeatureScorer* features = nullptr;  // features: what simulates and judges the words; or null
};

// Every row on every metric and group. Examples with the attribute "aside" are in the groups of its values alone, and
// in no other. Where no truth has the form of parse_answer (feature descriptions), the metrics are exact match and,
// with options.features, what it adds. Throws Error for an answer to an unknown example, two to one, or an example
// without answer.
std::vector<Score> score_rows(const Dataset& dataset, const std::vector<Row>& rows, const ScoreOptions& options);
std::vector<Score> score_rows(const Dataset& dataset, const std::vector<Row>& rows, uint64_t seed);

// Every two rows on all items; the sizes of a scaling curve (conditions "scaling_...") are left out.
std::vector<Comparison> compare_rows(const Dataset& dataset, const std::vector<Row>& rows, const ScoreOptions& options);

// The scores of a row: one item score an example of the split, in their order.
std::vector<ItemScore> score_answers(const std::vector<const Example*>& examples, const std::vector<Answer>& answers,
                                     const FeatureScorer* features = nullptr);

}  // namespace introspect
