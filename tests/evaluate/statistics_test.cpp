#include "evaluate/statistics.h"

#include "base/random.h"
#include "base/temporary_folder.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

constexpr size_t kExact = 5;  // place of exact_match in kMetrics
constexpr size_t kFlag = 3;   // and of has_changed_f1

StatisticsOptions quick(uint64_t seed = 0) {
  StatisticsOptions options;
  options.seed = seed;
  options.resamples = 400;
  options.permutations = 399;
  return options;
}

Counts one(bool exact) {
  ItemScore score;
  score.parsed = true;
  score.exact = exact;
  return count_item(score);
}

// `clusters` clusters of `size` items; all items of a cluster are alike, right with probability `share`.
std::vector<Counts> alike(Random& random, int clusters, int size, double share) {
  std::vector<Counts> result(clusters);
  for (Counts& cluster : result) {
    const bool right = random.uniform() < share;
    for (int i = 0; i < size; ++i) cluster += one(right);
  }
  return result;
}

TEST(Statistics, Quantiles) {
  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(quantile({0, 10}, 0.25), 2.5);
  EXPECT_EQ(quantile({0, 10, std::nan("")}, 1), 10);
  EXPECT_TRUE(std::isnan(quantile({std::nan("")}, 0.5)));
}

// A 95% interval has to hold the truth about 95 times in 100, also where items of a cluster are copies of each other;
// an interval that took items for independent would hold it about half as often.
TEST(Statistics, BootstrapCoversTheTruth) {
  Random random(1, "coverage");
  int held = 0;
  constexpr int kTrials = 300;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Estimate found = estimate(alike(random, 60, 10, 0.4), quick(trial))[kExact];
    held += found.low <= 0.4 && 0.4 <= found.high;
  }
  EXPECT_GE(held, kTrials * 0.90);
  EXPECT_LE(held, kTrials * 0.985);
}

TEST(Statistics, IntervalIsOfTheMeanOverClusters) {
  Random random(2, "width");
  const Estimate few = estimate(alike(random, 100, 1, 0.5), quick())[kExact];
  const Estimate copied = estimate(alike(random, 100, 50, 0.5), quick())[kExact];
  EXPECT_NEAR((copied.high - copied.low) / (few.high - few.low), 1, 0.25);
  EXPECT_NEAR(few.high - few.low, 2 * 1.96 * 0.05, 0.04);
  EXPECT_EQ(copied.items, 5000);
  EXPECT_EQ(copied.clusters, 100);
}

TEST(Statistics, SameSeedSameNumbers) {
  Random random(3, "again");
  const auto clusters = alike(random, 30, 3, 0.5);
  EXPECT_EQ(estimate(clusters, quick(7))[kExact].low, estimate(clusters, quick(7))[kExact].low);
  const auto other = alike(random, 30, 3, 0.5);
  EXPECT_EQ(compare(clusters, other, quick(7))[kExact].p, compare(clusters, other, quick(7))[kExact].p);
}

TEST(Statistics, NothingAndOneClusterAreDefined) {
  const Estimate none = estimate({}, quick())[kExact];
  EXPECT_TRUE(std::isnan(none.value) && std::isnan(none.low) && std::isnan(none.high));
  EXPECT_EQ(none.items, 0);
  const Difference nothing = compare({}, {}, quick())[kExact];
  EXPECT_TRUE(std::isnan(nothing.value) && std::isnan(nothing.low));
  EXPECT_EQ(nothing.p, 1);

  const Estimate single = estimate({one(true)}, quick())[kExact];
  EXPECT_EQ(single.value, 1);
  EXPECT_TRUE(std::isnan(single.low) && std::isnan(single.high));
  const Difference alone = compare({one(true)}, {one(false)}, quick())[kExact];
  EXPECT_EQ(alone.value, 1);
  EXPECT_EQ(alone.p, 1);
  EXPECT_TRUE(std::isnan(alone.low));

  // two clusters, but only one with changed items: no interval for the metric that is about those
  ItemScore changed;
  changed.true_changed = changed.parsed = changed.content = true;
  const Estimates mixed = estimate({count_item(changed), one(true)}, quick());
  EXPECT_EQ(mixed[0].value, 1);
  EXPECT_EQ(mixed[0].clusters, 1);
  EXPECT_TRUE(std::isnan(mixed[0].low));
}

