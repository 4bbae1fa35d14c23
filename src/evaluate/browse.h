// Examples with what each row said to them, for a reader to look at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace introspect {

class FeatureScorer;
struct Dataset;
struct Row;

struct Said {
  std::string explainer, condition;  // report/row_names.h
  std::string text;                  // as generated
  bool parsed = false, changed = false;
  std::string content;   // between <<< and >>>; empty if not parsed
  bool right = false;    // the content is the target's answer (exact match where truths have no parts)
  double simulated = 0;  // features: the simulator score of the words; NaN: not simulated
};

// Strings are empty where the task has no such thing.
struct BrowsedExample {
  std::string id, input;
  std::string token;  // the patched token's text, or the text that was taken away
  std::string token_type, relation, block;
  std::string wording, subject, hint;  // of an ablation
  std::string kind;                    // of the description of a feature; its input is texts that fire it, a line each
  std::vector<int64_t> layers;
  bool changed = false;
  std::string before, after, answer;
  std::vector<Said> said;  // in the order of the rows
};

// `count` test examples drawn at random, half of them changed (fewer where there are fewer), no cluster twice while
// others are left; in the data set's order. Each row's first set of answers is shown.
// Of features half are those that the first row describes rightly; `features` simulates what is said, or is null.
std::vector<BrowsedExample> browse_examples(const Dataset& dataset, const std::vector<Row>& rows, size_t count,
                                            uint64_t seed, const FeatureScorer* features = nullptr);

}  // namespace introspect
