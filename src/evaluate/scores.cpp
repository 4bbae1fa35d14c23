#include "evaluate/scores.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>

namespace introspect {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

// A row's answers as counts: one Counts an example, for each seed and for their mean.
struct CountedRow {
  std::vector<std::vector<Counts>> seeds;
  std::vector<Counts> mean;
};

CountedRow count_row(const std::vector<const Example*>& examples, const Row& row, const FeatureScorer* features) {
  if (row.seeds.empty()) {
    fail("scores", fmt::format("row {}, {}: got no set of answers, expected one a seed", row.explainer, row.condition));
  }
  CountedRow counted;
  counted.mean.resize(examples.size());
  for (const std::vector<Answer>& answers : row.seeds) {
    std::vector<Counts>& counts = counted.seeds.emplace_back();
    for (const ItemScore& score : score_answers(examples, answers, features)) counts.push_back(count_item(score));
    for (size_t i = 0; i < counts.size(); ++i) counted.mean[i] += counts[i];
  }
  for (Counts& counts : counted.mean) counts *= 1.0 / static_cast<double>(row.seeds.size());
  return counted;
}

// Some of the examples, and which cluster each belongs to (clusters numbered by first appearance).
struct Group {
  std::string name;
  std::vector<size_t> items, cluster;
  size_t clusters = 0;
};

std::vector<Group> groups_of(const std::vector<const Example*>& examples, const std::vector<std::string>& attributes) {
  std::vector<Group> groups(1);
  groups[0].name = "all";
  const auto aside = [&](size_t i) { return examples[i]->attributes.contains("aside"); };
  for (size_t i = 0; i < examples.size(); ++i) {
    if (!aside(i)) groups[0].items.push_back(i);
  }
  for (const std::string& attribute : attributes) {
    std::map<std::string, Group> values;
    for (size_t i = 0; i < examples.size(); ++i) {
      if (aside(i) != (attribute == "aside")) continue;
      const auto found = examples[i]->attributes.find(attribute);
      if (found != examples[i]->attributes.end()) values[found->second].items.push_back(i);
    }
    for (auto& [value, group] : values) {
      group.name = attribute + "=" + value;
      groups.push_back(std::move(group));
    }
  }
  for (Group& group : groups) {
    std::unordered_map<std::string, size_t> numbers;
    for (const size_t item : group.items) {
      group.cluster.push_back(numbers.emplace(examples[item]->cluster, numbers.size()).first->second);
    }
    group.clusters = numbers.size();
  }
  return groups;
}

std::vector<Counts> cluster_sums(const std::vector<Counts>& items, const Group& group) {
  std::vector<Counts> sums(group.clusters);
  for (size_t i = 0; i < group.items.size(); ++i) sums[group.cluster[i]] += items[group.items[i]];
  return sums;
}

double deviation_over_seeds(const CountedRow& row, const Group& group, Metric metric) {
  const size_t seeds = row.seeds.size();
  if (seeds < 2) return kNothing;
  std::vector<double> values;
  double mean = 0;
  for (const std::vector<Counts>& items : row.seeds) {
    Counts total;
    for (const size_t item : group.items) total += items[item];
    values.push_back(metric_value(metric, total));
    mean += values.back() / static_cast<double>(seeds);
  }
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(seeds - 1));
}

// Places in kMetrics of the metrics that make sense for these truths.
std::vector<size_t> metrics_for(const std::vector<const Example*>& examples, const FeatureScorer* features) {
  const bool parts = std::any_of(examples.begin(), examples.end(),
                                 [](const Example* example) { return parse_answer(example->answer).has_value(); });
  const auto about_features = [](Metric metric) {
    return metric == Metric::judge || metric == Metric::simulator_score || metric == Metric::published_simulator_score;
  };
  std::vector<size_t> chosen;
  for (size_t m = 0; m < kMetricCount; ++m) {
    const Metric metric = kMetrics[m];
    if (metric == Metric::exact_match || (about_features(metric) ? features != nullptr : parts)) chosen.push_back(m);
  }
  return chosen;
}

std::string target_name(const Dataset& dataset) {
  const auto target = dataset.info.find("target");
  if (target == dataset.info.end()) return "";
  if (target->is_string()) return target->get<std::string>();
  return target->is_object() ? json_get_or<std::string>(*target, "name", "", "dataset.json: target") : "";
}

// Index of the row the others are compared with; rows.size() if there is none.
size_t self_row(const std::vector<Row>& rows) {
  const Row* self = find_row(rows, "self", "trained");
  return self ? static_cast<size_t>(self - rows.data()) : rows.size();
}

}  // namespace

const Row* find_row(const std::vector<Row>& rows, const std::string& explainer, const std::string& condition) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const Row& row) {
    return row.explainer == explainer && row.condition == condition;
  });
  return found == rows.end() ? nullptr : &*found;
}

void add_seed(std::vector<Row>& rows, const std::string& explainer, const std::string& condition,
              std::vector<Answer> answers) {
  if (const Row* found = find_row(rows, explainer, condition)) {
    rows[static_cast<size_t>(found - rows.data())].seeds.push_back(std::move(answers));
  } else {
    rows.push_back({explainer, condition, {std::move(answers)}});
  }
}

