#include "report/sections.h"

#include "report/figure.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kOpenLines = 24;  // of a figure by subject; one of more lines is folded

// What self comes to without its vector, and what it would know if it asked itself again.
bool is_control_of_self(const RowName& row) {
  return row.condition == "retrained_without_vector" || (row.explainer == "self" && row.kind == RowKind::simulation);
}

Bar bar_of(const RowName& row, const Score* score) {
  if (!score) return {row.label, kNothing, kNothing, kNothing, row_style(row)};
  return {row.label, score->value, score->low, score->high, row_style(row)};
}

// The rows as bars, by kind.
BarFigure bars_of(const ScoreTable& table, const std::string& metric) {
  BarFigure figure;
  figure.title = metric_label(metric);
  for (const RowName& row : table.drawn_rows(metric)) {
    const Score* score = table.find(row, metric);
    const std::string title = table.words().kind_title(row.kind);
    if (figure.groups.empty() || figure.groups.back().title != title) figure.groups.push_back({title, {}});
    figure.groups.back().bars.push_back(bar_of(row, score));
    if (score) figure.description += fmt::format("{} {}; ", row.label, percent(score->value));
  }
  return figure;
}

// The explainers, self without its vector or asked again, and the best floor: enough for a small picture.
BarFigure small_bars_of(const ScoreTable& table, const std::string& metric) {
  BarFigure figure;
  figure.title = metric_label(metric);
  figure.groups.push_back({});
  figure.end = 1;  // these stand side by side
  Bar best{"", -1, kNothing, kNothing, "floor"};
  for (const RowName& row : table.rows()) {
    Bar bar = bar_of(row, table.find(row, metric));
    if (row.kind == RowKind::reference) continue;
    if (row.kind == RowKind::floor) {
      if (bar.value > best.value) best = std::move(bar);
    } else if ((row.kind == RowKind::explainer && !trained_on_some(row)) || is_control_of_self(row)) {
      figure.groups[0].bars.push_back(std::move(bar));
    }
  }
  if (best.value >= 0) {
    best.label = "best floor: " + best.label;
    figure.groups[0].bars.push_back(std::move(best));
  }
  for (const Bar& bar : figure.groups[0].bars) figure.description += bar.label + " " + percent(bar.value) + "; ";
  return figure;
}

std::string cell(const Score* score) {
  if (!score) return "<td>–</td>";
  const std::string range = interval(score->low, score->high);
  return fmt::format("<td>{}{}</td>", percent(score->value), range.empty() ? "" : "<small>" + range + "</small>");
}

// Against self, with the p of the paired test.
std::string difference_cell(const Score* score) {
  if (!score || !std::isfinite(score->p_against_self)) return "<td>–</td>";
  return fmt::format("<td>{}<small>{}</small></td>", signed_percent(score->difference_to_self),
                     escape_html(p_value(score->p_against_self)));
}

}  // namespace

std::string figure_html(const std::string& wide, const std::string& narrow, const std::string& caption) {
  return fmt::format(
      "<figure>\n<div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n<figcaption>{}</figcaption>\n"
      "</figure>\n",
      wide, narrow, escape_html(caption));
}

std::string scrolling(const std::string& label, const std::string& table, const std::string& style) {
  return fmt::format(
      "<div class=\"{}\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table>\n{}</table>\n</div>\n", style,
      escape_html(label), table);
}

std::string whisker_note(const ScoreTable& table, const std::string& metric) {
  for (const RowName& row : table.rows()) {
    const Score* score = table.find(row, metric);
    if (!score) continue;
    return fmt::format("n = {} in {}. Whiskers: 95% intervals, bootstrap over clusters.", plural(score->n, "item"),
                       plural(score->clusters, "cluster"));
  }
  return "";
}

std::string row_figure(const ScoreTable& table, const std::string& metric) {
  const BarFigure figure = bars_of(table, metric);
  const std::string meaning = metric_meaning(metric, table.subject().task);
  const bool all = table.drawn_rows(metric).size() == table.rows().size();
  const char* left_out =
      all ? ""
          : " Not drawn, but in the table: rows trained on a part, and all but the best of a model's untrained rows.";
  return both_widths(figure, bar_figure,
                     fmt::format("{} All numbers are times 100. {}{}", meaning, whisker_note(table, metric), left_out));
}

