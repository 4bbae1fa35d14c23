// Which prompts the sweep runs: a subject against a counterfactual subject of the same relation, in the same words and
// with the same options. Subjects are split first and pairs drawn inside a split, so that no subject leaks.
#pragma once

#include "dataset/example.h"
#include "procedure/records.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace introspect {

struct PairSettings {
  int64_t pairs_per_subject = 2;  // counterfactual subjects that each fact is paired with
  int64_t option_count = 5;
  int64_t template_index = -1;  // which template of each relation, counted from 0; -1: drawn for each pair
  int64_t max_pairs = 0;        // 0: all
  double train_share = 0.7, validation_share = 0.1;  // of the subjects; the rest is test
};

struct FactPair {
  Split split = Split::train;
  std::string relation;
  std::string template_text;
  Fact fact, counterfactual;         // x and x'; the objects differ
  std::vector<std::string> options;  // the same for both
};

// What was left out, by reason, with a few names: nothing is dropped without being counted.
class DropReport {
 public:
  void add(const std::string& reason, const std::string& name);
  Json to_json() const;      // {reason: {"count": n, "examples": [...]}}
  std::string text() const;  // "3 x reason (names), ...", for errors

 private:
  struct Entry {
    int64_t count = 0;
    std::vector<std::string> names;
  };
  std::map<std::string, Entry> entries_;
};

// Every distinct subject of the table gets one split, the same in all relations; each relation comes as near to the
// shares as its subjects allow.
std::map<std::string, Split> split_subjects(const FactTable& table, const PairSettings& settings, uint64_t seed);

// In random order, so that any beginning of the list is a fair sample; cut to max_pairs. The pairs of a subject do not
// depend on the other relations. Throws Error if no pair can be made, naming why.
std::vector<FactPair> make_pairs(const FactTable& table, const PairSettings& settings, uint64_t seed,
                                 DropReport& dropped);

}  // namespace introspect
