#include "experiment/similarity_steps.h"

#include "base/progress.h"
#include "base/run_record.h"
#include "experiment/privileged_access.h"
#include "experiment/vector_use.h"
#include "model/model.h"
#include "report/row_names.h"
#include "report/words.h"
#include "train/corpus.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// The groups of scores that are about one layer: "layer=3" of features, "block=1" of patching, by the last layer.
std::map<int64_t, std::string> groups_by_layer(const Dataset& dataset) {
  std::map<int64_t, std::string> groups;
  for (const Example& example : dataset.examples) {
    if (example.layers.empty() || example.attributes.contains("aside")) continue;
    for (const char* attribute : {"layer", "block"}) {
      const auto found = example.attributes.find(attribute);
      if (found == example.attributes.end()) continue;
      groups[example.layers.back()] = fmt::format("{}={}", attribute, found->second);
      break;
    }
  }
  return groups;
}

// The vectors of the first test examples of each layer, each once.
std::map<int64_t, at::Tensor> directions_of(const Dataset& dataset, int64_t count) {
  std::map<int64_t, std::vector<int64_t>> rows;
  for (const Example* example : dataset.of(Split::test)) {
    if (example->vector < 0 || example->layers.empty() || example->attributes.contains("aside")) continue;
    std::vector<int64_t>& own = rows[example->layers.back()];
    const bool there = std::find(own.begin(), own.end(), example->vector) != own.end();
    if (!there && std::ssize(own) < count) own.push_back(example->vector);
  }
  std::map<int64_t, at::Tensor> directions;
  for (const auto& [layer, own] : rows) {
    directions[layer] = dataset.vectors.index_select(0, at::tensor(own, at::kLong));
  }
  return directions;
}

std::vector<LayerSimilarity> similarity_step(const fs::path& target, const fs::path& explainer,
                                             const fs::path& dataset_folder,
                                             const std::map<int64_t, at::Tensor>& directions,
                                             const SimilaritySettings& settings, const fs::path& folder) {
  std::vector<RunInput> inputs{{"target", target}, {"explainer", explainer}, {"dataset", dataset_folder}};
  for (RunInput& input : text_inputs(settings.text.text, settings.text.base)) inputs.push_back(std::move(input));
  RunRecord record(folder, "similarity", similarity_settings_to_json(settings), inputs);
  if (record.state() != StepState::complete) {
    const Model from = load_model(target), to = load_model(explainer);
    const Tokenizer from_tokenizer = Tokenizer::open(target), to_tokenizer = Tokenizer::open(explainer);
    Progress progress("similarity", settings.text.tokens, "tokens");
    Json list = Json::array();
    for (const LayerSimilarity& each : similarities({from, from_tokenizer}, {to, to_tokenizer}, directions, settings,
                                                    [&](int64_t done) { progress.set(done); })) {
      list.push_back(similarity_to_json(each));
    }
    progress.finish();
    record.add("layers", list);
    record.complete();
  }
  std::vector<LayerSimilarity> found;
  // as it was written, so that what is not defined is read alike now and later
  const Json made = read_json(folder / "run.json");
  for (const Json& each : made.at("results").at("layers")) {
    found.push_back(parse_similarity(each, (folder / "run.json").string()));
  }
  return found;
}

// One target, explainer and layer: how alike they are, and how good the explanations of that layer.
struct Point {
  std::string target, explainer, group;
  bool self = false;
  LayerSimilarity similarity;
  const Score* score = nullptr;
  double from_vector = kNoFigure;  // the score less that with another vector, the best one; NaN: not asked
};

// The measures that the answer names.
constexpr const char* kSpokenOf[] = {"pattern", "cka"};

// What similarity may go with.
enum class Outcome { score, from_vector };

double outcome_of(const Point& point, Outcome outcome) {
  return outcome == Outcome::score ? point.score->value : point.from_vector;
}

bool any_from_vector(const std::vector<Point>& points) {
  return std::any_of(points.begin(), points.end(),
                     [](const Point& point) { return !point.self && std::isfinite(point.from_vector); });
}

