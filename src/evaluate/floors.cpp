#include "evaluate/floors.h"

#include "base/error.h"
#include "evaluate/text_classifier.h"

#include <functional>
#include <map>

namespace introspect {

namespace {

// Train items of one cell.
struct Tally {
  int64_t changed = 0, unchanged = 0;
  std::map<std::string, int64_t> after;  // of changed items

  void add(const Example& example) {
    ++(example.changed() ? changed : unchanged);
    if (example.changed()) ++after[example.after];
  }
};

const std::string& most_frequent(const std::map<std::string, int64_t>& counts) {
  auto best = counts.begin();
  for (auto entry = counts.begin(); entry != counts.end(); ++entry) {
    if (entry->second > best->second) best = entry;
  }
  return best->first;
}

std::string cell_of(const Example& example, const std::vector<std::string>& attributes) {
  std::string cell;
  for (const std::string& name : attributes) {
    const auto found = example.attributes.find(name);
    if (found == example.attributes.end()) {
      fail("floors", fmt::format("example '{}' has no attribute '{}'", example.id, name));
    }
    cell += found->second + '\n';  // an attribute is one line, so cells cannot run into each other
  }
  return cell;
}

// The tallies of train cells, and under "all" of everything.
struct Tallies {
  std::map<std::string, Tally> cells;
  Tally all;

  Tallies(const Dataset& dataset, const std::vector<std::string>& attributes) {
    for (const Example* example : dataset.of(Split::train)) {
      cells[cell_of(*example, attributes)].add(*example);
      all.add(*example);
    }
  }
};

std::vector<Answer> answer_each(const Dataset& dataset, Split split,
                                const std::function<std::string(const Example&)>& words) {
  std::vector<Answer> answers;
  for (const Example* example : dataset.of(split)) answers.push_back({example->id, words(*example)});
  return answers;
}

}  // namespace

std::vector<Answer> majority_floor(const Dataset& dataset, const std::vector<std::string>& attributes, Split split) {
  const Tallies tallies(dataset, attributes);
  return answer_each(dataset, split, [&](const Example& example) {
    const auto found = tallies.cells.find(cell_of(example, attributes));
    const Tally& tally = found == tallies.cells.end() ? tallies.all : found->second;
    if (tally.changed <= tally.unchanged) return answer_words(false, example.before);
    return answer_words(true, most_frequent(tally.after));
  });
}

std::vector<Answer> majority_cell_floor(const Dataset& dataset, Split split) {
  return majority_floor(dataset, {"token_type", "block"}, split);
}

std::vector<Answer> majority_relation_floor(const Dataset& dataset, Split split) {
  return majority_floor(dataset, {"relation"}, split);
}

std::vector<Answer> always_changed_floor(const Dataset& dataset, const std::string& attribute, Split split) {
  const std::vector<std::string> attributes = {attribute};
  const Tallies tallies(dataset, attributes);
  return answer_each(dataset, split, [&](const Example& example) {
    const auto found = tallies.cells.find(cell_of(example, attributes));
    const bool known = found != tallies.cells.end() && found->second.changed > 0;
    const Tally& tally = known ? found->second : tallies.all;
    // Train may hold no changed item at all; then nothing is known to change to.
    if (tally.after.empty()) return answer_words(false, example.before);
    return answer_words(true, most_frequent(tally.after));
  });
}

std::vector<Answer> always_unchanged_floor(const Dataset& dataset, Split split) {
  return answer_each(dataset, split, [](const Example& example) { return answer_words(false, example.before); });
}

std::vector<Answer> most_frequent_floor(const Dataset& dataset, Split split) {
  std::map<std::string, int64_t> counts;
  for (const Example* example : dataset.of(Split::train)) ++counts[example->answer];
  const std::string words = counts.empty() ? "" : most_frequent(counts);
  return answer_each(dataset, split, [&](const Example&) { return words; });
}

std::vector<Row> floor_rows(const Dataset& dataset, Split split) {
  if (dataset.task == "ablation") {
    return {{"none", "text_classifier", {text_classifier_floor(dataset, {"wording", "subject", "hint"}, split)}},
            {"none", "always_changed", {always_changed_floor(dataset, "subject", split)}},
            {"none", "majority_wording", {majority_floor(dataset, {"wording"}, split)}},
            {"none", "majority_wording_subject", {majority_floor(dataset, {"wording", "subject"}, split)}},
            {"none", "always_unchanged", {always_unchanged_floor(dataset, split)}},
            {"none", "most_frequent_answer", {most_frequent_floor(dataset, split)}}};
  }
  return {{"none", "always_changed", {always_changed_floor(dataset, "relation", split)}},
          {"none", "majority_relation", {majority_relation_floor(dataset, split)}},
          {"none", "majority_cell", {majority_cell_floor(dataset, split)}},
          {"none", "always_unchanged", {always_unchanged_floor(dataset, split)}},
          {"none", "most_frequent_answer", {most_frequent_floor(dataset, split)}}};
}

}  // namespace introspect
