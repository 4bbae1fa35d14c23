#include "experiment/compare_runs.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "evaluate/scores.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <regex>

#include <fmt/format.h>

namespace introspect {

namespace {

// The data set beside the scores of a run, if it lies there.
std::optional<fs::path> dataset_of(const FoundRun& run) {
  const fs::path folder = run.folder.parent_path() / "dataset";
  if (!fs::exists(folder / "examples.jsonl")) return {};
  return folder;
}

// The answers to a row, a seed each, from the folders of the run.
std::vector<Row> rows_of(const FoundRun& run) {
  static const std::regex kName("([^-]+)-(.+)-seed[0-9]+");
  std::vector<Row> rows;
  std::vector<fs::path> folders;
  const fs::path answers = run.folder.parent_path() / "answers";
  if (!fs::is_directory(answers)) return rows;
  for (const auto& entry : fs::directory_iterator(answers)) folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  for (const fs::path& folder : folders) {
    std::smatch match;
    const std::string name = folder.filename().string();
    if (!std::regex_match(name, match, kName) || !fs::exists(folder / "answers.jsonl")) continue;
    add_seed(rows, match[1], match[2], load_answers(folder / "answers.jsonl"));
  }
  return rows;
}

struct Change {
  double difference, low, high, p;
};

// By the answers of both; empty where one of them has none, or the metric needs more than the words.
std::optional<Change> paired(const Dataset& dataset, const std::vector<Row>& first, const std::vector<Row>& second,
                             const RowName& name, const std::string& metric) {
  const Row* a = find_row(first, name.explainer, name.condition);
  const Row* b = find_row(second, name.explainer, name.condition);
  if (!a || !b) return {};
  for (const Comparison& each : compare_rows(dataset, {{"first", "", a->seeds}, {"second", "", b->seeds}}, {})) {
    if (each.metric != metric) continue;
    const double sign = each.first_explainer == "second" ? 1 : -1;
    return Change{sign * each.difference, sign > 0 ? each.low : -each.high, sign > 0 ? each.high : -each.low, each.p};
  }
  return {};
}

Change independent(const Score& first, const Score& second) {
  const double difference = second.value - first.value;
  const double low = std::hypot(second.value - second.low, first.high - first.value);
  const double high = std::hypot(second.high - second.value, first.value - first.low);
  return {difference, difference - low, difference + high, std::nan("")};
}

}  // namespace

RunComparison compare_runs(const FoundRun& first, const FoundRun& second, const std::string& metric) {
  if (first.subject.task != second.subject.task) {
    fail("runs", fmt::format("{} is about {}, {} about {}: expected one task", first.name, first.subject.task,
                             second.name, second.subject.task));
  }
  const ScoreTable a(first.scores, first.subject), b(second.scores, second.subject);
  if (!metric.empty() && std::find(a.metrics().begin(), a.metrics().end(), metric) == a.metrics().end()) {
    fail_usage("runs",
               fmt::format("no metric '{}' in {}, which has {}", metric, first.name, fmt::join(a.metrics(), ", ")));
  }
  RunComparison result;
  std::optional<Dataset> dataset;
  std::vector<Row> rows_a, rows_b;
  const std::optional<fs::path> folder_a = dataset_of(first), folder_b = dataset_of(second);
  if (folder_a && folder_b &&
      fingerprint_file(*folder_a / "examples.jsonl") == fingerprint_file(*folder_b / "examples.jsonl")) {
    dataset = load_dataset(*folder_a);
    rows_a = rows_of(first), rows_b = rows_of(second);
  }
  result.table = {fmt::format("{} (first) and {} (second), times 100, with 95% intervals", first.name, second.name),
                  {"row", "metric", "first", "second", "second less first", "95% interval", "p"},
                  {}};
  const auto has = [](const ScoreTable& table, const RowName& row) {
    return std::any_of(table.rows().begin(), table.rows().end(), [&](const RowName& other) {
      return other.explainer == row.explainer && other.condition == row.condition;
    });
  };
  for (const RowName& row : b.rows()) result.only_second += !has(a, row);
  for (const RowName& row : a.rows()) {
    if (!has(b, row)) {
      ++result.only_first;
      continue;
    }
    for (const std::string& each : a.metrics()) {
      if (!metric.empty() && each != metric) continue;
      const Score *of_a = a.find(row, each), *of_b = b.find(row, each);
      if (!of_a || !of_b || std::isnan(of_a->value) || std::isnan(of_b->value)) continue;
      std::optional<Change> change;
      if (dataset) change = paired(*dataset, rows_a, rows_b, row, each);
      result.paired |= change.has_value();
      if (!change) change = independent(*of_a, *of_b);
      result.table.lines.push_back({row.label, metric_label(each), percent(of_a->value), percent(of_b->value),
                                    signed_percent(change->difference), signed_interval(change->low, change->high),
                                    p_cell(change->p)});
    }
  }
  return result;
}

}  // namespace introspect
