// How much of the gap between the twin and self each way of handing the vector over closes.
#include "experiment/findings.h"
#include "report/row_names.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// "0.71 to 0.83": what the maps of a folder explain of the held-out activations, over the layers.
std::string explained(const fs::path& folder) {
  if (folder.empty()) return "–";
  const fs::path file = folder / "run.json";
  const Json record = read_json(file);
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const Json& each : record.at("results").at("projections")) {
    const double share = parse_quality(each, file.string()).explained_variance;
    low = std::min(low, share);
    high = std::max(high, share);
  }
  return fmt::format("{} to {}", percent(low), percent(high));
}

std::string projection_words(const InjectionConfig& injection) {
  if (injection.projection == ProjectionKind::none) return "none (the vector as it is)";
  std::string name = projection_name(injection.projection);
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

}  // namespace

Share gap_closed(const std::vector<Counts>& row, const std::vector<Counts>& twin, const std::vector<Counts>& self,
                 Metric metric) {
  const auto share = [&](const std::vector<size_t>& drawn) {
    const double low = value_of(metric, twin, drawn), gap = value_of(metric, self, drawn) - low;
    return gap > 0 ? (value_of(metric, row, drawn) - low) / gap : std::numeric_limits<double>::quiet_NaN();
  };
  return {share(each_once(row.size())), bootstrap(row.size(), share, {})};
}

std::vector<Finding> projection_findings(const FoundIn& run) {
  // the twin, or where there is none the second explainer
  const std::vector<ExplainerEntry>& explainers = run.recipe.explainers;
  const bool has_twin = std::any_of(explainers.begin(), explainers.end(),
                                    [](const ExplainerEntry& entry) { return entry.name == "twin"; });
  const std::string reference = has_twin || explainers.size() < 2 ? "twin" : explainers[1].name;
  const Row *self = run.row(run.recipe.explainers.front().name, "trained"), *twin = run.row(reference, "trained");
  if (!run.recipe.projection || !self || !twin || self == twin) return {};
  const Dataset& dataset = run.result.scored;
  const std::vector<Counts> of_self = row_counts(dataset, *self, run.options()),
                            of_twin = row_counts(dataset, *twin, run.options());
  const std::vector<Metric> metrics = curve_metrics(run.recipe.kind);
  Finding finding{
      "projection",
      {fmt::format("Ways to hand the vector over, and how much of the gap between {} and self each closes", reference),
       {"explainer", "projection", "learns", "explained variance of the maps, over layers"},
       {}},
      {}};
  for (const Metric metric : metrics) {
    const std::string name = metric_label(metric_name(metric));
    finding.table.head.insert(finding.table.head.end(), {name, "of the gap in " + name});
  }
  finding.table.head.insert(finding.table.head.end(), {"n", "seeds"});
  constexpr double kSure = 0.975;  // of the drawings self is above its twin
  std::set<std::pair<std::string, std::string>> seen;
  std::string best_words;
  double best = -std::numeric_limits<double>::infinity();
  bool gap_is_clear = true;
  for (const TrainJob& job : run.trained) {
    const Row* row = run.row(job.name, job.condition);
    const InjectionConfig& injection = job.training.explainer.injection;
    const bool own = injection.projection != ProjectionKind::none || job.condition == "trained";
    if (!row || !own || !seen.emplace(job.name, job.condition).second) continue;
    std::vector<std::string> line = {run.label(job.name, job.condition), projection_words(injection),
                                     injection.projection == ProjectionKind::none ? "–"
                                     : injection.train_projection                 ? "with the rest"
                                                                                  : "frozen",
                                     explained(job.training.projections)};
    const std::vector<Counts> counts = row_counts(dataset, *row, run.options());
    for (const Metric metric : metrics) {
      const Score* score = run.score(job.name, job.condition, metric_name(metric));
      line.push_back(score ? percent_shown(score->value, score->low, score->high) : "–");
      const Share closed = gap_closed(counts, of_twin, of_self, metric);
      const bool clear = closed.interval.defined >= kSure;
      line.push_back(std::isnan(closed.value) ? "self is not above " + reference
                     : clear                  ? percent_shown(closed.value, closed.interval.low, closed.interval.high)
                                              : percent(closed.value) + " (the gap itself is not clear)");
      if (metric != metrics.back()) continue;
      gap_is_clear &= clear && !std::isnan(closed.value);
      if (job.name != run.recipe.explainers.front().name && closed.value > best) {
        best = closed.value;
        best_words =
            fmt::format("{} ({}, {}) closes {} of 100 parts of the gap", line[0], line[1], line[2], line.back());
      }
    }
    const Score* score = run.score(job.name, job.condition, metric_name(metrics.back()));
    line.push_back(score ? count(score->n) : "–");
    line.push_back(std::to_string(row->seeds.size()));
    finding.table.lines.push_back(std::move(line));
  }
  if (finding.table.lines.size() < 3) return {};  // nothing but self and twin
  const std::string name = metric_label(metric_name(metrics.back()));
  const Score *high = run.score(self->explainer, "trained", metric_name(metrics.back())),
              *low = run.score(reference, "trained", metric_name(metrics.back()));
  std::string sentence = fmt::format("On {} self comes to {} and {}, asked plainly, to {}", name,
                                     percent_shown(high->value, high->low, high->high), reference,
                                     percent_shown(low->value, low->low, low->high));
  sentence +=
      gap_is_clear
          ? fmt::format("; of the ways to hand the vector over that are listed, {}; the best of many looks too good.",
                        best_words)
      : best_words.empty() ? "."
                           : ": that gap is not clear, so that shares of it say little.";
  finding.sentences.push_back(sentence);
  return {finding};
}

}  // namespace introspect
