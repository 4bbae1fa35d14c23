// Intervals and tests that resample whole clusters (the prompt, the subject, the feature): items that share one are
// not independent, and counting them as if they were makes every interval too narrow.
#pragma once

#include "evaluate/metrics.h"

#include <cstdint>
#include <vector>

namespace introspect {

struct StatisticsOptions {
  uint64_t seed = 0;
  int resamples = 2000;     // of the bootstrap
  int permutations = 9999;  // of the paired test: the smallest p is 1 / (permutations + 1)
  double level = 0.95;      // of every interval
};

// What is not defined (no items, or for an interval fewer than two clusters with items) is NaN.
struct Estimate {
  double value, low, high;
  double items;      // the metric is about
  int64_t clusters;  // that hold such items
};
using Estimates = std::array<Estimate, kMetricCount>;  // in the order of kMetrics

// Percentile bootstrap of every metric. `clusters` holds one entry a cluster, the sums of its items; clusters are
// drawn with replacement, as many as there are.
Estimates estimate(const std::vector<Counts>& clusters, const StatisticsOptions& options);

// `first` minus `second`, both over the same items in the same order of clusters.
//   low, high  percentile bootstrap of the difference, the same clusters drawn for both
//   p          two-sided permutation test: the two answers of a cluster are swapped or not by a fair coin (for a mean
//              this is the clustered sign-flip test; for F1 it needs no approximation either). 1 where it cannot
//              be told, as with a single cluster.
struct Difference {
  double value, low, high, p;
};
using Differences = std::array<Difference, kMetricCount>;
Differences compare(const std::vector<Counts>& first, const std::vector<Counts>& second,
                    const StatisticsOptions& options);

// Holm's correction of p values that are looked at together: the chance of any false alarm stays at the level.
std::vector<double> holm(const std::vector<double>& p);

// Quantile in [0, 1] of the numbers that are not NaN, linear between neighbours; NaN if there are none.
double quantile(std::vector<double> numbers, double share);

}  // namespace introspect