TEST(Statistics, WrongSettingsAndClusters) {
  StatisticsOptions options;
  options.resamples = 0;
  EXPECT_TRUE(holds(error_of([&] { estimate({}, options); }), "got 0 resamples"));
  EXPECT_TRUE(holds(error_of([&] { compare({one(true)}, {}, quick()); }), "got 1 and 0 clusters"));
}

// Where two rows are equally good, p is uniform: each tenth of [0, 1] holds a tenth of the tests.
TEST(Statistics, NullIsUniform) {
  Random random(4, "null");
  constexpr int kTrials = 600;
  int below_05 = 0, below_50 = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<Counts> first(50), second(50);
    for (size_t c = 0; c < first.size(); ++c) {
      // unequal clusters, whose items go together within a row
      const double ease = random.uniform();
      const bool a = random.uniform() < ease, b = random.uniform() < ease;
      for (size_t i = 0; i < 1 + c % 7; ++i) {
        first[c] += one(a);
        second[c] += one(b);
      }
    }
    const double p = compare(first, second, quick(trial))[kExact].p;
    below_05 += p <= 0.05;
    below_50 += p <= 0.5;
  }
  EXPECT_NEAR(below_05, 0.05 * kTrials, 0.03 * kTrials);
  EXPECT_NEAR(below_50, 0.5 * kTrials, 0.07 * kTrials);
}

TEST(Statistics, AnEffectIsFound) {
  Random random(5, "power");
  int found = 0, covered = 0;
  constexpr int kTrials = 60;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto first = alike(random, 200, 4, 0.5), second = alike(random, 200, 4, 0.3);
    const Difference difference = compare(first, second, quick(trial))[kExact];
    found += difference.p < 0.05;
    covered += difference.low < 0.2 && 0.2 < difference.high;
  }
  EXPECT_GE(found, 57);  // the power is 98%
  EXPECT_GE(covered, 52);
  // A row against itself differs by nothing.
  const auto same = alike(random, 200, 4, 0.5);
  const Difference none = compare(same, same, quick())[kExact];
  EXPECT_EQ(none.value, 0);
  EXPECT_EQ(none.p, 1);
  EXPECT_EQ(none.low, 0);
  EXPECT_EQ(none.high, 0);
}

// Signs of the difference, and F1, which is no mean over items.
TEST(Statistics, F1AndDirection) {
  std::vector<Counts> right, wrong;
  for (int i = 0; i < 40; ++i) {
    ItemScore score;
    score.parsed = true;
    score.true_changed = i % 2;
    score.stated_changed = score.true_changed;
    right.push_back(count_item(score));
    score.stated_changed = false;
    wrong.push_back(count_item(score));
  }
  const Difference difference = compare(right, wrong, quick())[kFlag];
  EXPECT_DOUBLE_EQ(difference.value, 1 - 1.0 / 3);
  EXPECT_LE(difference.p, 1.0 / 400 + 1e-12);
  EXPECT_GT(difference.low, 0.5);
  EXPECT_DOUBLE_EQ(compare(wrong, right, quick())[kFlag].value, -difference.value);
  const Estimate interval = estimate(wrong, quick())[kFlag];
  EXPECT_LT(interval.low, 1.0 / 3);
  EXPECT_GT(interval.high, 1.0 / 3);
}

TEST(Statistics, Holm) {
  const std::vector<double> corrected = holm({0.04, 0.01, 0.5, 0.03});
  EXPECT_DOUBLE_EQ(corrected[1], 0.04);
  EXPECT_DOUBLE_EQ(corrected[3], 0.09);
  EXPECT_DOUBLE_EQ(corrected[0], 0.09);  // never under an earlier one
  EXPECT_DOUBLE_EQ(corrected[2], 0.5);
  EXPECT_TRUE(holm({}).empty());
}

}  // namespace
}  // namespace introspect
