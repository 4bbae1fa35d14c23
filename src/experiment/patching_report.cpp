// What only activation patching has in its report: the map of cells.
#include "experiment/task_report.h"

#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

NamedValues data_facts(const Recipe& recipe, const Dataset& dataset) {
  const Json& accuracy = dataset.info.at("target_accuracy");
  return {{"task", "activation patching"},
          {"target",
           fmt::format("{}; it answers {:.1f}% of {} prompts rightly, and only those are patched", recipe.target_name,
                       100 * accuracy.at("share").get<double>(), accuracy.at("prompts").get<int64_t>())},
          {"layer blocks", dataset.info.at("blocks").dump()},
          {"examples",
           fmt::format("{} train, {} validation, {} test; half of each cell changed", dataset.of(Split::train).size(),
                       dataset.of(Split::validation).size(), dataset.of(Split::test).size())},
          {"split", "by subject: no subject, nor counterfactual subject, is in two splits"}};
}

// Found before balancing per (token type, block), and how many of them the data set keeps.
std::vector<CellFact> cell_facts(const Dataset& dataset) {
  std::map<std::pair<std::string, std::string>, int64_t> kept;
  for (const Example& example : dataset.examples) {
    ++kept[{example.attributes.at("token_type"), example.attributes.at("block")}];
  }
  std::vector<CellFact> cells;
  for (const Json& entry : dataset.info.at("change_map")) {
    CellFact cell;
    cell.token_type = entry.at("token_type").get<std::string>();
    cell.block = std::to_string(entry.at("block").get<int64_t>());
    cell.items = entry.at("patches").get<int64_t>();
    cell.changed = entry.at("changed").get<int64_t>();
    cell.kept = kept[{cell.token_type, cell.block}];
    if (cell.kept == 0) cell.reason = "too few changed or unchanged items in every relation";
    cells.push_back(cell);
  }
  return cells;
}

}  // namespace

void add_patching_facts(const Recipe& recipe, const TaskResult& result, ReportInput& input) {
  input.facts = data_facts(recipe, result.scored);
  input.cells = cell_facts(result.scored);
}

}  // namespace introspect
