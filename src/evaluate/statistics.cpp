#include "evaluate/statistics.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace introspect {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

void check(const StatisticsOptions& options) {
  if (options.resamples < 1 || options.permutations < 1 || !(options.level > 0 && options.level < 1)) {
    fail_usage("statistics", fmt::format("got {} resamples, {} permutations, level {}; expected at least 1, at least 1,"
                                         " and a level between 0 and 1",
                                         options.resamples, options.permutations, options.level));
  }
}

Counts sum(const std::vector<Counts>& clusters) {
  Counts total;
  for (const Counts& cluster : clusters) total += cluster;
  return total;
}

int64_t clusters_with_items(const std::vector<Counts>& clusters, Metric metric) {
  return std::count_if(clusters.begin(), clusters.end(),
                       [&](const Counts& cluster) { return metric_items(metric, cluster) > 0; });
}

// One drawing of clusters; the same stream gives every row of the same items the same drawings.
void draw(Random& random, std::vector<size_t>& chosen) {
  for (size_t& index : chosen) index = random.below(chosen.size());
}

Counts sum_of(const std::vector<Counts>& clusters, const std::vector<size_t>& chosen) {
  Counts total;
  for (const size_t index : chosen) total += clusters[index];
  return total;
}

// Swapping a cluster moves its difference from one total to the other. For each group of four clusters: what moves, for
// each of the sixteen ways in which four coins can fall; that halves the sums of a permutation and saves its branches.
constexpr size_t kGroup = 4, kSubsets = 1 << kGroup;
std::vector<Counts> subset_sums(const std::vector<Counts>& first, const std::vector<Counts>& second) {
  std::vector<Counts> sums((first.size() + kGroup - 1) / kGroup * kSubsets);
  for (size_t c = 0; c < first.size(); ++c) {
    Counts gap = second[c];
    gap -= first[c];
    for (size_t subset = 0; subset < kSubsets; ++subset) {
      if (subset >> (c % kGroup) & 1) sums[c / kGroup * kSubsets + subset] += gap;
    }
  }
  return sums;
}

double lower(const StatisticsOptions& options) {
  return (1 - options.level) / 2;
}

}  // namespace

double quantile(std::vector<double> numbers, double share) {
  std::erase_if(numbers, [](double number) { return std::isnan(number); });
  if (numbers.empty()) return kNothing;
  std::sort(numbers.begin(), numbers.end());
  const double place = share * static_cast<double>(numbers.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, numbers.size() - 1);
  if (place == static_cast<double>(below) || numbers[below] == numbers[above]) return numbers[below];  // also infinity
  return numbers[below] + (place - static_cast<double>(below)) * (numbers[above] - numbers[below]);
}

Estimates estimate(const std::vector<Counts>& clusters, const StatisticsOptions& options) {
  check(options);
  std::array<std::vector<double>, kMetricCount> drawn;
  if (clusters.size() > 1) {
    Random random(options.seed, "bootstrap of clusters");
    std::vector<size_t> chosen(clusters.size());
    for (int i = 0; i < options.resamples; ++i) {
      draw(random, chosen);
      const Counts total = sum_of(clusters, chosen);
      for (size_t m = 0; m < kMetricCount; ++m) drawn[m].push_back(metric_value(kMetrics[m], total));
    }
  }

  Estimates estimates;
  const Counts total = sum(clusters);
  for (size_t m = 0; m < kMetricCount; ++m) {
    Estimate& result = estimates[m];
    result.value = metric_value(kMetrics[m], total);
    result.items = metric_items(kMetrics[m], total);
    result.clusters = clusters_with_items(clusters, kMetrics[m]);
    const bool enough = result.clusters > 1;
    result.low = enough ? quantile(drawn[m], lower(options)) : kNothing;
    result.high = enough ? quantile(std::move(drawn[m]), 1 - lower(options)) : kNothing;
  }
  return estimates;
}

Differences compare(const std::vector<Counts>& first, const std::vector<Counts>& second,
                    const StatisticsOptions& options) {
  check(options);
  if (first.size() != second.size()) {
    fail("statistics",
         fmt::format("compare: got {} and {} clusters, expected the same ones", first.size(), second.size()));
  }
  const auto differ = [](Metric metric, const Counts& a, const Counts& b) {
    return metric_value(metric, a) - metric_value(metric, b);
  };
  const Counts first_total = sum(first), second_total = sum(second);
  Differences differences;
  for (size_t m = 0; m < kMetricCount; ++m) {
    differences[m] = {differ(kMetrics[m], first_total, second_total), kNothing, kNothing, 1};
  }
  if (first.size() < 2) return differences;

  std::array<std::vector<double>, kMetricCount> drawn;
  Random bootstrap(options.seed, "bootstrap of clusters");
  std::vector<size_t> chosen(first.size());
  for (int i = 0; i < options.resamples; ++i) {
    draw(bootstrap, chosen);
    const Counts a = sum_of(first, chosen), b = sum_of(second, chosen);
    for (size_t m = 0; m < kMetricCount; ++m) drawn[m].push_back(differ(kMetrics[m], a, b));
  }

  const std::vector<Counts> sums = subset_sums(first, second);
  std::array<int64_t, kMetricCount> as_far{};
  Random permutation(options.seed, "permutation of clusters");
  for (int i = 0; i < options.permutations; ++i) {
    Counts moved;
    uint64_t coins = 0;
    for (size_t start = 0, group = 0; start < sums.size(); start += kSubsets, ++group, coins /= kSubsets) {
      if (group % (64 / kGroup) == 0) coins = permutation.next();
      moved += sums[start + coins % kSubsets];
    }
    Counts a = first_total, b = second_total;
    a += moved;
    b -= moved;
    for (size_t m = 0; m < kMetricCount; ++m) {
      // Sums of thirds (three seeds) come out unequal in their last bits where they ought to tie.
      const double shuffled = std::abs(differ(kMetrics[m], a, b));
      as_far[m] += !(shuffled < std::abs(differences[m].value) - 1e-12);
    }
  }

  for (size_t m = 0; m < kMetricCount; ++m) {
    Difference& result = differences[m];
    if (clusters_with_items(first, kMetrics[m]) < 2) continue;
    result.low = quantile(drawn[m], lower(options));
    result.high = quantile(std::move(drawn[m]), 1 - lower(options));
    result.p = static_cast<double>(as_far[m] + 1) / (options.permutations + 1);
  }
  return differences;
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> corrected(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, p[order[rank]] * static_cast<double>(p.size() - rank)));
    corrected[order[rank]] = largest;
  }
  return corrected;
}

}  // namespace introspect
