// Sections of a part's own: curves, matrices of scores, and points of two numbers.
#include "report/sections.h"
#include "report/words.h"

#include <cmath>

#include <fmt/format.h>

namespace introspect {

namespace {

// "−3.1, p = 0.02": against self.
std::string against_self(const MatrixCell& cell) {
  if (!std::isfinite(cell.difference)) return "";
  const std::string p = p_value(cell.p);
  return signed_percent(cell.difference) + (p.empty() ? "" : ", " + p);
}

// Words may be long, and wrap; numbers do not.
std::string words_under(const MatrixCell& cell) {
  return cell.words.empty() ? "" : "<small class=\"words\">" + escape_html(cell.words) + "</small>";
}

std::string html_of(const MatrixCell& cell) {
  if (!std::isfinite(cell.value)) {
    return "<td>–" + words_under(cell) + "</td>";
  }
  const std::string value = percent(cell.value);
  std::string html = "<td>" + (cell.self ? "<strong>" + value + "</strong>" : value);
  for (const std::string& under : {interval(cell.low, cell.high), against_self(cell)}) {
    if (!under.empty()) html += "<small>" + escape_html(under) + "</small>";
  }
  return html + words_under(cell) + "</td>";
}

std::string markdown_of(const MatrixCell& cell) {
  if (!std::isfinite(cell.value)) return "–" + (cell.words.empty() ? "" : " (" + escape_markdown(cell.words) + ")");
  std::string text = percent(cell.value);
  if (const std::string range = interval(cell.low, cell.high); !range.empty()) text += " (" + range + ")";
  if (const std::string against = against_self(cell); !against.empty()) text += "; " + escape_markdown(against);
  if (!cell.words.empty()) text += "; " + escape_markdown(cell.words);
  return cell.self ? "**" + text + "**" : text;
}

std::string html_of(const MatrixTable& matrix) {
  std::string body = "<thead><tr><th scope=\"col\">" + escape_html(matrix.corner) + "</th>";
  for (const std::string& column : matrix.columns) body += "<th scope=\"col\">" + escape_html(column) + "</th>";
  body += "</tr></thead>\n<tbody>\n";
  for (const MatrixTable::Line& line : matrix.lines) {
    body += "<tr><th scope=\"row\">" + escape_html(line.label) + "</th>";
    for (const MatrixCell& cell : line.cells) body += html_of(cell);
    body += "</tr>\n";
  }
  return fmt::format("<h3>{}</h3>\n{}<p class=\"note\">{}</p>\n", escape_html(matrix.title),
                     scrolling(matrix.title, body + "</tbody>\n", "scroll broad"), escape_html(matrix.note));
}

std::string markdown_of(const MatrixTable& matrix) {
  std::string text = "**" + escape_markdown(matrix.title) + "**\n\n| " + escape_markdown(matrix.corner) + " |";
  std::string rule = "|---|";
  for (const std::string& column : matrix.columns) {
    text += " " + escape_markdown(column) + " |";
    rule += "---:|";
  }
  text += "\n" + rule + "\n";
  for (const MatrixTable::Line& line : matrix.lines) {
    text += "| " + escape_markdown(line.label) + " |";
    for (const MatrixCell& cell : line.cells) text += " " + markdown_of(cell) + " |";
    text += "\n";
  }
  return text + "\n" + escape_markdown(matrix.note) + "\n\n";
}

}  // namespace

std::string own_section(const OwnSection& section) {
  std::string html;
  for (const CurveFigure& figure : section.curves) html += both_widths(figure, curve_figure, figure.title);
  for (const MatrixTable& matrix : section.matrices) html += html_of(matrix);
  for (const ScatterFigure& figure : section.scatters) {
    html += both_widths(figure, scatter_figure, figure.title + ". " + figure.description);
  }
  return html + named_tables(section.tables);
}

std::string own_section_markdown(const OwnSection& section) {
  std::string text = section.lead.empty() ? "" : escape_markdown(section.lead) + "\n\n";
  for (const MatrixTable& matrix : section.matrices) text += markdown_of(matrix);
  for (const NamedTable& table : section.tables) {
    text += "**" + escape_markdown(table.title) + "**\n\n" + markdown_table(table) + "\n";
  }
  return text;
}

}  // namespace introspect
