// The sections about the data set of a patching sweep: the map of cells, and what was dropped.
#include "report/figure.h"
#include "report/sections.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr size_t kMapLines = 14;  // token types in the figure; the table holds all

double share_of(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

BlockMap block_map(const std::vector<CellFact>& cells) {
  std::map<std::string, std::map<std::string, std::pair<int64_t, int64_t>>> sums;  // token type, block
  BlockMap result;
  for (const CellFact& cell : cells) {
    auto& [items, changed] = sums[cell.token_type][cell.block];
    items += cell.items;
    changed += cell.changed;
    if (std::find(result.blocks.begin(), result.blocks.end(), cell.block) == result.blocks.end()) {
      result.blocks.push_back(cell.block);
    }
  }
  std::sort(result.blocks.begin(), result.blocks.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;  // "2" before "10"
  });
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [type, blocks] : sums) {
    double most = 0;
    for (const auto& [block, sum] : blocks) most = std::max(most, sum.first ? share_of(sum.second, sum.first) : 0);
    order.push_back({-most, type});
  }
  std::sort(order.begin(), order.end());
  for (const auto& [most, type] : order) {
    result.token_types.push_back(type);
    result.items.emplace_back();
    result.changed.emplace_back();
    for (const std::string& block : result.blocks) {
      const auto [items, changed] = sums[type][block];
      result.items.back().push_back(items);
      result.changed.back().push_back(changed);
    }
  }
  return result;
}

std::string cell_map(const ReportInput& input) {
  if (input.cells.empty()) return "";
  const BlockMap sums = block_map(input.cells);
  HeatMap map;
  map.title = "Share of answers that the patch changes, by token type and layer block";
  for (const std::string& block : sums.blocks) map.columns.push_back("block " + block);
  int64_t items = 0;
  double rest = 0;
  for (size_t t = 0; t < sums.token_types.size(); ++t) {
    HeatMap::Line line{sums.token_types[t], {}, sums.items[t]};
    for (size_t b = 0; b < sums.blocks.size(); ++b) {
      items += sums.items[t][b];
      line.shares.push_back(share_of(sums.changed[t][b], sums.items[t][b]));
      if (t >= kMapLines && std::isfinite(line.shares.back())) rest = std::max(rest, line.shares.back());
    }
    if (t >= kMapLines) continue;
    map.description += line.label + ": ";
    for (const double share : line.shares) map.description += percent(share) + ", ";
    map.lines.push_back(std::move(line));
  }
  std::string caption = fmt::format(
      "Share of items whose answer the patch changes (times 100), before balancing; n = {}. Rows: the kind of token at "
      "the replaced position. Columns: the block of layers, from the first to the last.",
      plural(items, "item"));
  if (sums.token_types.size() > kMapLines) {
    caption += fmt::format(" {} not shown: at most {} there.",
                           plural(static_cast<int64_t>(sums.token_types.size() - kMapLines), "more token type"),
                           percent(rest));
  }
  return both_widths(map, heat_map, caption);
}

std::string cell_table(const ReportInput& input) {
  if (input.cells.empty()) return "";
  // Cells by what became of them; a table of thousands would be read by nobody, and scores of the data set hold it.
  struct Fate {
    int64_t cells = 0, items = 0, changed = 0, kept = 0;
  };
  std::map<std::string, Fate> fates;
  int64_t kept_cells = 0;
  for (const CellFact& cell : input.cells) {
    const bool kept = cell.kept > 0;
    kept_cells += kept;
    Fate& fate = fates[kept ? "" : cell.reason.empty() ? "no reason given" : cell.reason];
    fate.cells += 1;
    fate.items += cell.items;
    fate.changed += cell.changed;
    fate.kept += cell.kept;
  }
  std::string body =
      "<thead><tr><th scope=\"col\">cells</th><th scope=\"col\">number</th><th scope=\"col\">items found</th>"
      "<th scope=\"col\">changed</th><th scope=\"col\">items kept</th></tr></thead>\n<tbody>\n";
  for (const auto& [reason, fate] : fates) {
    body += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}%</td><td>{}</td></tr>\n",
                        reason.empty() ? "kept" : "dropped: " + escape_html(reason), count(fate.cells),
                        count(fate.items), percent(share_of(fate.changed, fate.items)), count(fate.kept));
  }
  return fmt::format(
      "<p class=\"note\">{} of {} (token type, block, relation) were kept and balanced.</p>\n<div class=\"scroll\" "
      "tabindex=\"0\" role=\"region\" aria-label=\"Cells kept and dropped\">\n<table>\n{}</tbody>\n</table>\n</div>\n",
      count(kept_cells), plural(static_cast<int64_t>(input.cells.size()), "cell"), body);
}

std::string named_values(const NamedValues& values) {
  if (values.empty()) return "";
  std::string html = "<dl class=\"facts\">\n";
  for (const auto& [name, value] : values) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(name), escape_html(value));
  }
  return html + "</dl>\n";
}

}  // namespace introspect