std::string metric_figures(const ScoreTable& table, int level) {
  std::string html;
  const std::vector<std::string> shown = table.headline_metrics();
  for (const std::string& metric : table.metrics()) {
    if (std::find(shown.begin(), shown.end(), metric) != shown.end()) continue;
    const BarFigure figure = small_bars_of(table, metric);
    const std::string meaning = metric_meaning(metric, table.subject().task);
    html += fmt::format("<div><h{0}>{1}</h{0}>\n{2}</div>\n", level, escape_html(capitalised(metric_label(metric))),
                        both_widths(figure, bar_figure, meaning + " " + whisker_note(table, metric)));
  }
  return html.empty() ? "" : "<div class=\"small-figures\">\n" + html + "</div>\n";
}

std::string score_table(const ScoreTable& table) {
  std::string body = "<thead><tr><th scope=\"col\">row</th>";
  for (const std::string& metric : table.metrics()) {
    body += fmt::format("<th scope=\"col\">{}</th>", escape_html(metric_label(metric)));
  }
  body += "<th scope=\"col\">against self, first column</th>";
  const std::vector<std::string> compared = table.headline_metrics();
  for (size_t m = 1; m < compared.size(); ++m) {
    body += fmt::format("<th scope=\"col\">against self, {}</th>", escape_html(metric_label(compared[m])));
  }
  body += "<th scope=\"col\">unparsable</th><th scope=\"col\">seeds</th></tr></thead>\n<tbody>\n";
  const size_t columns = table.metrics().size() + 3 + compared.size();
  const RowName* last = nullptr;
  for (const RowName& row : table.rows()) {
    if (!last || last->kind != row.kind) {
      body += fmt::format("<tr class=\"kind\"><th scope=\"colgroup\" colspan=\"{}\">{}</th></tr>\n", columns,
                          table.words().kind_title(row.kind));
    }
    last = &row;
    body += fmt::format("<tr class=\"{}\"><th scope=\"row\">{}</th>", row_style(row), escape_html(row.label));
    for (const std::string& metric : table.metrics()) body += cell(table.find(row, metric));
    const Score* headline = table.find(row, table.headline_metric());
    for (const std::string& metric : compared) body += difference_cell(table.find(row, metric));
    if (!headline) {
      body += "<td>–</td><td>–</td></tr>\n";
      continue;
    }
    const double unparsable = headline->unparsable;
    body += fmt::format(
        "<td>{}</td><td>{}</td></tr>\n",
        unparsable == std::floor(unparsable) ? count(std::llround(unparsable)) : fmt::format("{:.1f}", unparsable),
        headline->seeds);
  }
  return scrolling("Scores of every row", body + "</tbody>\n",
                   compared.size() > 1 ? "scroll broad dense" : "scroll broad");
}

std::string group_figure(const ScoreTable& table) {
  const std::string& metric = table.headline_metric();
  const GroupAttribute& attribute = table.words().drawn_by;
  DotFigure figure;
  figure.title = metric_label(metric) + " by " + attribute.title;
  std::vector<RowName> rows;
  for (const RowName& row : table.rows()) {
    const bool shown = row.condition == "trained" && (row.explainer == "self" || row.explainer == "twin");
    if (shown) rows.push_back(row);
  }
  for (const RowName& row : rows) figure.series.push_back(row.label);
  for (const std::string& value : table.groups(attribute.name)) {
    DotFigure::Line line;
    for (const RowName& row : rows) {
      const Score* score = table.find(row, metric, attribute.name + "=" + value);
      line.dots.push_back(score ? Dot{score->value, score->low, score->high} : Dot{kNothing, kNothing, kNothing});
      if (score) line.label = fmt::format("{} (n {})", value, count(score->n));
    }
    if (line.label.empty()) continue;
    figure.description += fmt::format("{} {}; ", line.label, percent(line.dots[0].value));
    figure.lines.push_back(std::move(line));
  }
  if (figure.lines.empty() || rows.empty()) return "";
  const std::string html =
      both_widths(figure, dot_figure,
                  fmt::format("{}, for each {}; n is the number of items. Whiskers: 95% intervals, bootstrap over "
                              "clusters; none where there are fewer than two clusters.",
                              capitalised(metric_label(metric)), attribute.title));
  if (table.words().task != Task::ablation || figure.lines.size() <= kOpenLines) return html;
  return fmt::format("<details><summary>{} for each of {} {}s</summary>\n{}</details>\n",
                     escape_html(capitalised(metric_label(metric))), figure.lines.size(), attribute.title, html);
}

