// How a score grows with the number of examples that were learnt; and tables of the data.
#include "report/sections.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

template <class T>
void add_new(std::vector<T>& list, const T& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

std::vector<std::string> explainers_of(const std::vector<ScalingPoint>& points) {
  std::vector<std::string> names;
  for (const ScalingPoint& point : points) add_new(names, point.explainer);
  return names;
}

std::string label_of(const std::string& explainer, const ReportInput& input) {
  return row_name(explainer, "trained", task_name(input)).label;
}

std::string style_of(const std::string& explainer) {
  return explainer == "self" ? "self" : explainer == "nearest_neighbour" ? "floor" : "explainer";
}

CurveFigure curves_of(const ReportInput& input, const std::string& metric) {
  CurveFigure figure;
  figure.title = capitalised(metric_label(metric)) + " by the number of train examples";
  figure.counted = "train examples";
  for (const std::string& explainer : explainers_of(input.scaling)) {
    CurveFigure::Series series{label_of(explainer, input), style_of(explainer), {}};
    figure.description += series.label + ":";
    for (const ScalingPoint& point : input.scaling) {
      if (point.explainer != explainer || point.metric != metric) continue;
      series.points.push_back({static_cast<double>(point.examples), point.value, point.low, point.high});
      figure.description += fmt::format(" {} at {},", percent(point.value), point.examples);
    }
    figure.description += " ";
    figure.series.push_back(std::move(series));
  }
  return figure;
}

// "20.1 (14.7 to 26.1)" as the tables of scores show it: the interval small and below.
std::string html_of_cell(const std::string& text) {
  const size_t at = text.find(" (");
  if (at == std::string::npos || !text.ends_with(")") || text.find(" to ", at) == std::string::npos) {
    return text.starts_with("< ") ? "&lt;&nbsp;" + escape_html(text.substr(2)) : escape_html(text);  // "< 0.001"
  }
  return escape_html(text.substr(0, at)) + "<small>" + escape_html(text.substr(at + 2, text.size() - at - 3)) +
         "</small>";
}

std::string html_of(const NamedTable& table) {
  std::string body = "<thead><tr>";
  for (const std::string& cell : table.head) body += "<th scope=\"col\">" + escape_html(cell) + "</th>";
  body += "</tr></thead>\n<tbody>\n";
  for (const std::vector<std::string>& line : table.lines) {
    body += "<tr>";
    for (size_t i = 0; i < line.size(); ++i) {
      body += i == 0 ? "<th scope=\"row\">" + escape_html(line[i]) + "</th>" : "<td>" + html_of_cell(line[i]) + "</td>";
    }
    body += "</tr>\n";
  }
  constexpr size_t kFit = 7;  // columns that the text's width holds
  const std::string note = note_on_p(table);
  return scrolling(table.title, body + "</tbody>\n", table.head.size() > kFit ? "scroll broad" : "scroll") +
         (note.empty() ? "" : "<p class=\"note\">" + escape_html(note) + "</p>\n");
}

}  // namespace

std::string note_on_p(const NamedTable& table) {
  const auto column = [&](const std::string& name) { return std::find(table.head.begin(), table.head.end(), name); };
  if (column("p") == table.head.end() || column("p, Holm") != table.head.end()) return "";
  const size_t at = static_cast<size_t>(column("p") - table.head.begin());
  const auto tested = std::count_if(table.lines.begin(), table.lines.end(), [&](const std::vector<std::string>& line) {
    return at < line.size() && !line[at].empty() && line[at] != "–";
  });
  if (tested < 2) return "";
  return fmt::format(
      "p: each of {} lines is tested by itself. Where nothing differs, one line in twenty is below 0.05 all the same.",
      tested);
}

NamedTable scaling_table(const ReportInput& input) {
  std::vector<std::string> metrics;
  std::vector<int64_t> sizes;
  for (const ScalingPoint& point : input.scaling) {
    add_new(metrics, point.metric);
    add_new(sizes, point.examples);
  }
  std::sort(sizes.begin(), sizes.end());
  NamedTable table{"Scores by the number of train examples", {"row"}, {}};
  for (const int64_t size : sizes) table.head.push_back(count(size));
  for (const std::string& metric : metrics) {
    for (const std::string& explainer : explainers_of(input.scaling)) {
      std::vector<std::string> line = {fmt::format("{}, {}", label_of(explainer, input), metric_label(metric))};
      for (const int64_t size : sizes) {
        std::string shown = "–";
        for (const ScalingPoint& point : input.scaling) {
          if (point.explainer != explainer || point.metric != metric || point.examples != size) continue;
          const std::string range = interval(point.low, point.high);
          shown = percent(point.value) + (range.empty() ? "" : " (" + range + ")");
        }
        line.push_back(shown);
      }
      table.lines.push_back(std::move(line));
    }
  }
  return table;
}

std::string scaling_section(const ReportInput& input) {
  if (input.scaling.empty()) return "";
  std::vector<std::string> metrics;
  for (const ScalingPoint& point : input.scaling) add_new(metrics, point.metric);
  std::string html;
  for (const std::string& metric : metrics) {
    html +=
        both_widths(curves_of(input, metric), curve_figure,
                    capitalised(metric_label(metric)) + ", times 100. Lines: 95% intervals, bootstrap over clusters.");
  }
  return html + "<details><summary>The figures</summary>\n" + html_of(scaling_table(input)) + "</details>\n";
}

std::string named_tables(const std::vector<NamedTable>& tables) {
  std::string html;
  for (const NamedTable& table : tables) {
    html += "<details open><summary>" + escape_html(table.title) + "</summary>\n" + html_of(table) + "</details>\n";
  }
  return html;
}

}  // namespace introspect