std::vector<ItemScore> score_answers(const std::vector<const Example*>& examples, const std::vector<Answer>& answers,
                                     const FeatureScorer* features) {
  std::unordered_map<std::string, const Answer*> by_id;
  for (const Answer& answer : answers) {
    if (!by_id.emplace(answer.id, &answer).second) {
      fail("scores", fmt::format("two answers to example '{}'", answer.id));
    }
  }
  std::vector<ItemScore> scores;
  for (const Example* example : examples) {
    const auto found = by_id.find(example->id);
    if (found == by_id.end()) {
      fail("scores",
           fmt::format("no answer to example '{}': got {} answers for {} examples", example->id, answers.size(),
                       examples.size()),
           "the answers must be of this data set and split, all of them");
    }
    scores.push_back(score_item(*example, found->second->text));
    if (features) features->score(*example, found->second->text, scores.back());
    by_id.erase(found);
  }
  if (!by_id.empty()) {
    fail("scores", fmt::format("answer to '{}', which is no example of this data set and split", by_id.begin()->first));
  }
  return scores;
}

std::vector<Score> score_rows(const Dataset& dataset, const std::vector<Row>& rows, const ScoreOptions& options) {
  const std::vector<const Example*> examples = dataset.of(options.split);
  const std::string target = target_name(dataset);
  const std::vector<size_t> metrics = metrics_for(examples, options.features);
  std::vector<CountedRow> counted;
  for (const Row& row : rows) counted.push_back(count_row(examples, row, options.features));
  const size_t self = self_row(rows);

  std::vector<Score> scores;
  for (const Group& group : groups_of(examples, options.group_by)) {
    // A group's p is read for orientation; a fifth of the permutations tells it well enough.
    StatisticsOptions statistics = options.statistics;
    if (group.name != "all") statistics.permutations = std::min(statistics.permutations, 1999);
    std::vector<Counts> self_sums;
    if (self < rows.size()) self_sums = cluster_sums(counted[self].mean, group);
    for (size_t r = 0; r < rows.size(); ++r) {
      const std::vector<Counts> sums = cluster_sums(counted[r].mean, group);
      const Estimates estimates = estimate(sums, statistics);
      Differences differences;
      differences.fill({kNothing, kNothing, kNothing, kNothing});
      if (self < rows.size() && r != self) differences = compare(sums, self_sums, statistics);
      double unparsable = 0;
      for (const Counts& cluster : sums) unparsable += cluster[Counts::unparsable];
      for (const size_t m : metrics) {
        const Estimate& found = estimates[m];
        const Difference& difference = differences[m];
        scores.push_back({dataset.task, target, rows[r].explainer, rows[r].condition, metric_name(kMetrics[m]),
                          group.name, found.value, found.low, found.high, std::llround(found.items), found.clusters,
                          unparsable, static_cast<int>(rows[r].seeds.size()),
                          deviation_over_seeds(counted[r], group, kMetrics[m]), difference.value, difference.low,
                          difference.high, difference.p});
      }
    }
  }
  return scores;
}

std::vector<Score> score_rows(const Dataset& dataset, const std::vector<Row>& rows, uint64_t seed) {
  ScoreOptions options;
  options.statistics.seed = seed;
  return score_rows(dataset, rows, options);
}

std::vector<Comparison> compare_rows(const Dataset& dataset, const std::vector<Row>& given,
                                     const ScoreOptions& options) {
  const std::vector<const Example*> examples = dataset.of(options.split);
  const std::string target = target_name(dataset);
  const Group all = groups_of(examples, {})[0];
  std::vector<Row> rows;
  for (const Row& row : given) {
    if (!row.condition.starts_with("scaling_")) rows.push_back(row);
  }
  std::vector<std::vector<Counts>> sums;
  for (const Row& row : rows) sums.push_back(cluster_sums(count_row(examples, row, options.features).mean, all));

  std::map<std::pair<size_t, size_t>, Differences> pairs;
  for (size_t a = 0; a < rows.size(); ++a) {
    for (size_t b = a + 1; b < rows.size(); ++b) pairs[{a, b}] = compare(sums[a], sums[b], options.statistics);
  }
  std::vector<Comparison> comparisons;
  for (const size_t m : metrics_for(examples, options.features)) {
    std::vector<double> p;
    for (const auto& [pair, differences] : pairs) p.push_back(differences[m].p);
    const std::vector<double> corrected = holm(p);
    size_t place = 0;
    for (const auto& [pair, differences] : pairs) {
      const Row &first = rows[pair.first], &second = rows[pair.second];
      const Difference& difference = differences[m];
      comparisons.push_back({dataset.task, target, first.explainer, first.condition, second.explainer, second.condition,
                             metric_name(kMetrics[m]), difference.value, difference.low, difference.high, difference.p,
                             corrected[place++]});
    }
  }
  return comparisons;
}

}  // namespace introspect
