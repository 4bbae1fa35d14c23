// The sections about what an ablation does to the target, and about what explainers make of kinds they never saw.
#include "report/headline.h"
#include "report/sections.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace introspect {

namespace {

// A column whose name begins with a blank holds words, the others numbers; the first one is the row's name.
std::string head_of(const std::vector<std::string>& columns) {
  std::string html = "<thead><tr>";
  for (const std::string& column : columns) {
    const bool words = column.starts_with(' ');
    html += fmt::format("<th scope=\"col\"{}>{}</th>", words ? " class=\"words\"" : "", column.substr(words));
  }
  return html + "</tr></thead>\n<tbody>\n";
}

// A cell's text with a smaller line under it.
std::string with_line(const std::string& text, const std::string& line) {
  return escape_html(text) + (line.empty() ? "" : "<small>" + escape_html(line) + "</small>");
}

}  // namespace

std::string gate_table(const ReportInput& input) {
  if (input.gates.empty()) return "";
  std::string body = head_of({"of the target", "share", "wanted", "n", "holds"});
  for (const Gate& gate : input.gates) {
    body +=
        fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                    escape_html(gate.name), percent(gate.value), wanted_words(gate), gate.n > 0 ? count(gate.n) : "–",
                    gate.passed ? "<span class=\"right\">✓ yes</span>" : "<span class=\"wrong\">✗ no</span>");
  }
  return fmt::format(
      "<p class=\"note\">The gate: what must be so of the target before the scores mean anything. The "
      "test is {}.</p>\n{}",
      input.valid ? "valid" : "not valid", scrolling("The gate", body + "</tbody>\n"));
}

namespace {

std::string share_cell(double share, int64_t n) {
  const auto [low, high] = share_interval(share, n);
  return with_line(percent(share), interval(low, high));
}

}  // namespace

std::pair<double, double> share_interval(double share, int64_t n) {
  if (n < 1 || !std::isfinite(share)) return {std::nan(""), std::nan("")};
  constexpr double z = 1.959964;
  const auto items = static_cast<double>(n);
  const double middle = (share + z * z / (2 * items)) / (1 + z * z / items);
  const double half = z / (1 + z * z / items) * std::sqrt(share * (1 - share) / items + z * z / (4 * items * items));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

std::string hint_table(const ReportInput& input) {
  if (input.hints.empty()) return "";
  std::string body = head_of({"wording", "questions", "wrong hints followed", "answer changes without the hint",
                              "right with the hint", "items kept"});
  for (const HintFact& hint : input.hints) {
    body +=
        fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                    with_line(hint.wording, hint.text), count(hint.n), share_cell(hint.followed_when_wrong, hint.wrong),
                    share_cell(hint.changed_without, hint.n), share_cell(hint.right_with, hint.n), count(hint.kept));
  }
  return scrolling("What each wording does", body + "</tbody>\n");
}

std::string generalisation_table(const ReportInput& input) {
  if (input.generalisation.empty()) return "";
  const std::string task = task_name(input);
  std::string body = head_of({"trained on", " tested on", "score", "n", " metric"});
  for (const GeneralisationFact& fact : input.generalisation) {
    const std::string row = row_name(fact.explainer, fact.condition, task).label;
    body += fmt::format(
        "<tr{}><th scope=\"row\">{}</th><td class=\"words\">{}</td><td>{}</td><td>{}</td><td class=\"words\">{}</td>"
        "</tr>\n",
        fact.reference ? " class=\"reference\"" : "",
        with_line(fact.trained_on, row + (fact.reference ? "; for comparison, on the same items" : "")),
        escape_html(fact.tested_on), with_line(percent(fact.value), interval(fact.low, fact.high)), count(fact.n),
        escape_html(metric_label(fact.metric)));
  }
  return scrolling("Generalisation", body + "</tbody>\n");
}

}  // namespace introspect
