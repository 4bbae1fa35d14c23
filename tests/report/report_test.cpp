#include "report/report.h"

#include "base/temporary_folder.h"
#include "report/headline.h"
#include "report/row_names.h"
#include "report/sample_report.h"
#include "report/words.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

size_t occurrences(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Report, HoldsEveryRowAndIsTheSameTwice) {
  const ReportInput input = sample_report();
  const std::string html = report_html(input), markdown = report_markdown(input), csv = scores_csv(input.scores);
  for (const RowName& row : patching_rows()) {
    EXPECT_TRUE(holds(html, "<th scope=\"row\">" + escape_html(row.label) + "</th>"));
    EXPECT_TRUE(holds(markdown, "| " + row.label + " |"));
    EXPECT_TRUE(holds(csv, "," + row.explainer + "," + row.condition + ",content_on_changed,all,"));
  }
  EXPECT_EQ(occurrences(html, "<article "), 30u);
  EXPECT_EQ(occurrences(csv, "\n"), input.scores.size() + 1);
  EXPECT_EQ(html, report_html(sample_report()));
  // each drawn figure tells its n and what its whiskers are
  EXPECT_EQ(occurrences(html, "<figure>"), occurrences(html, "<figcaption>"));
  EXPECT_GE(occurrences(html, "Whiskers: 95% intervals"), 7u);
  EXPECT_TRUE(holds(html, "n = 1,128 items in 376 clusters"));
  EXPECT_TRUE(holds(html, "fewer than 20 changed items"));
  EXPECT_TRUE(holds(html, "introspect demo --full --out runs/demo"));
}

TEST(Report, TheRowsOfAnotherRunAreShownToo) {
  ReportInput input = sample_report();
  Score score = input.scores[0];
  score.explainer = "mamba_130m";
  score.value = 0.4321;
  input.scores.push_back(score);
  EXPECT_TRUE(holds(report_html(input), "<th scope=\"row\">mamba 130m</th><td>43.2"));
  EXPECT_TRUE(holds(report_markdown(input), "| mamba 130m | 43.2"));
}

TEST(Report, NeedsNoNetworkAndNoOtherFile) {
  const std::string html = report_html(sample_report());
  for (const std::string bad : {"http:", "https:", "src=", "href=", "url(", "@import", "<link", "fetch("}) {
    EXPECT_EQ(html.find(bad), std::string::npos) << bad;
  }
  EXPECT_TRUE(holds(html, "default-src 'none'"));
}

