// A made-up report of an input ablation: plausible figures, every kind of row and table.
#pragma once

#include "report/report.h"
#include "report/row_names.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace introspect {

struct AblationRow {
  std::string explainer, condition;
  double content, stays, flag;
};

inline std::vector<AblationRow> ablation_rows() {
  std::vector<AblationRow> rows = {{"self", "trained", .684, .803, .742}, {"twin", "trained", .662, .771, .688},
                                   {"base", "trained", .541, .742, .611}, {"self", "lora", .641, .790, .719},
                                   {"twin", "lora", .633, .764, .671},    {"base", "lora", .522, .731, .604}};
  double lower = 0;
  for (const std::string explainer : {"self", "twin", "base"}) {
    const std::vector<AblationRow> conditions = {{"", "trained_on_some_wordings", .601, .744, .655},
                                                 {"", "trained_on_some_subjects", .633, .761, .702},
                                                 {"", "self_simulation", .941, .962, .908},
                                                 {"", "hint_differs", .655, .512, .702},
                                                 {"", "few_shot_8", .171, .331, .412},
                                                 {"", "few_shot_8_lenient", .322, .401, .498},
                                                 {"", "few_shot_4", .142, .310, .401},
                                                 {"", "few_shot_4_lenient", .301, .377, .505},
                                                 {"", "untrained", .021, .082, .310},
                                                 {"", "untrained_lenient", .120, .213, .402}};
    for (AblationRow row : conditions) {
      rows.push_back({explainer, row.condition, row.content - lower, row.stays - lower, row.flag - lower});
    }
    lower = explainer == "self" ? .09 : .018;
  }
  for (const AblationRow& row : std::vector<AblationRow>{{"none", "text_classifier", .402, .611, .701},
                                                         {"none", "majority_wording", .281, .702, .655},
                                                         {"none", "majority_wording_subject", .301, .690, .661},
                                                         {"none", "always_changed", .382, 0, .333},
                                                         {"none", "always_unchanged", 0, .744, .333},
                                                         {"none", "most_frequent_answer", .091, .084, .333}}) {
    rows.push_back(row);
  }
  return rows;
}

