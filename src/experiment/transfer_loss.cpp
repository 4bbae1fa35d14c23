#include "experiment/transfer_loss.h"

#include "evaluate/bootstrap.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>

namespace introspect {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

using Clusters = std::vector<size_t>;

// An explainer that learnt one target, asked about another: sums of each cluster of any target, empty where that one
// has none of it.
struct Pair {
  size_t apart = 0;
  std::vector<Counts> own, as_it_is, mapped;  // mapped: none if it was not asked so
};

// Over the clusters of all targets.
class Sums {
 public:
  explicit Sums(const MatrixTaskResult& result) {
    for (const MatrixTarget& asked : result.targets) {
      for (const Example* example : asked.result.scored.of(Split::test)) places_.emplace(example->cluster, 0);
    }
    size_t place = 0;
    for (auto& entry : places_) entry.second = place++;
  }

  size_t size() const { return places_.size(); }

  std::vector<Counts> of(const TaskResult& result, const Row& row) const {
    ScoreOptions options;
    options.features = result.features.get();
    std::vector<Counts> sums(places_.size());
    for (const auto& [cluster, counts] : counts_by_cluster(result.scored, row, options)) {
      sums[places_.at(cluster)] = counts;
    }
    return sums;
  }

 private:
  std::map<std::string, size_t> places_;
};

std::vector<Pair> pairs_of(const MatrixRecipe& recipe, const MatrixTaskResult& result, const Sums& sums) {
  std::vector<Pair> pairs;
  for (size_t asked = 0; asked < result.targets.size(); ++asked) {
    const TaskResult& answered = result.targets[asked].result;
    const Row* own = find_row(answered.rows, "self", "trained");
    if (!own) continue;
    const std::vector<Counts> own_sums = sums.of(answered, *own);
    for (size_t learnt = 0; learnt < result.targets.size(); ++learnt) {
      const std::string& name = recipe.model(result.targets[learnt].target).name;
      const Row* as_it_is = learnt == asked ? nullptr : find_row(answered.rows, name, kAsked);
      if (!as_it_is) continue;
      Pair pair{std::max(asked, learnt) - std::min(asked, learnt), own_sums, sums.of(answered, *as_it_is), {}};
      if (const Row* mapped = find_row(answered.rows, name, kAskedMapped)) pair.mapped = sums.of(answered, *mapped);
      pairs.push_back(std::move(pair));
    }
  }
  return pairs;
}

TransferLoss::Mean mean_of(const std::vector<const Pair*>& pairs, size_t clusters,
                           const std::function<double(const Pair&, const Clusters&)>& figure) {
  const auto mean = [&](const Clusters& drawn) {
    double sum = 0;
    for (const Pair* pair : pairs) sum += figure(*pair, drawn);
    return pairs.empty() ? kNothing : sum / static_cast<double>(pairs.size());
  };
  const double value = mean(each_once(clusters));
  const Interval interval = bootstrap(clusters, mean);
  return {value, interval.low, interval.high};
}

Metric metric_named(const std::string& name) {
  return *std::find_if(std::begin(kMetrics), std::end(kMetrics),
                       [&](Metric metric) { return metric_name(metric) == name; });
}

}  // namespace

std::vector<TransferLoss> transfer_losses(const MatrixRecipe& recipe, const MatrixTaskResult& result) {
  const Sums sums(result);
  const std::vector<Pair> all = pairs_of(recipe, result, sums);
  std::set<size_t> distances;
  for (const Pair& pair : all) distances.insert(pair.apart);
  if (!distances.empty()) distances.insert(0);
  const Metric metric = metric_named(result.task->metric);
  // the value of one way to ask, less that of another one if there is one
  using Way = std::vector<Counts> Pair::*;
  const auto value = [&](const Pair& pair, Way way, const Clusters& drawn) {
    return (pair.*way).empty() ? kNothing : value_of(metric, pair.*way, drawn);
  };
  std::vector<TransferLoss> losses;
  for (const size_t apart : distances) {
    std::vector<const Pair*> pairs;
    for (const Pair& pair : all) {
      if (apart == 0 || pair.apart == apart) pairs.push_back(&pair);
    }
    const auto mean = [&](Way way, Way less = nullptr) {
      return mean_of(pairs, sums.size(), [&](const Pair& pair, const Clusters& drawn) {
        return value(pair, way, drawn) - (less ? value(pair, less, drawn) : 0);
      });
    };
    losses.push_back({apart, std::ssize(pairs), mean(&Pair::own), mean(&Pair::as_it_is), mean(&Pair::mapped),
                      mean(&Pair::as_it_is, &Pair::own), mean(&Pair::mapped, &Pair::own),
                      mean(&Pair::mapped, &Pair::as_it_is)});
  }
  return losses;
}

}  // namespace introspect