// Whatever the models say and the files hold, it is shown as text.
TEST(Report, EscapesEverything) {
  const std::string evil = "<script>alert('x')</script>\"&\xff|\x01";
  ReportInput input = sample_report();
  input.title = input.question = input.command = evil;
  input.answer = input.weak = {evil};
  input.facts = input.settings = input.versions = {{evil, evil}};
  input.cells = {{evil, evil, evil, 10, 5, 0, evil}};
  for (Score& score : input.scores) {
    score.task = score.target = evil;
    if (score.group != "all") score.group = score.group.substr(0, score.group.find('=') + 1) + evil;
  }
  input.scores[0].explainer = evil;
  for (Comparison& pair : input.comparisons) {
    pair.task = pair.target = evil;
    pair.first_explainer = evil;
  }
  for (BrowsedExample& example : input.examples) {
    example.id = example.input = example.token = example.token_type = example.relation = evil;
    example.before = example.after = evil;
    for (Said& said : example.said) said.text = said.content = said.explainer = evil;
  }
  const std::string html = report_html(input);
  EXPECT_EQ(occurrences(html, "<script>"), 1u);  // the page's own
  EXPECT_EQ(occurrences(html, "</script>"), 1u);
  EXPECT_EQ(html.find("alert('"), std::string::npos);
  EXPECT_EQ(html.find('\xff'), std::string::npos);
  EXPECT_EQ(html.find('\x01'), std::string::npos);
  EXPECT_GE(occurrences(html, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\xef\xbf\xbd|"), 100u);
  const std::string markdown = report_markdown(input);
  EXPECT_EQ(occurrences(markdown, "<script>"), 1u);  // inside the code block of the command
}

TEST(Report, WritesThreeFiles) {
  TemporaryFolder folder;
  write_report(sample_report(), folder / "deep" / "report");
  EXPECT_EQ(read_text(folder / "deep" / "report" / "report.html"), report_html(sample_report()));
  EXPECT_EQ(read_text(folder / "deep" / "report" / "report.md"), report_markdown(sample_report()));
  EXPECT_EQ(read_text(folder / "deep" / "report" / "scores.csv"), scores_csv(sample_report().scores));
  folder.write("file", "");
  EXPECT_TRUE(holds(error_of([&] { write_report(sample_report(), folder / "file" / "report"); }), "cannot make"));
}

TEST(Report, AnEmptyRunIsAPageToo) {
  ReportInput input;
  input.title = "Nothing";
  EXPECT_TRUE(holds(report_html(input), "<h1>Nothing</h1>"));
  EXPECT_TRUE(holds(report_markdown(input), "# Nothing"));
  // scores that are not defined
  input.scores = sample_report().scores;
  for (Score& score : input.scores) {
    score.value = score.low = score.high = std::numeric_limits<double>::quiet_NaN();
    score.difference_to_self = score.p_against_self = score.value;
    score.n = 0;
  }
  const std::string html = report_html(input);
  EXPECT_EQ(html.find("nan"), std::string::npos);
  EXPECT_TRUE(holds(html, "There was no test item"));
}

TEST(Report, SeveralTargetsEachHaveTheirSections) {
  ReportInput input = sample_report();
  const std::vector<Score> first = input.scores;
  for (Score score : first) {
    score.target = "tiny-qwen";
    input.scores.push_back(score);
  }
  const std::string html = report_html(input);
  EXPECT_TRUE(holds(html, "All scores: activation patching of tiny-llama"));
  EXPECT_TRUE(holds(html, "All scores: activation patching of tiny-qwen"));
  EXPECT_TRUE(holds(html, "tiny-qwen, trained to explain itself"));
}

class Headline : public ::testing::Test {
 protected:
  // Self minus twin, and self minus self retrained without the vector, each with its p.
  // `shuffled`: self minus self given another vector of the cell.
  static std::string of(double twin, double twin_p, double without, double without_p, double shuffled = std::nan("")) {
    std::vector<Score> scores;
    const auto add = [&](const std::string& explainer, const std::string& condition, double difference, double p) {
      Score score;
      score.task = "patching";
      score.target = "tiny-llama";
      score.explainer = explainer;
      score.condition = condition;
      score.metric = "content_on_changed";
      score.group = "all";
      score.value = 0.3 + difference;
      score.low = score.value - 0.02;
      score.high = score.value + 0.02;
      score.n = 100;
      score.seeds = 3;
      score.difference_to_self = difference;
      score.difference_low = difference - 0.03;
      score.difference_high = difference + 0.03;
      score.p_against_self = p;
      scores.push_back(score);
    };
    add("self", "trained", 0, std::nan(""));
    if (!std::isnan(twin)) add("twin", "trained", -twin, twin_p);
    if (!std::isnan(without)) add("self", "retrained_without_vector", -without, without_p);
    if (!std::isnan(shuffled)) {
      add("self", "zero_vector", -shuffled - .1, 1e-4);
      add("self", "shuffled_in_cell", -shuffled, shuffled > .05 ? 1e-4 : .3);
    }
    std::string text;
    const ScoreTable table(scores, {"patching", "tiny-llama"});
    for (const std::string& sentence : headline_sentences(table)) text += sentence + "\n";
    return text;
  }
  const double none = std::nan("");
};

TEST_F(Headline, SaysWhatIsThereAndWhatIsNot) {
  const std::string both = of(.174, 1e-4, .129, 1e-4);
  EXPECT_TRUE(holds(both, "names the new answer in 30.0% (95% interval 28.0 to 32.0) of cases."));
  EXPECT_TRUE(holds(both, "17.4 points more than its twin (+14.4 to +20.4, p < 0.001)"));
  EXPECT_TRUE(holds(both, "So it reads its own activations, and explains them better than its twin does."));
  EXPECT_TRUE(holds(of(.01, .4, .02, .2), "The effect that was looked for is not there"));
  EXPECT_TRUE(holds(of(-.1, .001, -.1, .001), "The effect that was looked for is not there"));
  EXPECT_TRUE(holds(of(-.1, .001, -.1, .001), "10.0 points less than its twin (−13.0 to −7.0"));
  EXPECT_TRUE(holds(of(.01, .4, .1, .001), "not measurably better than its twin"));
  EXPECT_TRUE(holds(of(-.1, .001, .1, .001), "its twin explains it better"));
  EXPECT_TRUE(holds(of(.1, .001, .01, .4), "not shown to need the vector"));
  EXPECT_TRUE(holds(of(none, 0, none, 0), "nothing says whether this is introspection"));
  EXPECT_TRUE(holds(of(.1, .001, none, 0), "was not tested"));
  // without a retraining the nearest control at test time speaks
  const std::string at_test = of(.1, .001, none, 0, .09);
  EXPECT_TRUE(holds(at_test, "9.0 points more than itself given another vector of the cell"));
  EXPECT_TRUE(holds(at_test, "uses the vector it is given; how far it would come when trained without"));
  EXPECT_TRUE(holds(of(.1, .001, none, 0, .01), "not shown to need the vector"));
}

TEST_F(Headline, NoSelfRow) {
  EXPECT_TRUE(holds(headline_sentences(ScoreTable({}, {"a", "b"}))[0], "was not measured"));
}

TEST(Words, NumbersAndMarks) {
  EXPECT_EQ(percent(0.3324), "33.2");
  EXPECT_EQ(percent(-0.0004), "0.0");
  EXPECT_EQ(percent(std::nan("")), "–");
  EXPECT_EQ(signed_percent(0.1736), "+17.4");
  EXPECT_EQ(signed_percent(-0.012), "−1.2");
  EXPECT_EQ(signed_percent(-0.0001), "0.0");
  EXPECT_EQ(p_value(0.00099), "p < 0.001");
  EXPECT_EQ(p_value(0.0414), "p = 0.041");
  EXPECT_EQ(count(0), "0");
  EXPECT_EQ(count(999), "999");
  EXPECT_EQ(count(1234567), "1,234,567");
  EXPECT_EQ(count(-1234), "-1,234");
  EXPECT_EQ(count(-123), "-123");
  EXPECT_EQ(plural(1, "item"), "1 item");
  EXPECT_EQ(csv_field("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(escape_markdown("a|b\n<c>_"), "a\\|b &lt;c&gt;\\_");
}

TEST(Words, WhatIsNoUtf8IsReplaced) {
  const std::string lost = "\xef\xbf\xbd";
  EXPECT_EQ(escape_html("é🦉 \xf0\x9f"), "é🦉 " + lost + lost);
  EXPECT_EQ(escape_html("\xc0\xaf"), lost + lost);             // overlong
  EXPECT_EQ(escape_html("\xed\xa0\x80"), lost + lost + lost);  // a surrogate
  EXPECT_EQ(escape_html("\xf4\x90\x80\x80x").back(), 'x');     // beyond U+10FFFF
  EXPECT_EQ(escape_html("\xf4\x90\x80\x80").substr(0, 3), lost);
}

TEST(RowNames, KnownAndUnknownRows) {
  EXPECT_EQ(row_name("self", "trained").label, "self");
  EXPECT_EQ(row_name("qwen", "trained").kind, RowKind::explainer);
  EXPECT_EQ(row_name("twin", "shuffled_vector").label, "twin, another item's vector");
  EXPECT_EQ(row_name("twin", "shuffled_vector").kind, RowKind::ablation);
  EXPECT_EQ(row_name("twin", "told_everything").kind, RowKind::explainer) << "trained in another way is no floor";
  EXPECT_EQ(row_name("twin", "few_shot").kind, RowKind::floor);
  EXPECT_EQ(row_name("none", "majority_subject").label, "majority subject");
  EXPECT_EQ(row_name("none", "majority_subject").kind, RowKind::floor);
  EXPECT_LT(row_place("self", "trained"), row_place("twin", "trained"));
  EXPECT_LT(row_place("continued_twin", "trained"), row_place("qwen", "trained"));
  EXPECT_LT(row_place("qwen", "trained"), row_place("self", "zero_vector"));
  for (const std::string metric :
       {"content_on_changed", "content_on_unchanged", "content_match", "has_changed_f1", "derived_f1", "exact_match"}) {
    EXPECT_FALSE(metric_meaning(metric).empty()) << metric;
  }
}

}  // namespace
}  // namespace introspect
