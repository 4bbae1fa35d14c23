#include "report/sections.h"

#include "report/figure.h"
#include "report/words.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

template <class Figure, class Draw>
std::string both_widths(const Figure& figure, Draw&& draw, const std::string& caption) {
  return fmt::format(
      "<figure>\n<div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n<figcaption>{}</figcaption>\n"
      "</figure>\n",
      draw(figure, FigureWidth::wide), draw(figure, FigureWidth::narrow), escape_html(caption));
}

const char* kind_title(RowKind kind) {
  switch (kind) {
    case RowKind::explainer:
      return "Trained to explain the target";
    case RowKind::ablation:
      return "The vector taken away or exchanged";
    case RowKind::floor:
      return "Floors, without training or vector";
  }
  return "";
}

Bar bar_of(const RowName& row, const Score* score) {
  if (!score) return {row.label, kNothing, kNothing, kNothing, row_style(row)};
  return {row.label, score->value, score->low, score->high, row_style(row)};
}

// The rows as bars, by kind.
BarFigure bars_of(const ScoreTable& table, const std::string& metric) {
  BarFigure figure;
  figure.title = metric_label(metric);
  for (const RowName& row : table.rows()) {
    const Score* score = table.find(row, metric);
    const std::string title = kind_title(row.kind);
    if (figure.groups.empty() || figure.groups.back().title != title) figure.groups.push_back({title, {}});
    figure.groups.back().bars.push_back(bar_of(row, score));
    if (score) figure.description += fmt::format("{} {}; ", row.label, percent(score->value));
  }
  return figure;
}

