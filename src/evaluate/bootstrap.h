// Intervals of figures that are made of several rows at once: a share of a gap, the place where a curve comes to a
// level.
#pragma once

#include "evaluate/scores.h"
#include "evaluate/statistics.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace introspect {

// A row's sums of each cluster of the examples that are not set aside, mean over its seeds. Every row of a data set has
// them in the same order of clusters.
std::vector<Counts> row_counts(const Dataset& dataset, const Row& row, const ScoreOptions& options = {});
// The same by the clusters' names: for rows of several data sets that share clusters.
std::map<std::string, Counts> counts_by_cluster(const Dataset& dataset, const Row& row,
                                                const ScoreOptions& options = {});

// The metric's value over the clusters drawn, which may stand there several times.
double value_of(Metric metric, const std::vector<Counts>& clusters, const std::vector<size_t>& drawn);
double value_of(Metric metric, const std::vector<Counts>& clusters);
std::vector<size_t> each_once(size_t clusters);  // 0, 1, ...

// Percentile bootstrap of any figure of clustered items: `figure` is asked with the clusters that were drawn, as many
// as there are. Drawings in which it is NaN are left out; infinity ("not reached") counts as the largest number. The
// same seed and number of clusters give the same drawings. NaN for fewer than two clusters.
struct Interval {
  double low, high;
  double defined;  // share of the drawings in which the figure is a number, infinity included
};
Interval bootstrap(size_t clusters, const std::function<double(const std::vector<size_t>&)>& figure,
                   const StatisticsOptions& options = {});

// Where a curve first comes to `level` or above: straight lines between its points, which stand in order of x. The
// first x if it begins there; infinity if it does not get there; NaN where a point is not a number or there is none.
double first_reached(const std::vector<double>& x, const std::vector<double>& y, double level);

}  // namespace introspect
