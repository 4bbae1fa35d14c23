#include "evaluate/scores.h"

#include "base/temporary_folder.h"
#include "evaluate/floors.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

// 40 subjects with three items each; every other subject's answers change.
Dataset synthetic() {
  Dataset dataset;
  dataset.task = "patching";
  dataset.info = Json::parse(R"({"target": {"name": "tiny-llama", "sha256": "0"}})");
  for (int i = 0; i < 120; ++i) {
    Example example;
    example.id = "e" + std::to_string(i);
    example.split = Split::test;
    example.cluster = "subject " + std::to_string(i / 3);
    example.before = "old";
    example.after = i / 3 % 2 ? "new" + std::to_string(i) : "old";
    example.answer = answer_words(example.changed(), example.after);
    example.attributes = {{"token_type", i % 3 ? "subject final" : "last"}, {"block", std::to_string(i % 4)}};
    dataset.examples.push_back(example);
  }
  return dataset;
}

// Right on the first `right` of each hundred items, else unparsable.
std::vector<Answer> answers(const Dataset& dataset, int right) {
  std::vector<Answer> result;
  for (const Example* example : dataset.of(Split::test)) {
    const bool good = static_cast<int>(result.size()) * 37 % 100 < right;
    result.push_back({example->id, good ? example->answer : "hm"});
  }
  return result;
}

constexpr size_t kWordMetrics = 6;  // of answers that say whether and how: those of features are not among them

ScoreOptions quick() {
  ScoreOptions options;
  options.statistics.resamples = 200;
  options.statistics.permutations = 999;
  return options;
}

const Score& find(const std::vector<Score>& scores, const std::string& explainer, const std::string& metric,
                  const std::string& group) {
  for (const Score& score : scores) {
    if (score.explainer == explainer && score.metric == metric && score.group == group) return score;
  }
  throw std::runtime_error("no such score: " + explainer + " " + metric + " " + group);
}

TEST(Scores, RowsMetricsGroups) {
  const Dataset dataset = synthetic();
  const std::vector<Row> rows = {{"twin", "trained", {answers(dataset, 30)}},
                                 {"self", "trained", {answers(dataset, 100), answers(dataset, 50)}},
                                 {"none", "always_unchanged", {always_unchanged_floor(dataset)}}};
  const std::vector<Score> scores = score_rows(dataset, rows, quick());
  EXPECT_EQ(scores.size(), 3u * kWordMetrics * (1 + 2 + 4));  // all, two token types, four blocks

  const Score& self = find(scores, "self", "content_on_changed", "all");
  EXPECT_EQ(self.task, "patching");
  EXPECT_EQ(self.target, "tiny-llama");
  EXPECT_EQ(self.n, 60);
  EXPECT_EQ(self.clusters, 20);
  EXPECT_EQ(self.seeds, 2);
  EXPECT_GT(self.seed_deviation, 0);
  EXPECT_NEAR(self.value, 0.75, 0.05);
  EXPECT_TRUE(std::isnan(self.p_against_self) && std::isnan(self.difference_to_self));
  EXPECT_NEAR(find(scores, "self", "exact_match", "all").unparsable, 30, 2);  // of 120, the mean of 0 and about 60

  const Score& twin = find(scores, "twin", "content_on_changed", "all");
  EXPECT_NEAR(twin.difference_to_self, twin.value - self.value, 1e-12);
  EXPECT_LT(twin.difference_high, 0);
  EXPECT_LT(twin.p_against_self, 0.01);
  EXPECT_TRUE(std::isnan(twin.seed_deviation));

  const Score& floor = find(scores, "none", "exact_match", "all");
  EXPECT_DOUBLE_EQ(floor.value, 0.5);
  EXPECT_EQ(find(scores, "none", "content_on_changed", "block=2").value, 0);
  EXPECT_EQ(find(scores, "none", "exact_match", "token_type=last").n, 40);
}

