#include "procedure/balance.h"

#include "base/error.h"
#include "base/random.h"

#include <map>
#include <set>
#include <tuple>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

BalanceNames names() {
  return {{"subject final", "relation", ":"}, {"r0", "r1", "r2", "r3"}};
}

// Chances of change that differ by cell, from never to always.
std::vector<PatchOutcome> random_outcomes(size_t count, uint64_t seed) {
  Random random(seed, "balance_test");
  std::vector<PatchOutcome> outcomes;
  for (size_t i = 0; i < count; ++i) {
    PatchOutcome outcome;
    outcome.split = static_cast<Split>(random.below(3));
    outcome.type = static_cast<int32_t>(random.below(3));
    outcome.block = static_cast<int32_t>(random.below(4));
    outcome.relation = static_cast<int32_t>(random.below(4));
    outcome.changed = random.uniform() < (outcome.type + outcome.block + outcome.relation) / 8.0;
    outcomes.push_back(outcome);
  }
  return outcomes;
}

TEST(Balance, HalfOfEveryCellIsChanged) {
  int reachable_groups = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const auto outcomes = random_outcomes(100 + seed * 200, seed);
    BalanceSettings settings;
    settings.max_per_cell = 20;
    settings.max_share = 0.2;
    settings.min_per_cell = 2;
    const Balanced balanced = balance(outcomes, names(), settings, seed);
    EXPECT_TRUE(std::is_sorted(balanced.kept.begin(), balanced.kept.end()));
    EXPECT_EQ(std::set<size_t>(balanced.kept.begin(), balanced.kept.end()).size(), balanced.kept.size());
    std::map<std::tuple<Split, int, int, int>, std::pair<int, int>> cells;
    std::map<std::tuple<Split, int, int>, double> groups;
    std::map<Split, double> totals;
    for (const size_t i : balanced.kept) {
      const PatchOutcome& outcome = outcomes[i];
      auto& [changed, unchanged] = cells[{outcome.split, outcome.type, outcome.block, outcome.relation}];
      ++(outcome.changed ? changed : unchanged);
      ++groups[{outcome.split, outcome.type, outcome.block}];
      ++totals[outcome.split];
    }
    for (const auto& [key, count] : cells) {
      EXPECT_EQ(count.first, count.second);
      EXPECT_LE(count.first + count.second, 20);
    }
    for (const auto& [key, count] : groups) {
      const Json& capped = balanced.report[split_name(std::get<0>(key))]["capped"];
      const bool reachable = capped.empty() || !capped[0].contains("note");
      if (reachable) {
        EXPECT_LE(count, 0.2 * totals[std::get<0>(key)] + 1e-9);
      }
      reachable_groups += reachable;
    }
    for (const Split split : {Split::train, Split::validation, Split::test}) {
      EXPECT_EQ(balanced.report[split_name(split)]["kept"].get<double>(), totals[split]);
    }
    EXPECT_EQ(balance(outcomes, names(), settings, seed).kept, balanced.kept);
  }
  EXPECT_GT(reachable_groups, 300);
}

TEST(Balance, NothingIsLostWithoutNeed) {
  std::vector<PatchOutcome> outcomes;
  for (int i = 0; i < 10; ++i) outcomes.push_back({Split::train, 0, i % 2, 0, i < 5});
  BalanceSettings settings;
  EXPECT_EQ(balance(outcomes, names(), settings, 1).kept.size(), 8u);  // 3 of 5 and 2 of 5 changed: 2 + 2 each
}

TEST(Balance, ThinCellsAreReported) {
  std::vector<PatchOutcome> outcomes(6);
  for (size_t i = 0; i < 4; ++i) outcomes[i].changed = i < 2;
  for (size_t i = 4; i < 6; ++i) outcomes[i].relation = 3;
  const Balanced balanced = balance(outcomes, names(), {}, 1);
  EXPECT_EQ(balanced.kept, (std::vector<size_t>{0, 1, 2, 3}));
  const Json& thin = balanced.report["train"]["thin_cells"];
  ASSERT_EQ(thin.size(), 1u);
  EXPECT_EQ(thin[0]["relations"], Json::array({"r3"}));
  EXPECT_EQ(thin[0]["unchanged"], 2);
  // one group alone cannot be under half: nothing is cut, and that is said
  EXPECT_EQ(balanced.report["train"]["capped"].size(), 1u);
}

TEST(Balance, NoneLeftIsAnError) {
  EXPECT_THROW(balance({}, names(), {}, 1), Error);
  EXPECT_THROW(balance(std::vector<PatchOutcome>(9), names(), {}, 1), Error);
  BalanceSettings settings;
  settings.max_share = 0;
  EXPECT_THROW(balance(random_outcomes(100, 1), names(), settings, 1), Error);
}

TEST(Balance, ChangeMap) {
  std::vector<PatchOutcome> outcomes(4);
  outcomes[0].changed = true;
  outcomes[3].block = 2;
  const Json map = change_map(outcomes, names());
  ASSERT_EQ(map.size(), 2u);
  EXPECT_EQ(map[0]["patches"], 3);
  EXPECT_EQ(map[0]["changed"], 1);
  EXPECT_EQ(map[1]["block"], 2);
}

}  // namespace
}  // namespace introspect
