#include "evaluate/browse.h"

#include "base/error.h"
#include "base/random.h"
#include "dataset/example.h"
#include "evaluate/scores.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>

namespace introspect {

namespace {

std::string attribute(const Example& example, const std::string& name) {
  const auto found = example.attributes.find(name);
  return found == example.attributes.end() ? "" : found->second;
}

// Up to `count` of `items` (indices of `examples`), first of clusters that `used` does not hold.
std::vector<size_t> draw(const std::vector<const Example*>& examples, std::vector<size_t> items, size_t count,
                         Random& random, std::unordered_set<std::string>& used) {
  random.shuffle(items);
  std::vector<size_t> chosen, spare;
  for (const size_t item : items) {
    const bool fresh = chosen.size() < count && used.insert(examples[item]->cluster).second;
    (fresh ? chosen : spare).push_back(item);
  }
  for (size_t i = 0; i < spare.size() && chosen.size() < count; ++i) chosen.push_back(spare[i]);
  return chosen;
}

}  // namespace

std::vector<BrowsedExample> browse_examples(const Dataset& dataset, const std::vector<Row>& rows, size_t count,
                                            uint64_t seed, const FeatureScorer* features) {
  const std::vector<const Example*> examples = dataset.of(Split::test);
  std::unordered_set<std::string> first_right;  // of features
  if (dataset.task == "features" && !rows.empty() && !rows[0].seeds.empty()) {
    const std::vector<ItemScore> scores = score_answers(examples, rows[0].seeds[0]);
    for (size_t i = 0; i < scores.size(); ++i) {
      if (scores[i].exact) first_right.insert(examples[i]->id);
    }
  }
  std::vector<size_t> changed, unchanged;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (examples[i]->attributes.contains("aside")) continue;
    (examples[i]->changed() || first_right.contains(examples[i]->id) ? changed : unchanged).push_back(i);
  }
  Random random(seed, "examples to browse");
  std::unordered_set<std::string> used;
  std::vector<size_t> chosen = draw(examples, changed, (count + 1) / 2, random, used);
  for (const size_t item : draw(examples, unchanged, count - chosen.size(), random, used)) chosen.push_back(item);
  std::sort(chosen.begin(), chosen.end());

  std::vector<BrowsedExample> browsed;
  for (const size_t item : chosen) {
    const Example& example = *examples[item];
    browsed.push_back({example.id,
                       dataset.task == "features" ? attribute(example, "exemplars") : example.input,
                       example.token,
                       attribute(example, "token_type"),
                       attribute(example, "relation"),
                       attribute(example, "block"),
                       attribute(example, "wording"),
                       attribute(example, "subject"),
                       attribute(example, "hint"),
                       attribute(example, "kind"),
                       example.layers,
                       example.changed(),
                       example.before,
                       example.after,
                       example.answer,
                       {}});
  }
  for (const Row& row : rows) {
    if (row.seeds.empty()) continue;
    std::unordered_map<std::string, const std::string*> texts;
    for (const Answer& answer : row.seeds[0]) texts[answer.id] = &answer.text;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const Example& example = *examples[chosen[i]];
      const auto found = texts.find(example.id);
      if (found == texts.end()) {
        fail("browse", fmt::format("row {}, {}: no answer to example '{}'", row.explainer, row.condition, example.id));
      }
      ItemScore score = score_item(example, *found->second);
      if (features) features->score(example, *found->second, score);
      const auto parsed = parse_answer(*found->second);
      const bool parts = parse_answer(example.answer).has_value();
      browsed[i].said.push_back({row.explainer, row.condition, *found->second, score.parsed, score.stated_changed,
                                 parsed ? parsed->content : "", parts ? score.content : score.exact,
                                 features ? score.simulated : std::numeric_limits<double>::quiet_NaN()});
    }
  }
  return browsed;
}

}  // namespace introspect