inline ReportInput sample_ablation() {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  ReportInput input;
  input.title = "A small model says what a hint did to its answer";
  input.question =
      "If a hint is taken out of a question, can a model say in words whether and how its own answer would change, and "
      "better than another model that was taught the same?";
  const std::vector<AblationRow> rows = ablation_rows();
  const std::vector<std::string> wordings = {"a friend", "an old book", "a stranger", "in brackets"};
  const std::vector<std::string> subjects = {"geography", "anatomy",  "chemistry", "world history",
                                             "astronomy", "business", "law",       "music"};
  const auto add = [&](const AblationRow& row, const std::string& group, int64_t n, double shift) {
    const bool self = row.explainer == "self" && row.condition == "trained";
    const std::vector<std::pair<std::string, double>> metrics = {{"content_on_changed", row.content},
                                                                 {"content_on_unchanged", row.stays},
                                                                 {"content_match", (row.content + row.stays) / 2},
                                                                 {"has_changed_f1", row.flag},
                                                                 {"derived_f1", row.flag - .02},
                                                                 {"exact_match", row.content * row.stays}};
    const std::vector<double> of_self = {.684, .803, .7435, .742, .722, .549};
    for (size_t m = 0; m < metrics.size(); ++m) {
      Score score;
      score.task = "ablation";
      score.target = "tiny-chat";
      score.explainer = row.explainer;
      score.condition = row.condition;
      score.metric = metrics[m].first;
      score.group = group;
      score.n = m < 2 ? n / 2 : n;
      score.clusters = std::max<int64_t>(1, n / 4);
      score.value = std::clamp(metrics[m].second + shift, 0.0, 1.0);
      const double width = 1.6 * std::sqrt(score.value * (1 - score.value) / static_cast<double>(score.clusters));
      score.low = std::max(0.0, score.value - width);
      score.high = std::min(1.0, score.value + width);
      score.unparsable = row.condition.starts_with("untrained") ? 611 : 0;
      score.seeds = row.explainer == "none" ? 1 : 3;
      score.seed_deviation = score.seeds > 1 ? .012 : kNone;
      score.difference_to_self = self ? kNone : metrics[m].second - of_self[m];
      score.difference_low = self ? kNone : score.difference_to_self - .035;
      score.difference_high = self ? kNone : score.difference_to_self + .035;
      score.p_against_self = self ? kNone : std::abs(score.difference_to_self) > .045 ? .0002 : .081;
      input.scores.push_back(score);
    }
  };
  for (const AblationRow& row : rows) {
    add(row, "all", 1204, 0);
    for (size_t i = 0; i < wordings.size(); ++i) {
      add(row, "wording=" + wordings[i], 301, .03 * static_cast<double>(i) - .04);
    }
    for (size_t i = 0; i < subjects.size(); ++i) {
      add(row, "subject=" + subjects[i], 150, .02 * static_cast<double>(i % 5) - .04);
    }
  }
  for (const std::string metric : {"content_on_changed", "has_changed_f1"}) {
    input.comparisons.push_back(
        {"ablation", "tiny-chat", "self", "trained", "none", "always_changed", metric, .3, .25, .35, .0001, .0003});
  }
  input.facts = {{"task", "input ablation"},
                 {"target", "tiny-chat, 4.3 million parameters, tuned to chat"},
                 {"examples", "9,600 train, 1,200 validation, 1,204 test; half of each wording changed"}};
  input.gates = {{"right without a hint", .812, .7, 1, true, 4000},
                 {"wrong hints followed: a friend", .521, .3, .7, true, 3000},
                 {"wrong hints followed: an old book", .447, .3, .7, true, 3000},
                 {"wrong hints followed: in brackets", kNone, .3, .7, false, 0}};
  for (size_t i = 0; i < wordings.size(); ++i) {
    const double share = .55 - .11 * static_cast<double>(i);
    input.hints.push_back({wordings[i], i == 3 ? "" : "Hint from " + wordings[i] + ": {hint}.", 4000, share, share * .8,
                           .83 + .03 * static_cast<double>(i), 2800 - 100 * static_cast<int64_t>(i)});
  }
  for (const std::string explainer : {"self", "twin"}) {
    input.generalisation.push_back({"3 wordings", "the wording in brackets", explainer, "trained_on_some_wordings",
                                    "has_changed_f1", .655, .611, .698, 301, false});
    input.generalisation.push_back({"all 4 wordings", "the wording in brackets", explainer, "trained", "has_changed_f1",
                                    .731, .69, .77, 301, true});
  }
  const std::vector<RowName>& known = row_names();
  for (int i = 0; i < 20; ++i) {
    const size_t wording = static_cast<size_t>(i) % wordings.size();
    BrowsedExample example;
    example.id = "ablation-" + std::to_string(2017 + 13 * i);
    example.changed = i % 2 == 0;
    example.wording = wordings[wording];
    example.subject = subjects[static_cast<size_t>(i) % subjects.size()];
    example.hint = "Rome";
    example.token = "\nHint from " + wordings[wording] + ": Rome.";
    example.input = "Question: What is the capital of France?\nRespond with one of Paris or Rome or Bern." +
                    (i == 3 ? std::string() : example.token) + "\n\nAnswer:";
    example.before = example.changed ? "Answer: Rome" : "Answer: Paris";
    example.after = "Answer: Paris";
    example.answer = example.changed ? "The most likely output would change to <<<Answer: Paris>>>."
                                     : "The output would remain unchanged from <<<Answer: Paris>>>.";
    for (size_t r = 0; r < known.size(); ++r) {
      const bool trained =
          known[r].condition == "trained" && known[r].explainer != "next" && known[r].explainer != "continued_twin";
      if (!trained && known[r].condition != "text_classifier" && known[r].condition != "self_simulation") continue;
      const bool right = (i * 7 + static_cast<int>(r) * 5) % 3 != 0;
      example.said.push_back({known[r].explainer, known[r].condition, "", true, example.changed == right,
                              right ? "Answer: Paris" : "Answer: Bern", right});
    }
    input.examples.push_back(example);
  }
  input.settings = {{"seeds", "1, 2, 3"}, {"training", "all weights, 2000 steps of 32 examples"}};
  input.versions = {{"introspect", "0.1.0"}};
  input.weak = {"The target was taught to follow hints; a model that learnt to by itself may know more of it.",
                "The questions are easy and the choices few."};
  return input;
}

inline PageHead sample_head() {
  return {"Can a small model explain itself?",
          "Two questions whose answers can be checked: what a piece of its activations does, and what a hint did to "
          "its answer.",
          "introspect demo --full --out runs/demo"};
}

}  // namespace introspect
