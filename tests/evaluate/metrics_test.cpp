#include "evaluate/metrics.h"

#include "dataset/example.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

Example item(const std::string& before, const std::string& after) {
  Example example;
  example.before = before;
  example.after = after;
  example.answer = answer_words(before != after, after);
  return example;
}

Counts sum(const std::vector<std::pair<Example, std::string>>& answered) {
  Counts total;
  for (const auto& [example, text] : answered) total += count_item(score_item(example, text));
  return total;
}

TEST(Metrics, OneAnswer) {
  const Example changed = item(" Rome", " Paris");
  const ItemScore right = score_item(changed, "THE most likely output would change to <<<paris>>>");
  EXPECT_TRUE(right.parsed && right.exact && right.stated_changed && right.content && right.derived_changed);
  // content and flags look at different parts of the answer
  const ItemScore twisted = score_item(changed, answer_words(false, "Paris"));
  EXPECT_TRUE(twisted.parsed && twisted.content && twisted.derived_changed);
  EXPECT_FALSE(twisted.exact || twisted.stated_changed);
  const ItemScore kept = score_item(changed, answer_words(true, "rome"));
  EXPECT_TRUE(kept.stated_changed);
  EXPECT_FALSE(kept.content || kept.derived_changed || kept.exact);
  const ItemScore silent = score_item(changed, "Paris");
  EXPECT_TRUE(silent.true_changed);
  EXPECT_FALSE(silent.parsed || silent.exact || silent.content || silent.stated_changed || silent.derived_changed);
}

TEST(Metrics, ExactAllowsForAFinalDotAndCaseOnly) {
  const Example example = item("a", "b");
  EXPECT_TRUE(score_item(example, " The most likely output would change to <<<b>>> . ").exact);
  EXPECT_FALSE(score_item(example, answer_words(true, "b") + " And more").exact);
  EXPECT_FALSE(score_item(example, answer_words(true, "b") + ".").exact);  // two dots
  EXPECT_FALSE(score_item(example, "").exact);
}

// 3 changed: right, said unchanged, unparsable. 3 unchanged: right, right, said changed.
// changed: tp 1, fp 1, fn 2 -> 2/5. unchanged: tp 2, fp 1, fn 1 -> 4/6. macro 8/15.
TEST(Metrics, StatedF1ByHand) {
  const Example c = item("a", "b"), u = item("a", "a");
  const Counts total = sum({{c, answer_words(true, "b")},
                            {c, answer_words(false, "a")},
                            {c, "no idea"},
                            {u, answer_words(false, "a")},
                            {u, answer_words(false, "x")},
                            {u, answer_words(true, "b")}});
  EXPECT_DOUBLE_EQ(metric_value(Metric::has_changed_f1, total), 8.0 / 15);
  EXPECT_EQ(total[Counts::unparsable], 1);
  EXPECT_DOUBLE_EQ(metric_value(Metric::content_on_changed, total), 1.0 / 3);
  EXPECT_DOUBLE_EQ(metric_value(Metric::content_on_unchanged, total), 1.0 / 3);
  EXPECT_DOUBLE_EQ(metric_value(Metric::content_match, total), 2.0 / 6);
  EXPECT_DOUBLE_EQ(metric_value(Metric::exact_match, total), 2.0 / 6);
  // derived: changed tp 1 (b), fn 2, fp 2 (x and b) -> 2/6; unchanged tp 1, fn 2, fp 1 -> 2/5
  EXPECT_DOUBLE_EQ(metric_value(Metric::derived_f1, total), (2.0 / 6 + 2.0 / 5) / 2);
  EXPECT_EQ(metric_items(Metric::content_on_changed, total), 3);
  EXPECT_EQ(metric_items(Metric::exact_match, total), 6);
}

TEST(Metrics, AllUnparsableIsZeroAndCounted) {
  const Counts total = sum({{item("a", "b"), ""}, {item("a", "a"), "?"}});
  for (const Metric metric : kMetrics) EXPECT_EQ(metric_value(metric, total), 0) << metric_name(metric);
  EXPECT_EQ(total[Counts::unparsable], 2);
}

TEST(Metrics, ConstantAnswerOnBalancedItems) {
  Counts total;
  for (int i = 0; i < 10; ++i) {
    total += count_item(score_item(item("a", i % 2 ? "b" : "a"), answer_words(false, "a")));
  }
  EXPECT_DOUBLE_EQ(metric_value(Metric::has_changed_f1, total), 1.0 / 3);
  EXPECT_DOUBLE_EQ(metric_value(Metric::content_match, total), 0.5);
  EXPECT_EQ(metric_value(Metric::content_on_changed, total), 0);
}

TEST(Metrics, AClassThatNeverOccursIsLeftOut) {
  EXPECT_EQ(metric_value(Metric::has_changed_f1, sum({{item("a", "a"), answer_words(false, "a")}})), 1);
  // but a false alarm brings it in: changed F1 0, unchanged 2/3
  const Counts total = sum({{item("a", "a"), answer_words(false, "a")}, {item("a", "a"), answer_words(true, "a")}});
  EXPECT_DOUBLE_EQ(metric_value(Metric::has_changed_f1, total), 1.0 / 3);
  EXPECT_TRUE(std::isnan(metric_value(Metric::content_on_changed, total)));
}

TEST(Metrics, NoItemsIsNotANumber) {
  for (const Metric metric : kMetrics) {
    EXPECT_TRUE(std::isnan(metric_value(metric, Counts()))) << metric_name(metric);
    EXPECT_EQ(metric_items(metric, Counts()), 0);
  }
}

}  // namespace
}  // namespace introspect
