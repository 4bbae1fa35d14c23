// What asking about another target costs: means over pairs, and intervals that draw the clusters of all targets at
// once.
#include "experiment/transfer_loss.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

// Two questions about each of four subjects. A row answers the first `right` of every subject's questions.
TaskResult asked(const std::vector<std::tuple<std::string, std::string, int>>& rows) {
  TaskResult result;
  for (const char* subject : {"a", "b", "c", "d"}) {
    for (int i = 0; i < 2; ++i) {
      Example example;
      example.id = subject + std::to_string(i);
      example.split = Split::test;
      example.cluster = subject;
      example.answer = "yes";
      result.scored.examples.push_back(example);
    }
  }
  for (const auto& [explainer, condition, right] : rows) {
    Row row{explainer, condition, {{}}};
    for (const Example& example : result.scored.examples) {
      row.seeds[0].push_back({example.id, example.id.back() - '0' < right ? "yes" : "no"});
    }
    result.rows.push_back(std::move(row));
  }
  return result;
}

TEST(TransferLoss, IsTheMeanOverPairsByDistance) {
  MatrixRecipe recipe;
  for (const char* name : {"first", "second", "third"}) recipe.models.push_back({name, {}, "", {}, ""});
  MatrixTask task;
  task.metric = "exact_match";
  MatrixTaskResult result;
  result.task = &task;
  result.targets.resize(3);
  for (size_t place = 0; place < 3; ++place) result.targets[place].target = place;
  result.targets[0].result = asked({{"self", "trained", 2}, {"second", kAsked, 1}, {"third", kAsked, 0}});
  result.targets[1].result = asked({{"self", "trained", 1}, {"first", kAsked, 2}, {"third", kAsked, 1}});
  result.targets[2].result = asked({{"self", "trained", 2}, {"first", kAsked, 1}, {"second", kAsked, 2}});

  std::vector<TransferLoss> losses = transfer_losses(recipe, result);
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_EQ(losses[0].pairs, 6);
  EXPECT_DOUBLE_EQ(losses[0].own.value, (2 * 1 + 2 * 0.5 + 2 * 1) / 6.0);
  EXPECT_DOUBLE_EQ(losses[0].less_own.value, (-0.5 - 1 + 0.5 + 0 - 0.5 + 0) / 6);
  EXPECT_EQ(losses[1].pairs, 4);
  EXPECT_DOUBLE_EQ(losses[1].less_own.value, (-0.5 + 0.5 + 0 + 0) / 4);
  EXPECT_EQ(losses[2].apart, 2u);
  EXPECT_DOUBLE_EQ(losses[2].less_own.value, (-1 - 0.5) / 2);
  EXPECT_DOUBLE_EQ(losses[2].less_own.low, losses[2].less_own.high);  // every subject is alike
  EXPECT_TRUE(std::isnan(losses[0].mapped.value));
  EXPECT_DOUBLE_EQ(losses[0].as_it_is.value, losses[0].own.value + losses[0].less_own.value);
  EXPECT_TRUE(std::isnan(losses[0].gained_by_map.low));

  for (size_t place = 0; place < 3; ++place) {
    std::vector<Row>& rows = result.targets[place].result.rows;
    for (const size_t other : {1u, 2u}) {
      rows.push_back(rows[other]);
      rows.back().condition = kAskedMapped;
      rows.back().seeds = rows[0].seeds;  // the map brings back what the own explainer says
    }
  }
  losses = transfer_losses(recipe, result);
  EXPECT_DOUBLE_EQ(losses[0].mapped.value, losses[0].own.value);
  EXPECT_DOUBLE_EQ(losses[0].mapped_less_own.value, 0);
  EXPECT_DOUBLE_EQ(losses[0].gained_by_map.value, -losses[0].less_own.value);

  // subjects that differ, the same in every target: whole subjects are drawn, and both ends are met
  for (MatrixTarget& target : result.targets) {
    for (Row& row : target.result.rows) {
      if (row.explainer == "self") continue;
      for (Answer& answer : row.seeds[0]) answer.text = answer.id[0] == 'a' ? "no" : "yes";
    }
    for (Answer& answer : target.result.rows[0].seeds[0]) answer.text = "yes";
  }
  losses = transfer_losses(recipe, result);
  EXPECT_DOUBLE_EQ(losses[0].less_own.value, -0.25);
  EXPECT_EQ(losses[0].less_own.high, 0);
  EXPECT_EQ(losses[0].less_own.low, -0.75);  // as in each target alone: drawing twelve subjects would be narrower
}

TEST(TransferLoss, OfNothingIsNothing) {
  MatrixTask task;
  task.metric = "exact_match";
  MatrixTaskResult result;
  result.task = &task;
  EXPECT_TRUE(transfer_losses({}, result).empty());
}

}  // namespace
}  // namespace introspect
