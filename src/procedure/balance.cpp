#include "procedure/balance.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

using Group = std::pair<int32_t, int32_t>;  // token type, block

// One (token type, block, relation) of one split. `take` of each outcome are kept: the first ones of the shuffled
// lists.
struct Cell {
  std::vector<size_t> changed, unchanged;
  int64_t take = 0;
};
using Cells = std::map<std::tuple<int32_t, int32_t, int32_t>, Cell>;

Group group_of(const Cells::value_type& entry) {
  return {std::get<0>(entry.first), std::get<1>(entry.first)};
}

std::map<Group, int64_t> group_sizes(const Cells& cells) {
  std::map<Group, int64_t> sizes;
  for (const auto& entry : cells) {
    if (entry.second.take > 0) sizes[group_of(entry)] += entry.second.take;
  }
  return sizes;
}

// The largest size that groups may keep so that none exceeds `share` of what is then left; -1 if no size does.
int64_t largest_allowed(const std::map<Group, int64_t>& sizes, double share) {
  int64_t low = 0, high = 0;
  for (const auto& [group, size] : sizes) high = std::max(high, size);
  const auto fits = [&](int64_t cap) {
    int64_t total = 0;
    for (const auto& [group, size] : sizes) total += std::min(size, cap);
    return static_cast<double>(cap) <= share * static_cast<double>(total) + 1e-9;
  };
  // total / cap only falls as cap grows, so what fits is an interval from below
  if (!fits(1)) return -1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Takes from the fullest cells of the group first, so that no relation is pushed out.
void shrink_group(Cells& cells, const Group& group, int64_t excess) {
  while (excess > 0) {
    Cell* fullest = nullptr;
    for (auto& entry : cells) {
      if (group_of(entry) == group && (fullest == nullptr || entry.second.take > fullest->take))
        fullest = &entry.second;
    }
    --fullest->take;
    --excess;
  }
}

Json cap_groups(Cells& cells, const BalanceNames& names, double share) {
  Json report = Json::array();
  const std::map<Group, int64_t> sizes = group_sizes(cells);
  const int64_t cap = largest_allowed(sizes, share);
  for (const auto& [group, size] : sizes) {
    if (cap >= 0 && size <= cap) continue;
    const std::string& type = names.types[static_cast<size_t>(group.first)];
    report.push_back(
        {{"token_type", type}, {"block", group.second}, {"before", 2 * size}, {"after", 2 * (cap < 0 ? size : cap)}});
    if (cap < 0) report.back()["note"] = "too few groups for max_share; not cut";
    if (cap >= 0) shrink_group(cells, group, size - cap);
  }
  return report;
}

// Decides `take` of every cell and describes those too thin to keep.
Json take_from_cells(Cells& cells, const BalanceNames& names, const BalanceSettings& settings) {
  struct Thin {
    std::vector<std::string> relations;
    int64_t changed = 0, unchanged = 0;
  };
  std::map<Group, Thin> thin;
  for (auto& entry : cells) {
    Cell& cell = entry.second;
    cell.take = std::min(std::ssize(cell.changed), std::ssize(cell.unchanged));
    if (cell.take < std::max<int64_t>(1, settings.min_per_cell)) {
      cell.take = 0;
      Thin& group = thin[group_of(entry)];
      group.relations.push_back(names.relations[static_cast<size_t>(std::get<2>(entry.first))]);
      group.changed += std::ssize(cell.changed);
      group.unchanged += std::ssize(cell.unchanged);
    }
    if (settings.max_per_cell > 0) cell.take = std::min(cell.take, std::max<int64_t>(1, settings.max_per_cell / 2));
  }
  Json report = Json::array();
  for (const auto& [group, entry] : thin) {
    report.push_back({{"token_type", names.types[static_cast<size_t>(group.first)]},
                      {"block", group.second},
                      {"changed", entry.changed},
                      {"unchanged", entry.unchanged},
                      {"relations", entry.relations}});
  }
  return report;
}

}  // namespace

Balanced balance(const std::vector<PatchOutcome>& outcomes, const BalanceNames& names, const BalanceSettings& settings,
                 uint64_t seed) {
  if (settings.max_share <= 0 || settings.max_share > 1) {
    fail_usage("balance", fmt::format("max_share: got {}, expected more than 0 and at most 1", settings.max_share));
  }
  Balanced result;
  result.report = Json::object();
  std::string counts;
  for (const Split split : {Split::train, Split::validation, Split::test}) {
    Cells cells;
    int64_t changed = 0, unchanged = 0, kept = 0;
    for (size_t i = 0; i < outcomes.size(); ++i) {
      const PatchOutcome& outcome = outcomes[i];
      if (outcome.split != split) continue;
      Cell& cell = cells[{outcome.type, outcome.block, outcome.relation}];
      (outcome.changed ? cell.changed : cell.unchanged).push_back(i);
      ++(outcome.changed ? changed : unchanged);
    }
    Json report = {{"changed", changed}, {"unchanged", unchanged}};
    Json thin = take_from_cells(cells, names, settings);
    Json capped = cap_groups(cells, names, settings.max_share);
    int64_t kept_cells = 0;
    for (auto& [key, cell] : cells) {
      if (cell.take == 0) continue;
      const auto& [type, block, relation] = key;
      Random random(seed, fmt::format("balance/{}/{}/{}/{}", split_name(split), names.types[static_cast<size_t>(type)],
                                      block, names.relations[static_cast<size_t>(relation)]));
      for (std::vector<size_t>* list : {&cell.changed, &cell.unchanged}) {
        random.shuffle(*list);
        result.kept.insert(result.kept.end(), list->begin(), list->begin() + cell.take);
      }
      kept += 2 * cell.take;
      ++kept_cells;
    }
    report["kept"] = kept;
    report["cells"] = cells.size();
    report["kept_cells"] = kept_cells;
    report["thin_cells"] = std::move(thin);
    report["capped"] = std::move(capped);
    result.report[split_name(split)] = std::move(report);
    counts += fmt::format("{}{}: {} changed, {} unchanged", counts.empty() ? "" : "; ", split_name(split), changed,
                          unchanged);
  }
  if (result.kept.empty()) {
    fail("balance", fmt::format("got no cell with both outcomes ({})", counts),
         "run more prompts, or lower min_per_cell; a target that answers at random changes always or never");
  }
  std::sort(result.kept.begin(), result.kept.end());
  return result;
}

Json change_map(const std::vector<PatchOutcome>& outcomes, const BalanceNames& names) {
  std::map<Group, std::pair<int64_t, int64_t>> groups;  // patches, changed
  for (const PatchOutcome& outcome : outcomes) {
    auto& [patches, changed] = groups[{outcome.type, outcome.block}];
    ++patches;
    changed += outcome.changed;
  }
  Json map = Json::array();
  for (const auto& [group, count] : groups) {
    map.push_back({{"token_type", names.types[static_cast<size_t>(group.first)]},
                   {"block", group.second},
                   {"patches", count.first},
                   {"changed", count.second},
                   {"share", static_cast<double>(count.second) / static_cast<double>(count.first)}});
  }
  return map;
}

}  // namespace introspect
