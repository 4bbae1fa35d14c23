#include "evaluate/bootstrap.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace introspect {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

using NamedCounts = std::pair<std::string, Counts>;

// In the order in which the clusters first appear.
std::vector<NamedCounts> named_counts(const Dataset& dataset, const Row& row, const ScoreOptions& options) {
  const std::vector<const Example*> examples = dataset.of(options.split);
  std::unordered_map<std::string, size_t> places;
  std::vector<NamedCounts> clusters;
  for (const std::vector<Answer>& answers : row.seeds) {
    const std::vector<ItemScore> scores = score_answers(examples, answers, options.features);
    for (size_t i = 0; i < examples.size(); ++i) {
      if (examples[i]->attributes.contains("aside")) continue;
      const size_t place = places.emplace(examples[i]->cluster, clusters.size()).first->second;
      if (place == clusters.size()) clusters.emplace_back(examples[i]->cluster, Counts());
      clusters[place].second += count_item(scores[i]);
    }
  }
  for (NamedCounts& cluster : clusters) cluster.second *= 1.0 / static_cast<double>(row.seeds.size());
  return clusters;
}

}  // namespace

std::vector<Counts> row_counts(const Dataset& dataset, const Row& row, const ScoreOptions& options) {
  std::vector<Counts> clusters;
  for (const NamedCounts& cluster : named_counts(dataset, row, options)) clusters.push_back(cluster.second);
  return clusters;
}

std::map<std::string, Counts> counts_by_cluster(const Dataset& dataset, const Row& row, const ScoreOptions& options) {
  const std::vector<NamedCounts> clusters = named_counts(dataset, row, options);
  return {clusters.begin(), clusters.end()};
}

double value_of(Metric metric, const std::vector<Counts>& clusters, const std::vector<size_t>& drawn) {
  Counts total;
  for (const size_t index : drawn) total += clusters[index];
  return metric_value(metric, total);
}

double value_of(Metric metric, const std::vector<Counts>& clusters) {
  return value_of(metric, clusters, each_once(clusters.size()));
}

std::vector<size_t> each_once(size_t clusters) {
  std::vector<size_t> all(clusters);
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

Interval bootstrap(size_t clusters, const std::function<double(const std::vector<size_t>&)>& figure,
                   const StatisticsOptions& options) {
  if (options.resamples < 1 || !(options.level > 0 && options.level < 1)) {
    fail_usage("statistics", fmt::format("got {} resamples and level {}, expected at least 1, and between 0 and 1",
                                         options.resamples, options.level));
  }
  if (clusters < 2) return {kNothing, kNothing, 0};
  Random random(options.seed, "bootstrap of clusters");
  std::vector<size_t> drawn(clusters);
  std::vector<double> values;
  for (int i = 0; i < options.resamples; ++i) {
    for (size_t& index : drawn) index = random.below(clusters);
    values.push_back(figure(drawn));
  }
  const auto unknown = std::count_if(values.begin(), values.end(), [](double each) { return std::isnan(each); });
  const double outside = (1 - options.level) / 2;
  return {quantile(values, outside), quantile(values, 1 - outside),
          1 - static_cast<double>(unknown) / options.resamples};
}

double first_reached(const std::vector<double>& x, const std::vector<double>& y, double level) {
  if (x.size() != y.size()) fail("statistics", fmt::format("a curve of {} x and {} y", x.size(), y.size()));
  const auto unknown = [](double number) { return std::isnan(number); };
  if (x.empty() || unknown(level) || std::any_of(y.begin(), y.end(), unknown)) return kNothing;
  if (y[0] >= level) return x[0];
  for (size_t i = 1; i < x.size(); ++i) {
    if (y[i] >= level) return x[i - 1] + (x[i] - x[i - 1]) * (level - y[i - 1]) / (y[i] - y[i - 1]);
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace introspect