std::vector<RowName> group_rows(const ScoreTable& table) {
  const bool ablation = table.words().task == Task::ablation;
  std::vector<RowName> rows;
  for (const RowName& row : table.rows()) {
    const bool explainer = row.kind == RowKind::explainer && !trained_on_some(row) && row.condition != "lora";
    // what a wording is good for without introspection
    const bool text = ablation && (row.condition == "text_classifier" || row.condition == "majority_wording");
    const bool reference = row.condition == "nearest_neighbour" || row.kind == RowKind::reference;
    if (explainer || is_control_of_self(row) || text || reference) rows.push_back(row);
  }
  return rows;
}

std::string group_tables(const ScoreTable& table) {
  const std::vector<RowName> rows = group_rows(table);
  if (rows.empty()) return "";
  std::string html;
  for (const GroupAttribute& attribute : table.words().listed_by) {
    const std::vector<std::string> values = table.groups(attribute.name);
    if (values.empty()) continue;
    std::string head = fmt::format("<thead><tr><th scope=\"col\">{}</th><th scope=\"col\">n</th>", attribute.title);
    for (const RowName& row : rows) head += fmt::format("<th scope=\"col\">{}</th>", escape_html(row.label));
    for (const std::string& metric : table.headline_metrics()) {
      std::string body = head + "</tr></thead>\n<tbody>\n";
      for (const std::string& value : values) {
        const std::string group = attribute.name + "=" + value;
        const Score* first = table.find(rows[0], metric, group);
        body +=
            fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td>", escape_html(value), first ? count(first->n) : "–");
        for (const RowName& row : rows) body += cell(table.find(row, metric, group));
        body += "</tr>\n";
      }
      html += fmt::format("<details><summary>{} by {}</summary>\n{}</details>\n",
                          escape_html(capitalised(metric_label(metric))), attribute.title,
                          scrolling("Scores by " + attribute.title, body + "</tbody>\n",
                                    table.words().task == Task::patching ? "scroll" : "scroll broad"));
    }
  }
  return html;
}

std::string comparison_table(const ReportInput& input, const ScoreTable& table) {
  std::string html;
  for (const std::string& metric : table.headline_metrics()) {
    std::string body;
    int64_t pairs = 0;
    for (const Comparison& pair : input.comparisons) {
      if (pair.metric != metric || Subject{pair.task, pair.target} != table.subject()) continue;
      ++pairs;
      body +=
          fmt::format("<tr><th scope=\"row\">{} − {}</th><td>{}{}</td><td>{}</td><td>{}</td></tr>\n",
                      escape_html(row_name(pair.first_explainer, pair.first_condition, pair.task).label),
                      escape_html(row_name(pair.second_explainer, pair.second_condition, pair.task).label),
                      signed_percent(pair.difference), "<small>" + signed_interval(pair.low, pair.high) + "</small>",
                      escape_html(p_cell(pair.p)), escape_html(p_cell(pair.p_holm)));
    }
    if (pairs == 0) continue;
    html += fmt::format(
        "<details><summary>{} compared two by two ({})</summary>\n<p class=\"note\">Paired permutation tests: the "
        "answers of whole clusters are swapped. Holm: corrected for all pairs of this table.</p>\n{}</details>\n",
        escape_html(capitalised(metric_label(metric))), plural(pairs, "pair"),
        scrolling("Pairs of rows",
                  "<thead><tr><th scope=\"col\">rows</th><th scope=\"col\">difference</th><th "
                  "scope=\"col\">p</th><th scope=\"col\">p, Holm</th></tr></thead>\n<tbody>\n" +
                      body + "</tbody>\n"));
  }
  return html;
}

}  // namespace introspect
