#include "evaluate/score.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// JSON has no NaN: null stands for it both ways.
Json number_or_null(double number) {
  return std::isfinite(number) ? Json(number) : Json(nullptr);
}

double number_of(const Json& object, const std::string& key, const std::string& label) {
  return json_get_or<double>(object, key, std::numeric_limits<double>::quiet_NaN(), label);
}

const Json& list_of(const Json& value, const fs::path& file) {
  if (!value.is_array()) fail("scores", fmt::format("got {}, expected a list ({})", value.type_name(), file.string()));
  return value;
}

}  // namespace

std::string scores_text(const std::vector<Score>& scores) {
  Json list = Json::array();
  for (const Score& score : scores) {
    Json line;
    line["task"] = score.task;
    line["target"] = score.target;
    line["explainer"] = score.explainer;
    line["condition"] = score.condition;
    line["metric"] = score.metric;
    line["group"] = score.group;
    line["value"] = number_or_null(score.value);
    line["low"] = number_or_null(score.low);
    line["high"] = number_or_null(score.high);
    line["n"] = score.n;
    line["clusters"] = score.clusters;
    line["unparsable"] = number_or_null(score.unparsable);
    line["seeds"] = score.seeds;
    line["seed_deviation"] = number_or_null(score.seed_deviation);
    line["difference_to_self"] = number_or_null(score.difference_to_self);
    line["difference_low"] = number_or_null(score.difference_low);
    line["difference_high"] = number_or_null(score.difference_high);
    line["p_against_self"] = number_or_null(score.p_against_self);
    list.push_back(std::move(line));
  }
  return list.dump(2) + "\n";
}

void save_scores(const std::vector<Score>& scores, const fs::path& file) {
  write_text(file, scores_text(scores));
}

std::vector<Score> load_scores(const fs::path& file) {
  const Json list = read_json(file);
  std::vector<Score> scores;
  for (const Json& line : list_of(list, file)) {
    const std::string label = fmt::format("{}, score {}", file.string(), scores.size());
    Score score;
    score.task = json_get<std::string>(line, "task", label);
    score.target = json_get<std::string>(line, "target", label);
    score.explainer = json_get<std::string>(line, "explainer", label);
    score.condition = json_get<std::string>(line, "condition", label);
    score.metric = json_get<std::string>(line, "metric", label);
    score.group = json_get<std::string>(line, "group", label);
    score.value = number_of(line, "value", label);
    score.low = number_of(line, "low", label);
    score.high = number_of(line, "high", label);
    score.n = json_get<int64_t>(line, "n", label);
    score.clusters = json_get<int64_t>(line, "clusters", label);
    score.unparsable = number_of(line, "unparsable", label);
    score.seeds = json_get_or<int>(line, "seeds", 1, label);
    score.seed_deviation = number_of(line, "seed_deviation", label);
    score.difference_to_self = number_of(line, "difference_to_self", label);
    score.difference_low = number_of(line, "difference_low", label);
    score.difference_high = number_of(line, "difference_high", label);
    score.p_against_self = number_of(line, "p_against_self", label);
    scores.push_back(std::move(score));
  }
  return scores;
}

void save_comparisons(const std::vector<Comparison>& comparisons, const fs::path& file) {
  Json list = Json::array();
  for (const Comparison& comparison : comparisons) {
    Json line;
    line["task"] = comparison.task;
    line["target"] = comparison.target;
    line["first_explainer"] = comparison.first_explainer;
    line["first_condition"] = comparison.first_condition;
    line["second_explainer"] = comparison.second_explainer;
    line["second_condition"] = comparison.second_condition;
    line["metric"] = comparison.metric;
    line["difference"] = number_or_null(comparison.difference);
    line["low"] = number_or_null(comparison.low);
    line["high"] = number_or_null(comparison.high);
    line["p"] = number_or_null(comparison.p);
    line["p_holm"] = number_or_null(comparison.p_holm);
    list.push_back(std::move(line));
  }
  write_json(file, list);
}

std::vector<Comparison> load_comparisons(const fs::path& file) {
  const Json list = read_json(file);
  std::vector<Comparison> comparisons;
  for (const Json& line : list_of(list, file)) {
    const std::string label = fmt::format("{}, comparison {}", file.string(), comparisons.size());
    Comparison comparison;
    comparison.task = json_get<std::string>(line, "task", label);
    comparison.target = json_get<std::string>(line, "target", label);
    comparison.first_explainer = json_get<std::string>(line, "first_explainer", label);
    comparison.first_condition = json_get<std::string>(line, "first_condition", label);
    comparison.second_explainer = json_get<std::string>(line, "second_explainer", label);
    comparison.second_condition = json_get<std::string>(line, "second_condition", label);
    comparison.metric = json_get<std::string>(line, "metric", label);
    comparison.difference = number_of(line, "difference", label);
    comparison.low = number_of(line, "low", label);
    comparison.high = number_of(line, "high", label);
    comparison.p = number_of(line, "p", label);
    comparison.p_holm = number_of(line, "p_holm", label);
    comparisons.push_back(std::move(comparison));
  }
  return comparisons;
}

}  // namespace introspect
