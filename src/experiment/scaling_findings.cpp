// How a score grows with the number of examples that were learnt, and where it comes to half and 80% of its end.
#include "experiment/findings.h"
#include "report/row_names.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr double kShares[] = {0.5, 0.8};  // of the end

// One row at growing sizes: the logarithm of each, and the sums of its clusters.
struct Curve {
  std::string explainer;
  std::vector<int64_t> sizes;
  std::vector<double> x;
  std::vector<std::vector<Counts>> counts;

  std::vector<double> values(Metric metric, const std::vector<size_t>& drawn) const {
    std::vector<double> y;
    for (const std::vector<Counts>& each : counts) y.push_back(value_of(metric, each, drawn));
    return y;
  }
};

std::vector<Curve> curves_of(const FoundIn& run) {
  const Recipe& recipe = run.recipe;
  std::map<int64_t, std::string> conditions;  // by size
  for (const Variant& variant : recipe.variants) {
    if (variant.condition.starts_with("scaling_")) conditions[variant.training.examples] = variant.condition;
  }
  if (conditions.empty()) return {};
  const std::vector<const Example*> all = learnt_examples(run.result.scored, recipe.variants.front().training);
  conditions[std::ssize(all)] = "trained";
  std::vector<std::string> names;
  for (const ExplainerEntry& entry : recipe.explainers) names.push_back(entry.name);
  names.push_back("nearest_neighbour");
  std::vector<Curve> curves;
  for (const std::string& name : names) {
    Curve curve{name, {}, {}, {}};
    for (const auto& [size, condition] : conditions) {
      const Row* row = run.row(name, condition);
      if (name == "nearest_neighbour" && condition == "trained") row = run.row("none", "nearest_neighbour");
      if (!row) continue;
      curve.sizes.push_back(size);
      curve.x.push_back(std::log(static_cast<double>(size)));
      curve.counts.push_back(row_counts(run.result.scored, *row, run.options()));
    }
    if (curve.sizes.size() > 1) curves.push_back(std::move(curve));
  }
  return curves;
}

// What anybody can say who sees neither vector nor neighbours: always the same, or what is most frequent.
std::vector<std::vector<Counts>> guesses_of(const FoundIn& run) {
  std::vector<std::vector<Counts>> guesses;
  for (const Row& row : run.result.rows) {
    if (row.explainer != "none") continue;
    for (const char* kind : {"always_", "majority_", "most_frequent_"}) {
      if (row.condition.starts_with(kind)) guesses.push_back(row_counts(run.result.scored, row, run.options()));
    }
  }
  return guesses;
}

// That the end is above the best of the guesses; of an end that is not, no share is worth a size.
bool above_guesses(const Curve& curve, const std::vector<std::vector<Counts>>& guesses, Metric metric) {
  const auto lead = [&](const std::vector<size_t>& drawn) {
    double best = 0;
    for (const std::vector<Counts>& guess : guesses) best = std::fmax(best, value_of(metric, guess, drawn));
    return value_of(metric, curve.counts.back(), drawn) - best;
  };
  return bootstrap(curve.counts.back().size(), lead, {}).low > 0;
}

// Where `curve` comes to a share of the end of `goal`, over clusters drawn alike for both.
std::string reached(const Curve& curve, const Curve& goal, Metric metric, double share) {
  const auto size_at = [&](const std::vector<size_t>& drawn) {
    const double end = value_of(metric, goal.counts.back(), drawn);
    // of nothing there is no half
    return end > 0 ? first_reached(curve.x, curve.values(metric, drawn), share * end)
                   : std::numeric_limits<double>::infinity();
  };
  const size_t clusters = curve.counts.back().size();
  return reached_words(size_at(each_once(clusters)), bootstrap(clusters, size_at, {}), curve.x.front(), curve.x.back(),
                       [](double x) { return count(std::llround(std::exp(x))); });
}

}  // namespace

std::vector<Metric> curve_metrics(const std::string& kind) {
  if (kind == "features") return {Metric::exact_match, Metric::simulator_score};
  return {Metric::content_on_changed, Metric::has_changed_f1};
}

std::vector<ScalingPoint> scaling_points(const Recipe& recipe, const TaskResult& result) {
  const auto all = static_cast<int64_t>(learnt_examples(result.scored, recipe.variants.front().training).size());
  std::vector<std::string> metrics;
  for (const Metric metric : curve_metrics(recipe.kind)) metrics.push_back(metric_name(metric));
  std::vector<ScalingPoint> points;
  bool curve = false;
  for (const Variant& variant : recipe.variants) {
    const bool plain = variant.condition == "trained";
    if (!plain && !variant.condition.starts_with("scaling_")) continue;
    curve |= !plain;
    for (const Score& score : result.scores) {
      const bool nearest = plain && score.explainer == "none" && score.condition == "nearest_neighbour";
      if (score.group != "all" || (score.condition != variant.condition && !nearest)) continue;
      if (plain && !nearest && score.explainer != "self" && score.explainer != "twin") continue;
      if (std::find(metrics.begin(), metrics.end(), score.metric) == metrics.end()) continue;
      points.push_back({plain ? all : variant.training.examples, nearest ? "nearest_neighbour" : score.explainer,
                        score.metric, score.value, score.low, score.high, score.n});
    }
  }
  std::stable_sort(points.begin(), points.end(),
                   [](const ScalingPoint& a, const ScalingPoint& b) { return a.examples < b.examples; });
  return curve ? points : std::vector<ScalingPoint>();
}

std::vector<Finding> scaling_findings(const FoundIn& run) {
  const std::vector<Curve> curves = curves_of(run);
  if (curves.empty()) return {};
  Finding finding{
      "scaling",
      {"Train examples that are enough, read off straight lines between the sizes that were tried, in the "
       "logarithm of the size",
       {"row", "at its end", "half of its end", "80% of its end", "half of self's end", "80% of self's end"},
       {}},
      {}};
  const std::vector<std::vector<Counts>> guesses = guesses_of(run);
  for (const Metric metric : curve_metrics(run.recipe.kind)) {
    const bool self_above = above_guesses(curves.front(), guesses, metric);
    std::vector<std::string> clauses;
    for (const Curve& curve : curves) {
      const bool above = above_guesses(curve, guesses, metric);
      const std::string end_condition = curve.explainer == "nearest_neighbour" ? "nearest_neighbour" : "trained";
      const std::string name = curve.explainer == "nearest_neighbour" ? "none" : curve.explainer;
      const Score* end = run.score(name, end_condition, metric_name(metric));
      std::vector<std::string> line = {
          fmt::format("{}, {}", run.label(curve.explainer, "trained"), metric_label(metric_name(metric))),
          end ? percent_shown(end->value, end->low, end->high) : "–"};
      for (const auto& [goal, has_end] : {std::pair(&curve, above), std::pair(&curves.front(), self_above)}) {
        for (const double share : kShares) {
          line.push_back(has_end ? reached(curve, *goal, metric, share) : "end not above a guess");
        }
      }
      const std::string label = run.label(curve.explainer, "trained");
      clauses.push_back(above ? fmt::format("{} at {} and {}", label, line[2], line[3])
                              : label + " comes to nothing that is shown to be above a guess");
      finding.table.lines.push_back(std::move(line));
    }
    std::string list;
    for (const std::string& clause : clauses) list += (list.empty() ? "" : "; ") + clause;
    finding.sentences.push_back(
        fmt::format("Examples at which each comes to half and to 80% of its own end on {}, in equally many steps: {}.",
                    metric_label(metric_name(metric)), list));
  }
  return {finding};
}

}  // namespace introspect