std::vector<Point> points_of(const MatrixRecipe& recipe, const MatrixTaskResult& result) {
  std::vector<Point> points;
  for (const MatrixTarget& found : result.targets) {
    for (const auto& [place, layers] : found.similarity) {
      const bool self = place == found.target;
      const std::string name = self ? "self" : recipe.model(place).name;
      for (const LayerSimilarity& layer : layers) {
        const auto group = found.group_of_layer.find(layer.target_layer);
        if (group == found.group_of_layer.end()) continue;
        for (const Score& score : found.result.scores) {
          if (score.explainer != name || score.condition != "trained" || score.metric != result.task->metric ||
              score.group != group->second || !std::isfinite(score.value)) {
            continue;
          }
          const Score* control = best_control(found.result.scores, score);
          points.push_back({recipe.model(found.target).name, recipe.model(place).name, group->second, self, layer,
                            &score, control ? score.value - control->value : kNoFigure});
        }
      }
    }
  }
  return points;
}

// A score of a handful of items says nothing about a layer: such points are in the table of points alone.
std::vector<Point> with_enough_items(std::vector<Point> points) {
  std::erase_if(points, [](const Point& point) { return point.score->n < kItemsOfGroup; });
  return points;
}

struct Series {
  std::vector<double> x, y;
  std::vector<std::string> clusters;  // the pair of models
};

// `within`: less the mean over the explainers of that target and layer, so that some layers being harder than others
// explains nothing.
Series series_of(const std::vector<Point>& points, Outcome outcome, const std::string& measure, bool with_self,
                 bool within) {
  Series made;
  std::map<std::string, std::vector<size_t>> cells;
  for (const Point& point : points) {
    const double x = measure_of(point.similarity, measure);
    const double y = outcome_of(point, outcome);
    if ((point.self && !with_self) || !std::isfinite(x) || !std::isfinite(y)) continue;
    cells[point.target + "\n" + point.group].push_back(made.x.size());
    made.x.push_back(x);
    made.y.push_back(y);
    made.clusters.push_back(point.target + "\n" + point.explainer);
  }
  if (!within) return made;
  for (const auto& [cell, members] : cells) {
    double x = 0, y = 0;
    for (const size_t i : members) {
      x += made.x[i] / static_cast<double>(members.size());
      y += made.y[i] / static_cast<double>(members.size());
    }
    for (const size_t i : members) {
      // alone in its cell it says nothing: correlate leaves it out
      made.x[i] = members.size() > 1 ? made.x[i] - x : kNoFigure;
      made.y[i] -= y;
    }
  }
  return made;
}

std::string shown(const Correlation& found) {
  if (!std::isfinite(found.value)) return "–";
  const auto number = [](double value) {
    const std::string text = fmt::format("{:.2f}", std::abs(value));
    return text == "0.00" ? text : (value < 0 ? "−" : "+") + text;
  };
  if (!std::isfinite(found.low)) return number(found.value);
  return fmt::format("{} ({} to {})", number(found.value), number(found.low), number(found.high));
}

Correlation correlation_of(const Series& series, bool ranks) {
  return correlate(series.x, series.y, series.clusters, ranks);
}

NamedTable correlation_table(const std::vector<Point>& points, Outcome outcome) {
  const std::string of = outcome == Outcome::score
                             ? "the score"
                             : "what the explainer takes from the vector (score less that with another)";
  NamedTable table{"Correlation of " + of + " with each measure, over targets, explainers and layers",
                   {"measure", "which points", "Pearson", "Spearman", "points", "pairs of models"},
                   {}};
  for (const std::string& measure : similarity_measures()) {
    for (const auto& [words, with_self, within] : {std::tuple{"all", true, false},
                                                   {"all but self", false, false},
                                                   {"all but self, within target and layer", false, true}}) {
      const Series series = series_of(points, outcome, measure, with_self, within);
      const Correlation linear = correlation_of(series, false), ranked = correlation_of(series, true);
      table.lines.push_back({measure_label(measure), words, shown(linear), shown(ranked), std::to_string(linear.points),
                             std::to_string(linear.clusters)});
    }
  }
  return table;
}

