// The page of an input ablation: its words, its answer, its tables.
#include "base/temporary_folder.h"
#include "report/headline.h"
#include "report/report.h"
#include "report/sample_ablation.h"
#include "report/sample_report.h"
#include "report/words.h"

#include <cmath>

#include <gtest/gtest.h>

namespace introspect {
namespace {

size_t occurrences(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The section of that identity, without those that follow.
std::string section_of(const std::string& html, const std::string& id) {
  const size_t at = html.find("<section id=\"" + id + "\">");
  return at == std::string::npos ? "" : html.substr(at, html.find("</section>", at) - at);
}

std::string body_of(const std::string& html) {
  const size_t at = html.find("<main>");
  return html.substr(at, html.find("</main>") - at);
}

TEST(Ablation, SpeaksOfHintsAndNotOfPatches) {
  const std::string html = body_of(report_html(sample_ablation())), markdown = report_markdown(sample_ablation());
  for (const std::string word : {"patch", "Patch", "vector", "Vector", "ctivation", "intervention", "layer", "token"}) {
    EXPECT_EQ(html.find(word), std::string::npos) << html.substr(html.find(word) - 60, 120);
    EXPECT_EQ(markdown.find(word), std::string::npos) << word;
  }
  EXPECT_TRUE(holds(html, "introspect · input ablation of tiny-chat"));
  EXPECT_TRUE(holds(html, "Of the items whose answer changes when the hint is taken away"));
  EXPECT_TRUE(holds(html, "what the target says with the hint"));
  // and a patching page does not speak of hints
  EXPECT_EQ(body_of(report_html(sample_report())).find("hint"), std::string::npos);
}

TEST(Ablation, EveryRowIsListedAndTheBestUntrainedOnesAreDrawn) {
  const std::string html = report_html(sample_ablation());
  const std::string table = section_of(html, "all-scores");
  for (const AblationRow& row : ablation_rows()) {
    const RowName name = row_name(row.explainer, row.condition, "ablation");
    EXPECT_EQ(occurrences(table, "<th scope=\"row\">" + name.label + "</th>"), 1u) << name.label;
    EXPECT_EQ(name.label.find('_'), std::string::npos) << name.label;
  }
  EXPECT_TRUE(holds(table, "Asked again, without introspection"));
  EXPECT_TRUE(holds(table, "Floors, without training to explain"));
  // both headline metrics are tested against self
  EXPECT_TRUE(holds(table, "<th scope=\"col\">against self, has-changed F1</th>"));
  EXPECT_TRUE(holds(table, "<td>−2.2<small>p = 0.081</small></td><td>−5.4<small>p &lt; 0.001</small></td>"));
  // each metric has its own best of self's six untrained rows
  const std::string content = section_of(html, "content-on-changed-items"), flag = section_of(html, "has-changed-f1");
  EXPECT_TRUE(holds(content, ">self, few-shot (8), read leniently</text>"));
  EXPECT_FALSE(holds(content, "self, few-shot (4)"));
  EXPECT_FALSE(holds(content, ">self, untrained"));
  EXPECT_TRUE(holds(flag, ">self, few-shot (4), read leniently</text>"));
  EXPECT_FALSE(holds(flag, "self, few-shot (8)"));
  EXPECT_FALSE(holds(content, "trained on some wordings"));
  EXPECT_TRUE(holds(content, "class=\"bar simulation\""));
  EXPECT_TRUE(holds(content, "all but the best of a model&#39;s untrained rows"));
  EXPECT_FALSE(holds(report_html(sample_report()), "all but the best"));
}

TEST(Ablation, RowsHaveTheirKinds) {
  EXPECT_EQ(row_name("twin", "self_simulation").kind, RowKind::simulation);
  EXPECT_EQ(row_name("qwen", "self_simulation").kind, RowKind::simulation);
  EXPECT_EQ(row_name("base", "hint_differs").kind, RowKind::floor);
  EXPECT_EQ(row_name("qwen", "hint_differs").kind, RowKind::floor);
  EXPECT_EQ(row_name("base", "lora").kind, RowKind::explainer);
  EXPECT_EQ(row_name("base", "trained_on_some_subjects").kind, RowKind::explainer);
  EXPECT_EQ(row_name("twin", "few_shot_8_lenient").kind, RowKind::floor);
  EXPECT_EQ(row_name("none", "always_changed", "ablation").label, "always changed");
  EXPECT_EQ(row_name("none", "always_changed").label, "always changed, by relation");
  EXPECT_LT(row_place("base", "lora"), row_place("self", "self_simulation"));
  EXPECT_LT(row_place("base", "self_simulation"), row_place("self", "hint_differs"));
}

TEST(Ablation, ByWordingAndSubject) {
  const std::string groups = section_of(report_html(sample_ablation()), "by-subject-and-wording");
  EXPECT_TRUE(holds(groups, ">anatomy (n 75)</text>"));
  EXPECT_TRUE(holds(groups, "Content on changed items, for each subject"));
  EXPECT_EQ(occurrences(groups, "<summary>"), 2u);
  EXPECT_TRUE(holds(groups, "<summary>Content on changed items by wording</summary>"));
  EXPECT_TRUE(holds(groups, "<summary>Has-changed F1 by wording</summary>"));
  EXPECT_TRUE(holds(groups, "<th scope=\"row\">an old book</th><td>150</td><td>67.4<small>"));
  EXPECT_TRUE(holds(groups, "<th scope=\"row\">an old book</th><td>301</td><td>73.2<small>"));
  EXPECT_TRUE(holds(groups, "<th scope=\"col\">text classifier</th>"));  // beside its floors
  EXPECT_TRUE(holds(report_markdown(sample_ablation()), "| wording: has-changed F1 | n | self |"));
  // many subjects are folded
  ReportInput input = sample_ablation();
  for (int i = 0; i < 20; ++i) {
    Score score = input.scores[0];
    score.group = "subject=number " + std::to_string(i);
    input.scores.push_back(score);
  }
  EXPECT_TRUE(
      holds(report_html(input), "<details><summary>Content on changed items for each of 28 subjects</summary>"));
}

TEST(Ablation, TablesOfTheTargetAndOfWhatWasNeverSeen) {
  const std::string html = report_html(sample_ablation()), markdown = report_markdown(sample_ablation());
  const std::string hints = section_of(html, "how-far-hints-move-the-answer");
  EXPECT_TRUE(holds(hints,
                    "<th scope=\"row\">a friend<small>Hint from a friend: {hint}.</small></th><td>4,000</td>"
                    "<td>55.0</td><td>44.0<small>42.5 to 45.5</small></td><td>83.0<small>81.8 to 84.1</small></td>"
                    "<td>2,800</td>"));
  EXPECT_TRUE(holds(hints, "<th scope=\"row\">in brackets</th>"));
  EXPECT_TRUE(holds(
      markdown,
      "| a friend: Hint from a friend: {hint}. | 4,000 | 55.0 | 44.0 (42.5 to 45.5) | 83.0 (81.8 to 84.1) | 2,800 |"));
  // Wilson's interval of 8 of 10 is 49.0 to 94.3; the ends stay inside
  EXPECT_NEAR(share_interval(0.8, 10).first, 0.490, 5e-4);
  EXPECT_NEAR(share_interval(0.8, 10).second, 0.943, 5e-4);
  EXPECT_EQ(share_interval(0, 10).first, 0);
  EXPECT_TRUE(std::isnan(share_interval(0.5, 0).first));
  const std::string general = section_of(html, "generalisation");
  EXPECT_EQ(occurrences(general, "<tr class=\"reference\">"), 2u);
  EXPECT_TRUE(holds(general,
                    "<th scope=\"row\">3 wordings<small>self, trained on some wordings</small></th><td "
                    "class=\"words\">the wording in brackets</td><td>65.5<small>61.1 to 69.8</small></td><td>301</td>"
                    "<td class=\"words\">has-changed F1</td>"));
  EXPECT_TRUE(holds(general, "all 4 wordings<small>self; for comparison, on the same items</small>"));
  EXPECT_TRUE(
      holds(markdown, "| all 4 wordings (for comparison, on the same items) | the wording in brackets | self |"));
  const std::string data = section_of(html, "the-data");
  EXPECT_TRUE(holds(data,
                    "<th scope=\"row\">right without a hint</th><td>81.2</td><td>at least 70%</td><td>4,000</td>"
                    "<td><span class=\"right\">"));
  EXPECT_TRUE(holds(data,
                    "<th scope=\"row\">wrong hints followed: in brackets</th><td>–</td><td>30 to 70%</td><td>–</td>"
                    "<td><span class=\"wrong\">"));
  EXPECT_TRUE(holds(data, "The test is valid."));
  ReportInput without = sample_ablation();
  without.hints.clear();
  without.generalisation.clear();
  without.gates.clear();
  for (const std::string id : {"how-far-hints-move-the-answer", "generalisation"}) {
    EXPECT_EQ(section_of(report_html(without), id), "") << id;
  }
  EXPECT_FALSE(holds(report_html(without), "The gate"));
  EXPECT_TRUE(holds(report_html(without), "Whether the target is fit for this test was not checked."));
}

TEST(Ablation, ATestThatIsNoneSaysSoFirst) {
  ReportInput input = sample_ablation();
  input.valid = false;
  input.gates[0].value = .412;
  input.gates[0].passed = false;
  const std::string html = report_html(input), markdown = report_markdown(input);
  EXPECT_TRUE(holds(html,
                    "<div class=\"answer invalid\">\n<p>This is not a valid test of introspection: right without a "
                    "hint is 41.2%, wanted at least 70%; wrong hints followed: in brackets was not measured, "
                    "wanted 30 to 70%.</p>"));
  EXPECT_TRUE(holds(markdown, "_\n\nThis is not a valid test of introspection: right without"));
  EXPECT_TRUE(holds(html, "The test is not valid."));
  EXPECT_FALSE(holds(html, "<p>So "));  // no conclusion
  EXPECT_FALSE(holds(html, "passed its gate"));
  // it is the part's sentence in the list of parts, whatever answer is given
  input.answer = {"All is well."};
  input.invalid_because = "no hint is followed";
  const std::string page = report_html({sample_report(), input}, sample_head());
  EXPECT_TRUE(holds(page, "</a><p>This is not a valid test of introspection: no hint is followed.</p></li>"));
  input.gates.clear();
  input.invalid_because.clear();
  EXPECT_EQ(validity_sentences(input).front(),
            "This is not a valid test of introspection: the target did not pass its gate.");
  input.valid = true;
  EXPECT_TRUE(validity_sentences(input).empty());
}

TEST(Ablation, ExamplesMarkWhatWasTakenAway) {
  ReportInput input = sample_ablation();
  input.examples.resize(4);
  input.examples[0].layers = {3};  // not shown, nor what only a patch has
  input.examples[0].token_type = "subject final";
  const std::string html = section_of(report_html(input), "4-examples-to-look-at");
  EXPECT_TRUE(holds(html, "<b>changed</b><span>a friend</span><span>geography</span><span>ablation-2017</span>"));
  EXPECT_FALSE(holds(html, "layers"));
  EXPECT_FALSE(holds(html, "subject final"));
  EXPECT_TRUE(holds(html, "Bern.\n<mark>Hint from a friend: Rome.</mark>\n\nAnswer:</p>"));
  EXPECT_TRUE(
      holds(html, "With the marked text the target says <b>Answer: Rome</b>, without it <b>Answer: Paris</b>."));
  EXPECT_TRUE(holds(html, "The target says <b>Answer: Paris</b>, with the marked text and without."));
  EXPECT_TRUE(holds(html, "names what the target says without the hint"));
  // the fourth prompt does not hold it
  EXPECT_TRUE(holds(html,
                    "Taken away: <mark>Hint from in brackets: Rome.</mark> The target says <b>Answer: Paris</b>, "
                    "with it and without."));
  // nor is one of two places marked
  input.examples[0].token = "R";
  EXPECT_TRUE(holds(report_html(input), "Taken away: <mark>R</mark>. With it the target says"));
}

// Self against others on the two counts.
class AblationHeadline : public ::testing::Test {
 protected:
  struct Beside {
    std::string explainer, condition;
    double content, content_p, flag, flag_p;  // self minus the row
  };
  static std::string of(const std::vector<Beside>& rows, const ReportInput& input = {}) {
    std::vector<Score> scores;
    const auto add = [&](const std::string& explainer, const std::string& condition, const std::string& metric,
                         double difference, double p) {
      Score score;
      score.task = "ablation";
      score.target = "tiny-chat";
      score.explainer = explainer;
      score.condition = condition;
      score.metric = metric;
      score.group = "all";
      score.value = (metric == "has_changed_f1" ? .7 : .6) - difference;
      score.low = score.value - .02;
      score.high = score.value + .02;
      score.n = metric == "has_changed_f1" ? 200 : 100;
      score.seeds = 3;
      score.difference_to_self = -difference;
      score.difference_low = -difference - .03;
      score.difference_high = -difference + .03;
      score.p_against_self = p;
      scores.push_back(score);
    };
    add("self", "trained", "content_on_changed", 0, std::nan(""));
    add("self", "trained", "has_changed_f1", 0, std::nan(""));
    for (const Beside& row : rows) {
      add(row.explainer, row.condition, "content_on_changed", row.content, row.content_p);
      add(row.explainer, row.condition, "has_changed_f1", row.flag, row.flag_p);
    }
    std::string text;
    for (const std::string& sentence : headline_sentences(ScoreTable(scores, {"ablation", "tiny-chat"}), input)) {
      text += sentence + "\n";
    }
    return text;
  }
  static Beside twin(double content, double content_p, double flag, double flag_p) {
    return {"twin", "trained", content, content_p, flag, flag_p};
  }
  const Beside weak_base{"base", "trained", .2, 1e-4, .2, 1e-4};
  const Beside weak_floor{"none", "text_classifier", .3, 1e-4, .15, 1e-4};
};

TEST_F(AblationHeadline, SaysTheFiguresOfBothCounts) {
  const std::string text = of({twin(.1, .001, .05, .02),
                               weak_base,
                               weak_floor,
                               {"none", "majority_wording", .35, 1e-4, .1, 1e-4},
                               {"self", "self_simulation", -.3, 1e-4, -.2, 1e-4}});
  EXPECT_TRUE(holds(text,
                    "On the 100 test items whose answer changes when the hint is taken away, tiny-chat, trained to "
                    "explain itself, names the new answer in 60.0% (95% interval 58.0 to 62.0) of cases; whether "
                    "the answer changes it says with a has-changed F1 of 70.0 (68.0 to 72.0) on all 200."));
  EXPECT_TRUE(holds(text,
                    "Against its twin that is +10.0 points (+7.0 to +13.0, p = 0.001) and +5.0 in F1 (+2.0 to +8.0, "
                    "p = 0.020); against the model before chat tuning +20.0 (+17.0 to +23.0, p < 0.001) and +20.0 "
                    "in F1 (+17.0 to +23.0, p < 0.001)."));
  EXPECT_TRUE(holds(text, "The best floors reach 30.0% (text classifier) and F1 60.0 (majority by wording)."));
  EXPECT_TRUE(holds(text, "as an honest introspector could, it reaches 90.0% and F1 90.0 once trained to explain."));
  EXPECT_TRUE(
      holds(of({weak_base, {"twin", "untrained_simulation", -.2, 1e-4, -.1, 1e-4}}),
            "Running both prompts, its twin before training reaches 80.0% and F1 80.0: so far do the two behave "
            "alike."));
  EXPECT_TRUE(holds(text, "\nSo it knows more of its own answers than the same examples teach another model.\n"));
  EXPECT_FALSE(holds(text, "trained once"));
  EXPECT_TRUE(holds(of({weak_floor}), "The best floor (text classifier) reaches 30.0% and F1 55.0."));
}

TEST_F(AblationHeadline, NoPrivilegedAccessIsSaidPlainly) {
  const std::string none = "So no privileged access to its own answers is shown: ";
  EXPECT_TRUE(holds(of({twin(.01, .4, .01, .4), weak_base, weak_floor}),
                    none + "on both counts it is not shown to be better than its twin."));
  EXPECT_TRUE(holds(of({twin(-.1, .001, -.1, .001), weak_base}), none + "on both counts it is worse than its twin."));
  EXPECT_TRUE(holds(of({twin(.01, .4, -.1, .001), weak_base}),
                    none + "at naming the new answer it is not shown to be better than its twin; at saying whether it "
                           "changes it is worse than its twin."));
  // a base that knows as much
  EXPECT_TRUE(holds(of({twin(.1, .001, .1, .001), {"base", "trained", .01, .4, .01, .4}}),
                    none + "on both counts it is not shown to be better than the model before chat tuning."));
  EXPECT_TRUE(holds(of({twin(-.1, .001, -.1, .001), {"base", "trained", .01, .4, .01, .4}}),
                    "worse than its twin and not shown to be better than the model before chat tuning."));
  // one count alone
  EXPECT_TRUE(
      holds(of({twin(.1, .001, .01, .4), weak_base}),
            "Naming new answers better shows no privileged access alone, for whoever answers as if there were "
            "no hint names them too: at saying whether it changes it is not shown to be better than its twin."));
  EXPECT_TRUE(holds(of({twin(.01, .4, .1, .001), weak_base}),
                    "So it knows better whether its answer changes, but is not shown to know better to what: at naming "
                    "the new answer it is not shown to be better than its twin."));
  EXPECT_TRUE(holds(of({weak_base}), "A twin was not measured, so nothing says whether this is privileged access."));
  EXPECT_TRUE(holds(of({weak_base}), "No floor was measured beside it."));
}

TEST_F(AblationHeadline, AFloorThatExplainsTheScoreIsNamed) {
  // better than twin and base, but not than what is read off the text
  EXPECT_TRUE(holds(of({twin(.1, .001, .1, .001), weak_base, {"none", "text_classifier", .3, 1e-4, .01, .4}}),
                    "Naming new answers better shows no privileged access alone, for whoever answers as if there were "
                    "no hint names them too: at saying whether it changes it is not shown to be better than what needs "
                    "no introspection (text classifier)."));
  EXPECT_TRUE(
      holds(of({twin(.1, .001, .1, .001), {"self", "hint_differs", -.1, .001, -.1, .001}}),
            "So no privileged access to its own answers is shown: on both counts it is worse than what needs no "
            "introspection (self, changed if the hint differs)."));
  EXPECT_TRUE(holds(of({twin(.01, .4, .1, .001), {"none", "majority_wording", .01, .4, .2, .001}}),
                    "not shown to be better than its twin or what needs no introspection (majority by wording)."));
  // an untrained model may introspect: it is a floor, but explains nothing
  EXPECT_FALSE(
      holds(of({twin(.1, .001, .1, .001), {"self", "few_shot_8", .01, .4, .01, .4}}), "needs no introspection"));
}

TEST_F(AblationHeadline, TheGateIsTold) {
  ReportInput input;
  EXPECT_TRUE(holds(of({weak_base}, input), "Whether the target is fit for this test was not checked."));
  input.gates = {{"right without a hint", .8, .7, 1, true, 100}, {"followed", .5, .3, .7, true, 100}};
  EXPECT_TRUE(holds(of({weak_base}, input), "The target passed its gate (2 conditions)."));
  input.gates[1].passed = false;
  EXPECT_TRUE(holds(of({weak_base}, input), "The target passed its gate, though 1 of 2 conditions does not hold."));
  input.valid = false;
  const std::string invalid = of({twin(.1, .001, .1, .001), weak_base}, input);
  EXPECT_FALSE(holds(invalid, "gate"));
  EXPECT_FALSE(holds(invalid, "So it"));
  EXPECT_TRUE(holds(invalid, "Against its twin that is +10.0 points"));  // the figures stay
}

TEST(AblationWords, WhatIsWanted) {
  EXPECT_EQ(wanted_words({"", .5, .7, 1, true, 0}), "at least 70%");
  EXPECT_EQ(wanted_words({"", .5, 0, .125, true, 0}), "at most 12.5%");
  EXPECT_EQ(wanted_words({"", .5, .3, .7, true, 0}), "30 to 70%");
  EXPECT_EQ(wanted_words({"", .5, 0, 1, true, 0}), "");
}

}  // namespace
}  // namespace introspect
