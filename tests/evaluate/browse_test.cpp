#include "evaluate/browse.h"

#include "base/temporary_folder.h"
#include "evaluate/scores.h"

#include <set>

#include <gtest/gtest.h>

namespace introspect {
namespace {

Dataset synthetic(int changed, int unchanged, int per_cluster) {
  Dataset dataset;
  for (int i = 0; i < changed + unchanged; ++i) {
    Example example;
    example.id = "e" + std::to_string(1000 + i);
    example.split = Split::test;
    example.cluster = "subject " + std::to_string(i / per_cluster);
    example.before = "old";
    example.after = i < changed ? "new" : "old";
    example.answer = answer_words(example.changed(), example.after);
    example.attributes = {{"relation", "capital"}};
    dataset.examples.push_back(example);
  }
  dataset.examples[0].split = Split::train;
  return dataset;
}

Row truth(const Dataset& dataset) {
  Row row{"self", "trained", {{}}};
  for (const Example& example : dataset.examples) row.seeds[0].push_back({example.id, example.answer});
  return row;
}

TEST(Browse, HalfAreChangedAndClustersDiffer) {
  const Dataset dataset = synthetic(100, 100, 4);
  const Row silent{"twin", "trained", {truth(dataset).seeds[0]}};
  Row wrong = silent;
  for (Answer& answer : wrong.seeds[0]) answer.text = answer_words(true, "else");
  const auto browsed = browse_examples(dataset, {truth(dataset), wrong}, 30, 1);
  ASSERT_EQ(browsed.size(), 30u);
  std::set<std::string> ids;
  std::set<int> clusters;
  int changed = 0;
  for (const BrowsedExample& example : browsed) {
    ids.insert(example.id);
    clusters.insert((std::stoi(example.id.substr(1)) - 1000) / 4);
    changed += example.changed;
    ASSERT_EQ(example.said.size(), 2u);
    EXPECT_TRUE(example.said[0].right && example.said[0].parsed);
    EXPECT_EQ(example.said[0].changed, example.changed);
    EXPECT_FALSE(example.said[1].right);
    EXPECT_EQ(example.said[1].content, "else");
    EXPECT_EQ(example.relation, "capital");
    EXPECT_NE(example.id, "e1000");  // of the train split
  }
  EXPECT_EQ(changed, 15);
  EXPECT_EQ(ids.size(), 30u);
  EXPECT_EQ(clusters.size(), 30u);
}

TEST(Browse, SeedsDrawOthersAndFewIsEnough) {
  const Dataset dataset = synthetic(100, 100, 4);
  EXPECT_EQ(browse_examples(dataset, {}, 30, 1)[3].id, browse_examples(dataset, {}, 30, 1)[3].id);
  int same = 0;
  for (size_t i = 0; i < 30; ++i) {
    same += browse_examples(dataset, {}, 30, 1)[i].id == browse_examples(dataset, {}, 30, 2)[i].id;
  }
  EXPECT_LT(same, 10);
  EXPECT_EQ(browse_examples(synthetic(3, 2, 5), {}, 30, 1).size(), 4u);    // one cluster, all of it
  EXPECT_EQ(browse_examples(synthetic(3, 40, 1), {}, 30, 1).size(), 30u);  // two changed, the rest unchanged
}

// An ablation has a text that was taken away and no vector.
TEST(Browse, AnAblationHasItsWordsAndNoLayers) {
  Dataset dataset = synthetic(4, 4, 1);
  for (Example& example : dataset.examples) {
    example.token = "\nHint: Rome";
    example.attributes = {{"wording", "a friend"}, {"subject", "geography"}, {"hint", "Rome"}};
  }
  for (const BrowsedExample& example : browse_examples(dataset, {truth(dataset)}, 6, 1)) {
    EXPECT_EQ(example.token, "\nHint: Rome");
    EXPECT_EQ(example.wording, "a friend");
    EXPECT_EQ(example.subject, "geography");
    EXPECT_EQ(example.hint, "Rome");
    EXPECT_EQ(example.token_type + example.relation + example.block, "");
    EXPECT_TRUE(example.layers.empty());
    EXPECT_EQ(example.said.size(), 1u);
  }
}

TEST(Browse, AMissingAnswerIsAnError) {
  const Dataset dataset = synthetic(4, 4, 1);
  EXPECT_TRUE(holds(error_of([&] {
                      browse_examples(dataset, {{"self", "trained", {{}}}}, 30, 1);
                    }),
                    "row self, trained: no answer to example"));
}

}  // namespace
}  // namespace introspect