NamedTable point_table(const std::vector<Point>& points) {
  NamedTable table{
      "Every point", {"target, explainer", "layers", "score", "less that with another vector", "items"}, {}};
  for (const std::string& measure : similarity_measures()) table.head.push_back(measure_label(measure));
  for (const Point& point : points) {
    const std::string range = interval(point.score->low, point.score->high);
    std::vector<std::string> line = {
        fmt::format("{}, {}{}", point.target, point.explainer, point.self ? " (self)" : ""),
        fmt::format("{} and {} ({})", point.similarity.target_layer, point.similarity.explainer_layer, point.group),
        percent(point.score->value) + (range.empty() ? "" : " (" + range + ")"),
        std::isfinite(point.from_vector) ? signed_percent(point.from_vector) : "–", count(point.score->n)};
    for (const std::string& measure : similarity_measures()) {
      const double value = measure_of(point.similarity, measure);
      line.push_back(std::isfinite(value) ? fmt::format("{:.3f}", value) : "–");
    }
    table.lines.push_back(std::move(line));
  }
  return table;
}

// Ends of an axis, at tenths.
std::pair<double, double> ends(double low, double high) {
  low = std::floor(low * 10) / 10;
  high = std::ceil(high * 10) / 10;
  return high > low ? std::pair(low, high) : std::pair(low, low + 0.1);
}

ScatterFigure scatter_of(const std::vector<Point>& points, Outcome outcome, const std::string& measure,
                         const std::string& metric) {
  const std::string up = metric_label(metric) + (outcome == Outcome::score ? "" : ", less that with another vector");
  ScatterFigure figure;
  figure.title = capitalised(up) + ", by " + measure_label(measure);
  figure.across = measure_label(measure) + ", times 100";
  figure.up = up + ", times 100";
  figure.description = "A point is a target, an explainer and a layer.";
  figure.series = {{"self", {}}, {"another model, same width", {}}, {"another width, mapped", {}}};
  double least_x = 1, most_x = 0, least_y = 0, most_y = 0;
  for (const Point& point : points) {
    const double x = measure_of(point.similarity, measure);
    const double y = outcome_of(point, outcome);
    if (!std::isfinite(x) || !std::isfinite(y)) continue;
    least_x = std::min(least_x, x);
    most_x = std::max(most_x, x);
    least_y = std::min(least_y, y);
    most_y = std::max(most_y, y);
    figure.series[point.self                ? 0
                  : point.similarity.mapped ? 2
                                            : 1]
        .points.push_back(
            {x, y, fmt::format("{} explained by {}, {}: {}", point.target, point.explainer, point.group, percent(y))});
  }
  std::erase_if(figure.series, [](const auto& series) { return series.points.empty(); });
  std::tie(figure.left, figure.right) = ends(least_x, most_x);
  std::tie(figure.bottom, figure.top) = ends(least_y, most_y);
  return figure;
}

}  // namespace

void similarity_steps(const MatrixRecipe& recipe, MatrixTarget& found, const fs::path& out,
                      const std::function<void(const std::string&)>& say) {
  const Dataset dataset = load_dataset(out / "dataset");
  const std::map<int64_t, at::Tensor> directions = directions_of(dataset, recipe.similarity->directions);
  if (directions.empty()) return;
  found.group_of_layer = groups_by_layer(dataset);
  for (const size_t place : found.explainers) {
    const MatrixModel& model = recipe.model(place);
    found.similarity[place] = similarity_step(recipe.model(found.target).path, model.path, out / "dataset", directions,
                                              *recipe.similarity, out / "similarity" / model.name);
    for (const LayerSimilarity& s : found.similarity[place]) {
      say(fmt::format(
          "  {}: layer {} beside its layer {}: pattern {:.2f}, dot product {:.2f}, centred cosine {:.2f}, "
          "CKA {:.2f}, error of the map {:.2f}",
          model.name, s.target_layer, s.explainer_layer, s.pattern, s.dot_product, s.cosine, s.cka, s.map_error));
    }
  }
}

