// The answer for an input ablation. Two counts: naming the answer without the hint, which whoever answers the question
// well can do, and saying whether the hint mattered, which takes knowledge of the target. Self is shown to have
// privileged access to its own answers only where it is better than the others that were trained on the same examples
// and than whatever needs no introspection.
#include "report/headline.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace introspect {

namespace {

const char* const kContent = "content_on_changed";
const char* const kFlag = "has_changed_f1";

std::string count_words(const std::string& metric) {
  if (metric == kContent) return "at naming the new answer";
  return metric == kFlag ? "at saying whether it changes" : "on " + metric_label(metric);
}

// "a", "a and b", "a, b and c"
std::string listed(const std::vector<std::string>& items, const std::string& last = " and ") {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == items.size() ? last : ", ") + items[i];
  }
  return text;
}

// "65.5%", "F1 70.2"
std::string value_words(const std::string& metric, double value) {
  return metric == kFlag ? "F1 " + percent(value) : percent(value) + "%";
}

struct Rival {
  std::string explainer, name;
};
const std::vector<Rival>& rivals() {
  static const std::vector<Rival> all = {{"twin", "its twin"}, {"base", "the model before chat tuning"}};
  return all;
}

std::string what_is_measured(const ScoreTable& table, const Score& self) {
  const std::string target = table.subject().target.empty() ? "the target" : table.subject().target;
  if (table.headline_metric() != kContent) {
    return fmt::format("On {}, {}, trained to explain itself, reaches {} on {}.", plural(self.n, "test item"), target,
                       percent_with_interval(self), metric_label(table.headline_metric()));
  }
  const Score* flag = table.find("self", "trained", kFlag);
  const std::string range = flag ? interval(flag->low, flag->high) : "";
  return fmt::format(
      "On the {} whose answer changes when the hint is taken away, {}, trained to explain itself, names the new answer "
      "in {} of cases{}.",
      plural(self.n, "test item"), target, percent_with_interval(self),
      flag ? fmt::format("; whether the answer changes it says with a has-changed F1 of {}{} on all {}",
                         percent(flag->value), range.empty() ? "" : " (" + range + ")", count(flag->n))
           : "");
}

std::string against_rivals(const ScoreTable& table) {
  std::vector<std::string> parts;
  for (const Rival& rival : rivals()) {
    std::vector<std::string> figures;
    for (const std::string& metric : table.headline_metrics()) {
      const Against found = against(table, metric, rival.explainer, "trained");
      if (found.verdict == Verdict::unknown) continue;
      const std::string unit = metric == kFlag ? " in F1" : parts.empty() && figures.empty() ? " points" : "";
      figures.push_back(fmt::format("{}{} ({})", signed_percent(found.difference), unit, found.range));
    }
    if (!figures.empty())
      parts.push_back(fmt::format("against {} {}{}", rival.name, parts.empty() ? "that is " : "", listed(figures)));
  }
  return parts.empty() ? "" : capitalised(fmt::format("{}.", fmt::join(parts, "; ")));
}

std::string best_floors(const ScoreTable& table) {
  std::vector<RowName> floors;
  for (const RowName& row : table.rows()) {
    if (row.kind == RowKind::floor) floors.push_back(row);
  }
  std::vector<std::string> values, labels;
  for (const std::string& metric : table.headline_metrics()) {
    const RowName* best = best_row(table, floors, metric);
    if (!best) continue;
    values.push_back(value_words(metric, table.find(*best, metric)->value));
    labels.push_back(best->label);
  }
  if (values.empty()) return "No floor was measured beside it.";
  if (std::count(labels.begin(), labels.end(), labels.front()) == std::ssize(labels)) {
    return fmt::format("The best floor ({}) reaches {}.", labels.front(), listed(values));
  }
  for (size_t i = 0; i < values.size(); ++i) values[i] += " (" + labels[i] + ")";
  return fmt::format("The best floors reach {}.", listed(values));
}

// Before training self is the target, and right by definition; the twin's figure says how alike the two behave.
std::string simulation(const ScoreTable& table) {
  const auto reached = [&](const char* explainer, const char* condition) {
    std::vector<std::string> values;
    for (const std::string& metric : table.headline_metrics()) {
      const Score* score = table.find(explainer, condition, metric);
      if (score && std::isfinite(score->value)) values.push_back(value_words(metric, score->value));
    }
    return listed(values);
  };
  const std::string self = reached("self", "self_simulation"), twin = reached("twin", "untrained_simulation");
  std::string text;
  if (!self.empty()) {
    text = fmt::format(
        "Running the prompt with and without the hint and answering from that, as an honest introspector could, it "
        "reaches {} once trained to explain",
        self);
    text += table.find("self", "untrained_simulation", kContent) ? " (before, it is the target itself)" : "";
  }
  if (!twin.empty()) {
    text += fmt::format("{} twin before training reaches {}: so far do the two behave alike",
                        text.empty() ? "Running both prompts, its" : "; its", twin);
  }
  return text.empty() ? "" : text + ".";
}

