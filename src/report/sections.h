// The parts of the page, one function each, in the order in which they stand. Each gives HTML, empty if the input
// holds nothing for it.
#pragma once

#include "report/report.h"
#include "report/table.h"

#include <string>

namespace introspect {

std::string headline_figure(const ScoreTable& table);  // the headline metric, every row
std::string metric_figures(const ScoreTable& table);   // the other metrics, small
std::string score_table(const ScoreTable& table);      // every row on every metric
std::string relation_figure(const ScoreTable& table);  // self and twin by relation
std::string group_tables(const ScoreTable& table);     // by token type and block
std::string comparison_table(const ReportInput& input, const ScoreTable& table);
std::string cell_map(const ReportInput& input);    // share changed before balancing
std::string cell_table(const ReportInput& input);  // what was dropped, and why
std::string example_browser(const ReportInput& input);
std::string named_values(const NamedValues& values);

// What whiskers are and how many items stand behind a figure.
std::string whisker_note(const ScoreTable& table, const std::string& metric);

// Cells added up over relations: one line a token type, most changed first; one column a block.
struct BlockMap {
  std::vector<std::string> token_types, blocks;
  std::vector<std::vector<int64_t>> items, changed;  // [token type][block]
};
BlockMap block_map(const std::vector<CellFact>& cells);

}  // namespace introspect