std::vector<OwnSection> similarity_sections(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  std::vector<OwnSection> sections;
  for (const MatrixTaskResult& result : results) {
    const std::vector<Point> all = points_of(recipe, result), points = with_enough_items(all);
    if (all.empty()) continue;
    OwnSection section{"Does similarity predict the score? " + capitalised(result.task->name),
                       "Both models read the same text; states that leave a layer of the target are compared with "
                       "those that leave the explainer's layer at the same share of the depth, before either was "
                       "trained to explain. Intervals: 95%, bootstrap over pairs of models with all their layers."};
    if (points.size() < all.size()) {
      section.lead += fmt::format(" {} of {} points have fewer than {} items and are in the table of points alone.",
                                  all.size() - points.size(), all.size(), kItemsOfGroup);
    }
    for (const std::string& measure : similarity_measures()) {
      section.scatters.push_back(scatter_of(points, Outcome::score, measure, result.task->metric));
    }
    section.tables.push_back(correlation_table(points, Outcome::score));
    if (any_from_vector(points)) {
      for (const char* measure : kSpokenOf) {
        section.scatters.push_back(scatter_of(points, Outcome::from_vector, measure, result.task->metric));
      }
      section.tables.push_back(correlation_table(points, Outcome::from_vector));
    }
    section.tables.push_back(point_table(all));
    sections.push_back(std::move(section));
  }
  return sections;
}

std::vector<std::string> similarity_sentences(const MatrixRecipe& recipe,
                                              const std::vector<MatrixTaskResult>& results) {
  std::vector<std::string> sentences;
  for (const MatrixTaskResult& result : results) {
    const std::vector<Point> points = with_enough_items(points_of(recipe, result));
    for (const auto& [outcome, words] :
         {std::pair{Outcome::score, "the score"}, {Outcome::from_vector, "what the explainer takes from the vector"}}) {
      for (const char* measure : kSpokenOf) {
        const Correlation found = correlation_of(series_of(points, outcome, measure, false, false), true);
        const Correlation within = correlation_of(series_of(points, outcome, measure, false, true), true);
        if (!std::isfinite(found.value)) continue;
        const bool shown_positive = found.low > 0, shown_negative = found.high < 0;
        sentences.push_back(fmt::format(
            "On {}, over {} points of {} pairs of models, self left out, Spearman's correlation of {} with the {} is "
            "{}{}; within one target and layer {}.",
            result.task->name, found.points, found.clusters, words, measure_label(measure), shown(found),
            shown_positive   ? ": more alike explains better"
            : shown_negative ? ": more alike explains worse"
                             : ": no relation is shown",
            shown(within)));
      }
    }
  }
  if (sentences.empty()) sentences.push_back("There are too few points to say whether similarity predicts the score.");
  return sentences;
}

std::string similarity_csv(const MatrixRecipe& recipe, const std::vector<MatrixTaskResult>& results) {
  const auto number = [](double value) { return std::isfinite(value) ? fmt::format("{}", value) : std::string(); };
  std::string csv =
      "task,target,explainer,self,target_layer,explainer_layer,group,metric,value,low,high,n,less_another_vector,"
      "mapped";
  for (const std::string& measure : similarity_measures()) csv += "," + measure;
  csv += "\n";
  for (const MatrixTaskResult& result : results) {
    for (const Point& point : points_of(recipe, result)) {
      csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{}", csv_field(result.task->name),
                         csv_field(point.target), csv_field(point.explainer), point.self ? 1 : 0,
                         point.similarity.target_layer, point.similarity.explainer_layer, csv_field(point.group),
                         result.task->metric, number(point.score->value), number(point.score->low),
                         number(point.score->high), point.score->n, number(point.from_vector),
                         point.similarity.mapped ? 1 : 0);
      for (const std::string& measure : similarity_measures()) {
        csv += "," + number(measure_of(point.similarity, measure));
      }
      csv += "\n";
    }
  }
  return csv;
}

}  // namespace introspect
