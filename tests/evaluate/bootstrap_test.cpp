// Intervals of figures that are made of several rows at once, and where curves come to a level.
#include "evaluate/bootstrap.h"

#include "base/random.h"
#include "base/temporary_folder.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace introspect {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Bootstrap, OfAMeanIsTheIntervalOfStatistics) {
  Random random(3, "test");
  std::vector<Counts> clusters(60);
  for (Counts& cluster : clusters) {
    ItemScore score;
    score.exact = random.uniform() < 0.3;
    cluster = count_item(score);
  }
  const Estimate known = estimate(clusters, {})[static_cast<size_t>(Metric::exact_match)];
  const Interval found = bootstrap(clusters.size(), [&](const std::vector<size_t>& drawn) {
    return value_of(Metric::exact_match, clusters, drawn);
  });
  EXPECT_EQ(value_of(Metric::exact_match, clusters), known.value);
  EXPECT_EQ(found.low, known.low);
  EXPECT_EQ(found.high, known.high);
  EXPECT_EQ(found.defined, 1);
}

TEST(Bootstrap, InfinityCountsAndNothingIsLeftOut) {
  const auto mostly = [](double value, double else_value) {
    return bootstrap(40, [=](const std::vector<size_t>& drawn) { return drawn[0] < 30 ? value : else_value; });
  };
  EXPECT_EQ(mostly(1, kInfinity).low, 1);
  EXPECT_EQ(mostly(1, kInfinity).high, kInfinity);
  EXPECT_EQ(mostly(kInfinity, kInfinity).low, kInfinity);
  const Interval part = mostly(1, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(part.high, 1);
  EXPECT_NEAR(part.defined, 0.75, 0.05);
  EXPECT_TRUE(std::isnan(bootstrap(1, [](const std::vector<size_t>&) { return 1.0; }).low));
}

TEST(FirstReached, LiesOnTheLineBetweenItsPoints) {
  const std::vector<double> x = {0, 1, 2, 3};
  EXPECT_DOUBLE_EQ(first_reached(x, {0, 0.2, 0.6, 1}, 0.5), 1.75);
  EXPECT_DOUBLE_EQ(first_reached(x, {0, 0.2, 0.6, 1}, 1), 3);
  EXPECT_DOUBLE_EQ(first_reached(x, {0, 0.8, 0.1, 1}, 0.4), 0.5);  // the first time
  EXPECT_EQ(first_reached(x, {0.7, 0.2, 0.6, 1}, 0.5), 0);         // there from the beginning
  EXPECT_EQ(first_reached(x, {0, 0.1, 0.2, 0.3}, 0.5), kInfinity);
  EXPECT_TRUE(std::isnan(first_reached({}, {}, 0.5)));
  EXPECT_TRUE(std::isnan(first_reached(x, {0, std::nan(""), 1, 1}, 0.5)));
  EXPECT_TRUE(holds(error_of([&] { first_reached(x, {1}, 0.5); }), "4 x and 1 y"));
}

TEST(RowCounts, AreTheMeanOverSeedsByClusterWithoutWhatIsAside) {
  Dataset dataset;
  dataset.task = "features";
  std::vector<Answer> right, wrong;
  for (int i = 0; i < 6; ++i) {
    Example example;
    example.id = std::to_string(i);
    example.split = Split::test;
    example.cluster = i < 4 ? "a" : "b";
    example.answer = "yes";
    if (i == 5) example.attributes["aside"] = "ACT";
    dataset.examples.push_back(example);
    right.push_back({example.id, "yes"});
    wrong.push_back({example.id, i == 0 ? "yes" : "no"});
  }
  const std::vector<Counts> counts = row_counts(dataset, {"self", "trained", {right, wrong}});
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_DOUBLE_EQ(counts[0][Counts::items], 4);
  EXPECT_DOUBLE_EQ(counts[0][Counts::exact], 2.5);
  EXPECT_DOUBLE_EQ(counts[1][Counts::items], 1);
  EXPECT_DOUBLE_EQ(counts[1][Counts::exact], 0.5);
}

}  // namespace
}  // namespace introspect