// The best of the rows that need no introspection and that self is not shown to beat: what is learnt from the text, and
// the comparison of the hint with an answer given without it.
const RowName* unbeaten_floor(const ScoreTable& table, const std::string& metric, const std::vector<RowName>& rows) {
  std::vector<RowName> unbeaten;
  for (const RowName& row : rows) {
    const Verdict verdict = against(table, metric, row.explainer, row.condition).verdict;
    const bool free = row.explainer == "none" || row.condition == "hint_differs";
    if (free && (verdict == Verdict::not_shown || verdict == Verdict::worse)) unbeaten.push_back(row);
  }
  const RowName* best = best_row(table, unbeaten, metric);
  if (!best) return nullptr;
  for (const RowName& row : rows) {
    if (row.explainer == best->explainer && row.condition == best->condition) return &row;
  }
  return nullptr;
}

// On one metric, whom self is not better than; nobody where `words` is empty.
struct Standing {
  bool beats_twin = false;
  std::string words;
};

Standing standing(const ScoreTable& table, const std::string& metric) {
  std::vector<std::string> worse, not_shown;
  const auto add = [&](Verdict verdict, const std::string& name) {
    if (verdict == Verdict::worse) worse.push_back(name);
    if (verdict == Verdict::not_shown) not_shown.push_back(name);
  };
  for (const Rival& rival : rivals()) add(against(table, metric, rival.explainer, "trained").verdict, rival.name);
  if (const RowName* floor = unbeaten_floor(table, metric, table.rows())) {
    add(against(table, metric, floor->explainer, floor->condition).verdict,
        fmt::format("what needs no introspection ({})", floor->label));
  }
  std::vector<std::string> parts;
  if (!worse.empty()) parts.push_back("worse than " + listed(worse));
  if (!not_shown.empty()) parts.push_back("not shown to be better than " + listed(not_shown, " or "));
  return {against(table, metric, "twin", "trained").verdict == Verdict::better, listed(parts)};
}

std::string conclusion(const ScoreTable& table) {
  const std::vector<std::string> metrics = table.headline_metrics();
  std::vector<Standing> standings;
  for (const std::string& metric : metrics) standings.push_back(standing(table, metric));
  std::vector<std::string> reasons;
  for (size_t m = 0; m < metrics.size(); ++m) {
    if (standings[m].words.empty()) continue;
    reasons.push_back(fmt::format("{} it is {}", count_words(metrics[m]), standings[m].words));
  }
  if (standings.size() == 2 && reasons.size() == 2 && standings[0].words == standings[1].words) {
    reasons = {"on both counts it is " + standings[0].words};
  }
  const auto shown = [&](size_t m) {
    return m < standings.size() && standings[m].beats_twin && standings[m].words.empty();
  };
  std::string verdict = "So no privileged access to its own answers is shown";
  if (against(table, metrics[0], "twin", "trained").verdict == Verdict::unknown) {
    verdict = "A twin was not measured, so nothing says whether this is privileged access";
  } else if (shown(0) && (shown(1) || metrics[0] != kContent)) {
    verdict = "So it knows more of its own answers than the same examples teach another model";
  } else if (shown(1)) {
    verdict = "So it knows better whether its answer changes, but is not shown to know better to what";
  } else if (shown(0)) {
    verdict =
        "Naming new answers better shows no privileged access alone, for whoever answers as if there were no hint "
        "names them too";
  }
  return fmt::format("{}{}{}.", verdict, reasons.empty() ? "" : ": ", fmt::join(reasons, "; "));
}

std::string gate_sentence(const std::vector<Gate>& gates) {
  if (gates.empty()) return "Whether the target is fit for this test was not checked.";
  int64_t failed = 0;
  for (const Gate& gate : gates) failed += !gate.passed;
  if (failed == 0) return fmt::format("The target passed its gate ({}).", plural(std::ssize(gates), "condition"));
  return fmt::format("The target passed its gate, though {} of {} conditions {} not hold.", failed, gates.size(),
                     failed == 1 ? "does" : "do");
}

}  // namespace

std::vector<std::string> ablation_sentences(const ScoreTable& table, const ReportInput& input) {
  const Score* self = table.find("self", "trained", table.headline_metric());
  if (!self) return {"The model's explanation of itself was not measured in this run."};
  if (self->n == 0) return {"There was no test item to measure this on."};
  std::vector<std::string> sentences = {what_is_measured(table, *self)};
  const auto add = [&](const std::string& sentence) {
    if (!sentence.empty()) sentences.push_back(sentence);
  };
  add(against_rivals(table));
  add(best_floors(table));
  add(simulation(table));
  if (input.valid) {
    add(conclusion(table));
    add(gate_sentence(input.gates));
  }
  if (self->seeds == 1) add("Each explainer was trained once: the intervals do not hold the luck of training.");
  return sentences;
}

}  // namespace introspect