TEST(Scores, OrderOfRowsAndAnswersDoesNotMatter) {
  const Dataset dataset = synthetic();
  std::vector<Answer> some = answers(dataset, 60), backwards(some.rbegin(), some.rend());
  const auto first = score_rows(dataset, {{"self", "trained", {some}}, {"twin", "trained", {some}}}, quick());
  const auto second = score_rows(dataset, {{"twin", "trained", {backwards}}, {"self", "trained", {some}}}, quick());
  const Score &a = find(first, "twin", "exact_match", "all"), &b = find(second, "twin", "exact_match", "all");
  EXPECT_EQ(a.value, b.value);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.p_against_self, 1);
  EXPECT_EQ(a.difference_to_self, 0);
}

TEST(Scores, AnswersMustFitTheExamples) {
  const Dataset dataset = synthetic();
  const auto error_with = [&](std::vector<Answer> some) {
    return error_of([&] { score_rows(dataset, {{"self", "trained", {some}}}, 0); });
  };
  std::vector<Answer> some = answers(dataset, 60);
  some.pop_back();
  EXPECT_TRUE(holds(error_with(some), "no answer to example 'e119': got 119 answers for 120 examples"));
  some.push_back({"e119", ""});
  some.push_back({"stranger", ""});
  EXPECT_TRUE(holds(error_with(some), "answer to 'stranger'"));
  some.back().id = "e0";
  EXPECT_TRUE(holds(error_with(some), "two answers to example 'e0'"));
  EXPECT_TRUE(holds(error_of([&] { score_rows(dataset, {{"self", "trained", {}}}, 0); }), "got no set of answers"));
}

TEST(Scores, OtherTasksHaveExactMatchAlone) {
  Dataset dataset = synthetic();
  for (Example& example : dataset.examples) example.answer = "words about rivers";
  const auto scores = score_rows(dataset, {{"self", "trained", {answers(dataset, 100)}}}, quick());
  EXPECT_EQ(scores.size(), 7u);
  for (const Score& score : scores) EXPECT_EQ(score.metric, "exact_match");
  EXPECT_EQ(scores[0].value, 1);
}

TEST(Scores, AnEmptySplitIsDefined) {
  Dataset dataset = synthetic();
  dataset.examples.clear();
  const auto scores = score_rows(dataset, {{"self", "trained", {{}}}, {"twin", "trained", {{}}}}, quick());
  ASSERT_EQ(scores.size(), 2u);  // no truth has parts
  EXPECT_TRUE(std::isnan(scores[0].value));
  EXPECT_EQ(scores[0].n, 0);
  EXPECT_EQ(scores[1].p_against_self, 1);
}

TEST(Scores, FilesKeepEverythingAndNothingIsNull) {
  const Dataset dataset = synthetic();
  const std::vector<Row> rows = {{"self", "trained", {answers(dataset, 90)}},
                                 {"twin", "trained", {answers(dataset, 30)}}};
  const auto scores = score_rows(dataset, rows, quick());
  TemporaryFolder folder;
  save_scores(scores, folder / "scores.json");
  const auto loaded = load_scores(folder / "scores.json");
  ASSERT_EQ(loaded.size(), scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(loaded[i].group, scores[i].group);
    EXPECT_EQ(loaded[i].value, scores[i].value);
    EXPECT_EQ(loaded[i].n, scores[i].n);
    EXPECT_EQ(std::isnan(loaded[i].p_against_self), std::isnan(scores[i].p_against_self));
  }
  save_scores(loaded, folder / "again.json");
  EXPECT_EQ(read_text(folder / "scores.json"), read_text(folder / "again.json"));
  folder.write("bad.json", "[{\"task\": \"x\"}]");
  EXPECT_TRUE(holds(error_of([&] { load_scores(folder / "bad.json"); }), "score 0: key 'target' is missing"));

  const auto comparisons = compare_rows(dataset, rows, quick());
  ASSERT_EQ(comparisons.size(), kWordMetrics);
  EXPECT_GT(comparisons[0].difference, 0.4);
  EXPECT_EQ(comparisons[0].p, comparisons[0].p_holm);
  save_comparisons(comparisons, folder / "pairs.json");
  EXPECT_EQ(load_comparisons(folder / "pairs.json").at(0).p, comparisons[0].p);
}

}  // namespace
}  // namespace introspect
