// The page of feature descriptions.
#include "report/report.h"
#include "report/sections.h"

#include <limits>

#include <gtest/gtest.h>

namespace introspect {
namespace {

Score score_of(const std::string& explainer, const std::string& condition, const std::string& metric, double value) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  Score score;
  score.task = "features";
  score.target = "tiny";
  score.explainer = explainer;
  score.condition = condition;
  score.metric = metric;
  score.group = "all";
  score.value = value;
  score.low = value - 0.02;
  score.high = value + 0.02;
  score.n = score.clusters = 400;
  const bool self = explainer == "self" && condition == "trained";
  score.difference_to_self = self ? kNone : value - 0.09;
  score.difference_low = self ? kNone : score.difference_to_self - 0.02;
  score.difference_high = self ? kNone : score.difference_to_self + 0.02;
  score.p_against_self = self ? kNone : 0.0001;
  return score;
}

ReportInput sample_features() {
  ReportInput input;
  input.task = "features";
  input.title = "Features";
  for (const std::string metric : {"exact_match", "simulator_score"}) {
    input.scores.push_back(score_of("self", "trained", metric, 0.09));
    input.scores.push_back(score_of("twin", "trained", metric, 0.01));
    input.scores.push_back(score_of("self", "scaling_100", metric, 0.02));
    input.scores.push_back(score_of("self", "retrained_without_vector", metric, 0.01));
    input.scores.push_back(score_of("none", "nearest_neighbour", metric, 0.3));
    input.scores.push_back(score_of("none", "gold", metric, 0.9));
    for (const int64_t size : {100, 400, 1600}) {
      const double value = 0.09 * static_cast<double>(size) / 1600;
      input.scaling.push_back({size, "self", metric, value, value - 0.01, value + 0.01, 400});
    }
  }
  input.tables = {{"The SAEs", {"layer", "L0"}, {{"3", "16 <b>"}}}};
  BrowsedExample example;
  example.id = "feature-1";
  example.input = "a «cat» sat\nthe «cats»";
  example.answer = "words for animals";
  example.kind = "category";
  example.layers = {3};
  example.said = {{"self", "trained", "words for pets", true, false, "", false, 0.5},
                  {"twin", "trained", "gibberish", false, false, "", false, 0}};
  input.examples = {example};
  return input;
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(FeaturePage, SaysWhatWasMeasuredAgainstTwinAndFloors) {
  const std::string html = report_html(sample_features());
  EXPECT_TRUE(holds(html, "Of 400 features that it was not trained on"));
  EXPECT_TRUE(holds(html, "8.0 points more than its twin"));
  // the truth itself is no floor
  EXPECT_TRUE(holds(html, "The best floor (nearest train feature) reaches 30.0%"));
  EXPECT_TRUE(holds(html, "What can be reached"));
  EXPECT_FALSE(holds(html, "self, scaling 100"));  // has a figure of its own
}

TEST(FeaturePage, DrawsTheScalingCurveAndShowsWhatWasFoundInFront) {
  ReportInput input = sample_features();
  OwnSection found{"What was found", "Read off straight lines."};
  found.tables = {{"Sizes that are enough", {"row", "half of its end"}, {{"self", "412 (300 to not reached)"}}}};
  input.sections = {found};

  const std::string html = report_html(input);
  EXPECT_TRUE(holds(html, "How little data is enough"));
  EXPECT_TRUE(holds(html, "class=\"point self\""));
  const std::string markdown = report_markdown(input);
  EXPECT_LT(html.find("412<small>300 to not reached</small>"), html.find("All scores"));
  EXPECT_TRUE(holds(markdown, "| self | 412 (300 to not reached) |"));
  EXPECT_TRUE(holds(markdown, "| self, exact match | 0.6 ("));
  EXPECT_TRUE(holds(markdown, "| 3 | 16 &lt;b&gt; |"));
}

TEST(FeaturePage, SaysWhereLinesWereTestedOneByOne) {
  ReportInput input = sample_features();
  OwnSection found{"What was found", ""};
  found.tables = {{"Parts", {"row", "p"}, {{"self", "–"}, {"no vector", "0.030"}, {"no layer", "< 0.001"}}}};
  input.sections = {found};
  EXPECT_TRUE(holds(report_html(input), "each of 2 lines is tested by itself"));
  EXPECT_TRUE(holds(report_markdown(input), "each of 2 lines is tested by itself"));

  input.sections[0].tables[0].lines.pop_back();
  EXPECT_FALSE(holds(report_html(input), "tested by itself"));  // one line needs no warning
  input.sections[0].tables = {{"Parts", {"row", "p", "p, Holm"}, {{"a", "0.030", "0.060"}, {"b", "0.5", "0.5"}}}};
  EXPECT_FALSE(holds(report_html(input), "tested by itself"));
}

TEST(FeaturePage, ShowsTextsAndWhatIsSaidOfThem) {
  const std::string html = report_html(sample_features());
  EXPECT_TRUE(holds(html, "a <mark>cat</mark> sat<br>the <mark>cats</mark>"));
  EXPECT_TRUE(holds(html, "The description that fits best: <b>words for animals</b>"));
  EXPECT_TRUE(holds(html, "words for pets <i>(simulator score 50.0)</i>"));
  EXPECT_TRUE(holds(html, "gibberish <i>(cannot be simulated)</i>"));
  EXPECT_FALSE(holds(html, "data-filter=\"changed=yes\""));
  EXPECT_TRUE(holds(html, "16 &lt;b&gt;"));
}

}  // namespace
}  // namespace introspect
