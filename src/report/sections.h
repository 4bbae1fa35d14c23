// The parts of the page, one function each, in the order in which they stand. Each gives HTML, empty if the input
// holds nothing for it.
#pragma once

#include "report/figure.h"
#include "report/report.h"
#include "report/table.h"

#include <string>

namespace introspect {

std::string row_figure(const ScoreTable& table, const std::string& metric);  // every row on a headline metric
std::string metric_figures(const ScoreTable& table, int level);  // the other metrics, small, under headings "<h3>"
std::string score_table(const ScoreTable& table);                // every row on every metric
std::string group_figure(const ScoreTable& table);               // self and twin by relation, or by subject
std::string group_tables(const ScoreTable& table);               // by token type and block, or by wording
// The rows whose scores stand in those tables.
std::vector<RowName> group_rows(const ScoreTable& table);
std::string comparison_table(const ReportInput& input, const ScoreTable& table);
std::string generalisation_table(const ReportInput& input);
std::string hint_table(const ReportInput& input);  // what each wording does to the target
std::string gate_table(const ReportInput& input);
std::string cell_map(const ReportInput& input);    // share changed before balancing
std::string cell_table(const ReportInput& input);  // what was dropped, and why
std::string example_browser(const ReportInput& input);
std::string named_values(const NamedValues& values);
std::string scaling_section(const ReportInput& input);  // a figure a metric, and the table
NamedTable scaling_table(const ReportInput& input);
std::string own_section(const OwnSection& section);           // its matrices, figures and tables
std::string own_section_markdown(const OwnSection& section);  // without its title
std::string markdown_table(const NamedTable& table);          // without its title
std::string named_tables(const std::vector<NamedTable>& tables);
std::string note_on_p(
    const NamedTable& table);  // that its lines were tested one by one; empty: they were not, or corrected

std::string figure_html(const std::string& wide, const std::string& narrow, const std::string& caption);
// A figure at both widths, of which the page shows the one that fits.
template <class Figure, class Draw>
std::string both_widths(const Figure& figure, Draw&& draw, const std::string& caption) {
  return figure_html(draw(figure, FigureWidth::wide), draw(figure, FigureWidth::narrow), caption);
}

// A table that scrolls sideways where it is too wide; `style` "scroll", or "scroll broad" for one wider than the text.
std::string scrolling(const std::string& label, const std::string& table, const std::string& style = "scroll");

// The task whose words the part is told in: the input's own name, else that of its scores.
std::string task_name(const ReportInput& input);

// What whiskers are and how many items stand behind a figure.
std::string whisker_note(const ScoreTable& table, const std::string& metric);

// Cells added up over relations: one line a token type, most changed first; one column a block.
struct BlockMap {
  std::vector<std::string> token_types, blocks;
  std::vector<std::vector<int64_t>> items, changed;  // [token type][block]
};
BlockMap block_map(const std::vector<CellFact>& cells);

}  // namespace introspect