// The explainers, self without its vector, and the best floor: enough for a small picture.
BarFigure small_bars_of(const ScoreTable& table, const std::string& metric) {
  BarFigure figure;
  figure.title = metric_label(metric);
  figure.groups.push_back({});
  figure.end = 1;  // these stand side by side
  Bar best{"", -1, kNothing, kNothing, "floor"};
  for (const RowName& row : table.rows()) {
    Bar bar = bar_of(row, table.find(row, metric));
    if (row.kind == RowKind::floor) {
      if (bar.value > best.value) best = std::move(bar);
    } else if (row.kind == RowKind::explainer || row.condition == "retrained_without_vector") {
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

std::string scrolling(const std::string& label, const std::string& table, const std::string& style = "scroll") {
  return fmt::format(
      "<div class=\"{}\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table>\n{}</table>\n</div>\n", style,
      escape_html(label), table);
}

}  // namespace

std::string whisker_note(const ScoreTable& table, const std::string& metric) {
  for (const RowName& row : table.rows()) {
    const Score* score = table.find(row, metric);
    if (!score) continue;
    return fmt::format("n = {} in {}. Whiskers: 95% intervals, bootstrap over clusters.", plural(score->n, "item"),
                       plural(score->clusters, "cluster"));
  }
  return "";
}

std::string headline_figure(const ScoreTable& table) {
  const std::string& metric = table.headline_metric();
  return both_widths(
      bars_of(table, metric), bar_figure,
      fmt::format("{} All numbers are times 100. {}", metric_meaning(metric), whisker_note(table, metric)));
}

std::string metric_figures(const ScoreTable& table) {
  std::string html;
  for (const std::string& metric : table.metrics()) {
    if (metric == table.headline_metric()) continue;
    const BarFigure figure = small_bars_of(table, metric);
    html += fmt::format("<div><h3>{}</h3>\n{}</div>\n", escape_html(capitalised(metric_label(metric))),
                        both_widths(figure, bar_figure, metric_meaning(metric) + " " + whisker_note(table, metric)));
  }
  return html.empty() ? "" : "<div class=\"small-figures\">\n" + html + "</div>\n";
}

std::string score_table(const ScoreTable& table) {
  std::string body = "<thead><tr><th scope=\"col\">row</th>";
  for (const std::string& metric : table.metrics()) {
    body += fmt::format("<th scope=\"col\">{}</th>", escape_html(metric_label(metric)));
  }
  body +=
      "<th scope=\"col\">against self, first column</th><th scope=\"col\">unparsable</th><th scope=\"col\">seeds</th>"
      "</tr></thead>\n<tbody>\n";
  const size_t columns = table.metrics().size() + 4;
  const RowName* last = nullptr;
  for (const RowName& row : table.rows()) {
    if (!last || last->kind != row.kind) {
      body += fmt::format("<tr class=\"kind\"><th scope=\"colgroup\" colspan=\"{}\">{}</th></tr>\n", columns,
                          kind_title(row.kind));
    }
    last = &row;
    body += fmt::format("<tr class=\"{}\"><th scope=\"row\">{}</th>", row_style(row), escape_html(row.label));
    for (const std::string& metric : table.metrics()) body += cell(table.find(row, metric));
    const Score* headline = table.find(row, table.headline_metric());
    if (!headline) {
      body += "<td>–</td><td>–</td><td>–</td></tr>\n";
      continue;
    }
    body += std::isfinite(headline->p_against_self)
                ? fmt::format("<td>{}<small>{}</small></td>", signed_percent(headline->difference_to_self),
                              escape_html(p_value(headline->p_against_self)))
                : "<td>–</td>";
    const double unparsable = headline->unparsable;
    body += fmt::format(
        "<td>{}</td><td>{}</td></tr>\n",
        unparsable == std::floor(unparsable) ? count(std::llround(unparsable)) : fmt::format("{:.1f}", unparsable),
        headline->seeds);
  }
  return scrolling("Scores of every row", body + "</tbody>\n", "scroll broad");
}

std::string relation_figure(const ScoreTable& table) {
  const std::string& metric = table.headline_metric();
  DotFigure figure;
  figure.title = metric_label(metric) + " by relation";
  std::vector<RowName> rows;
  for (const RowName& row : table.rows()) {
    const bool shown = row.condition == "trained" && (row.explainer == "self" || row.explainer == "twin");
    if (shown) rows.push_back(row);
  }
  for (const RowName& row : rows) figure.series.push_back(row.label);
  for (const std::string& relation : table.groups("relation")) {
    DotFigure::Line line;
    for (const RowName& row : rows) {
      const Score* score = table.find(row, metric, "relation=" + relation);
      line.dots.push_back(score ? Dot{score->value, score->low, score->high} : Dot{kNothing, kNothing, kNothing});
      if (score) line.label = fmt::format("{} (n {})", relation, count(score->n));
    }
    if (line.label.empty()) continue;
    figure.description += fmt::format("{} {}; ", line.label, percent(line.dots[0].value));
    figure.lines.push_back(std::move(line));
  }
  if (figure.lines.empty() || rows.empty()) return "";
  return both_widths(figure, dot_figure,
                     capitalised(metric_label(metric)) +
                         ", for each relation; n is the number of items. Whiskers: 95% intervals, "
                         "bootstrap over clusters; none where there are fewer than two clusters.");
}

std::string group_tables(const ScoreTable& table) {
  std::string html;
  for (const std::string attribute : {"token_type", "block"}) {
    const std::vector<std::string> values = table.groups(attribute);
    if (values.empty()) continue;
    const std::string title = attribute == "block" ? "layer block" : "token type";
    std::string body = fmt::format("<thead><tr><th scope=\"col\">{}</th><th scope=\"col\">n</th>", title);
    std::vector<RowName> rows;
    for (const RowName& row : table.rows()) {
      if (row.kind != RowKind::explainer && row.condition != "retrained_without_vector") continue;
      rows.push_back(row);
      body += fmt::format("<th scope=\"col\">{}</th>", escape_html(row.label));
    }
    if (rows.empty()) continue;
    body += "</tr></thead>\n<tbody>\n";
    for (const std::string& value : values) {
      const std::string group = attribute + "=" + value;
      const Score* first = table.find(rows[0], table.headline_metric(), group);
      body +=
          fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td>", escape_html(value), first ? count(first->n) : "–");
      for (const RowName& row : rows) body += cell(table.find(row, table.headline_metric(), group));
      body += "</tr>\n";
    }
    html += fmt::format("<details><summary>{} by {}</summary>\n{}</details>\n",
                        escape_html(capitalised(metric_label(table.headline_metric()))), title,
                        scrolling("Scores by " + title, body + "</tbody>\n"));
  }
  return html;
}

std::string comparison_table(const ReportInput& input, const ScoreTable& table) {
  std::string body;
  int64_t pairs = 0;
  for (const Comparison& pair : input.comparisons) {
    if (pair.metric != table.headline_metric() || Subject{pair.task, pair.target} != table.subject()) continue;
    ++pairs;
    body += fmt::format("<tr><th scope=\"row\">{} − {}</th><td>{}{}</td><td>{}</td><td>{}</td></tr>\n",
                        escape_html(row_name(pair.first_explainer, pair.first_condition).label),
                        escape_html(row_name(pair.second_explainer, pair.second_condition).label),
                        signed_percent(pair.difference), "<small>" + signed_interval(pair.low, pair.high) + "</small>",
                        escape_html(p_value(pair.p)), escape_html(p_value(pair.p_holm)));
  }
  if (pairs == 0) return "";
  return fmt::format(
      "<details><summary>{} compared two by two ({})</summary>\n<p class=\"note\">Paired permutation tests: the "
      "answers of whole clusters are swapped. Holm: corrected for all pairs of this table.</p>\n{}</details>\n",
      escape_html(capitalised(metric_label(table.headline_metric()))), plural(pairs, "pair"),
      scrolling("Pairs of rows",
                "<thead><tr><th scope=\"col\">rows</th><th scope=\"col\">difference</th><th "
                "scope=\"col\">p</th><th scope=\"col\">p, Holm</th></tr></thead>\n<tbody>\n" +
                    body + "</tbody>\n"));
}

}  // namespace introspect
