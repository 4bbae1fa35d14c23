#include "experiment/rehearsal.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr int64_t kSteps = 3, kAnswers = 4, kTokens = 8;

// The first seed alone; tables that name others keep it.
void keep_first_seed(Json& json) {
  const Json first = Json::array({json.at("evaluate").value("seeds", Json::array({1})).at(0)});
  json["evaluate"]["seeds"] = first;
  for (const char* list : {"explainer", "variant"}) {
    if (!json.contains(list)) continue;
    for (Json& table : json.at(list)) {
      if (table.contains("seeds")) table["seeds"] = first;
    }
  }
}

void shorten_training(Json& train) {
  const Json brief{{"steps", kSteps}, {"validate_every", 0}, {"validation_examples", kAnswers}, {"warm_up", 0}};
  train.merge_patch(brief);
  train.erase("epochs");
}

void shorten_data(Json& json, const std::string& kind) {
  Json& dataset = json["dataset"];
  if (kind == "patching") {
    dataset.merge_patch({{"max_pairs", 24}, {"only_correct", false}, {"balanced", false}});
    dataset.merge_patch({{"train_share", 0.5}, {"validation_share", 0.2}});  // few pairs, and every split has some
  } else if (kind == "ablation") {
    dataset.merge_patch({{"max_questions", 24}, {"balanced", false}, {"train_share", 0.5}, {"validation_share", 0.2}});
    if (dataset.value("trial_questions", 1) != 0) dataset["trial_questions"] = 4;
    dataset.merge_patch({{"min_changed", 0.0}, {"max_changed", 1.0}, {"min_per_cell", 1}});
  } else {
    dataset.merge_patch({{"min_score", -1.0}, {"states", 4}, {"differences", 4}, {"undescribed", 4}});
    json["features"]["latents"] = 48;
    json["features"]["contexts"]["tokens"] = 6000;
  }
}

double ratio(int64_t full, int64_t small) {
  if (full <= 0) return std::numeric_limits<double>::quiet_NaN();  // 0: all there are
  return std::max(1.0, static_cast<double>(full) / static_cast<double>(small));
}

// run.json of `folder` or, if it has none, those of its subfolders.
std::vector<Json> records_of(const fs::path& folder) {
  if (fs::exists(folder / "run.json")) return {read_json(folder / "run.json")};
  std::vector<Json> records;
  if (!fs::is_directory(folder)) return records;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (fs::exists(entry.path() / "run.json")) records.push_back(read_json(entry.path() / "run.json"));
  }
  return records;
}

// Seconds of what grows with the recipe in a rehearsal; the rest opens models.
double growing_seconds(const Json& record) {
  const Json results = record.value("results", Json::object());
  if (results.contains("answering_seconds")) return results.at("answering_seconds").get<double>();
  if (const double step = results.value("seconds_per_step", 0.0); step > 0) return kSteps * step;
  return record.value("seconds", 0.0);
}

// `repeats`: so many times the recipe walks this part, each `factor` times as long but for the opening of models.
RehearsedPart part_of(const std::string& name, const fs::path& folder, double factor, const std::string& proportion,
                      double repeats = 1) {
  RehearsedPart part{name, 0, 0, 0, proportion};
  for (const Json& record : records_of(folder)) {
    const double seconds = record.value("seconds", 0.0), growing = std::min(seconds, growing_seconds(record));
    part.seconds += seconds;
    part.real += repeats * (seconds - growing + growing * factor);
    ++part.folders;
  }
  return part;
}

// How many trainings of explainers a recipe has.
double trainings(const Recipe& recipe) {
  const auto has = [](const auto& list, const auto& value) {
    return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
  };
  int64_t count = 0;
  for (const int64_t seed : recipe.evaluate.seeds) {
    for (const Variant& variant : recipe.variants) {
      for (const ExplainerEntry& entry : recipe.explainers)
        count += has(variant.explainers, entry.name) && has(variant.seeds, seed) && has(entry.seeds, seed);
    }
  }
  return static_cast<double>(count);
}

}  // namespace

Recipe rehearsal_of(const Recipe& recipe) {
  Json json = recipe.json;
  keep_first_seed(json);
  shorten_data(json, recipe.kind);
  shorten_training(json["train"]);
  for (const char* list : {"explainer", "variant"}) {
    if (!json.contains(list)) continue;
    for (Json& table : json.at(list)) {
      if (table.contains("train") && table.at("train").contains("steps")) table.at("train")["steps"] = kSteps;
    }
  }
  if (json.contains("search")) json["search"]["steps"] = kSteps;
  if (json.contains("simulator")) {
    json["simulator"].merge_patch({{"steps", kSteps}, {"examples", kAnswers}});
  }
  if (json.contains("projection")) json["projection"]["tokens"] = 4000;
  json["evaluate"].merge_patch({{"limit", kAnswers}, {"max_new_tokens", kTokens}});
  for (const char* key : {"transfer", "generalisation"}) json.erase(key);
  return parse_recipe(json, recipe.path);
}

std::vector<RehearsedPart> reckon(const Recipe& full, const Recipe& small, const fs::path& out) {
  std::vector<RehearsedPart> parts;
  if (full.kind == "features") {
    parts.push_back(part_of("contexts", out / "contexts", ratio(full.features.tokens, small.features.tokens),
                            fmt::format("{} tokens for {}", full.features.tokens, small.features.tokens)));
    parts.push_back(part_of("descriptions", out / "descriptions", ratio(full.features.latents, small.features.latents),
                            full.features.latents == 0
                                ? "all latents"
                                : fmt::format("{} latents for {}", full.features.latents, small.features.latents)));
  }
  if (full.kind != "features") {
    const bool patching = full.kind == "patching";
    const int64_t all = patching ? full.patching.pairs.max_pairs : full.ablation.max_questions,
                  few = patching ? small.patching.pairs.max_pairs : small.ablation.max_questions;
    parts.push_back(part_of("data set", out / "dataset", ratio(all, few),
                            all == 0 ? std::string(patching ? "all pairs" : "all questions")
                                     : fmt::format("{} {} for {}", all, patching ? "pairs" : "questions", few)));
  } else {
    parts.push_back(part_of("data set", out / "dataset", 1, "as it is"));
  }
  const ExplainerTraining& training = full.variants.front().training;
  const double repeats = trainings(full) / trainings(small);
  if (full.search) {
    parts.push_back(part_of("search", out / "search", static_cast<double>(full.search->steps) / kSteps,
                            fmt::format("{} steps for {}", full.search->steps, kSteps)));
  }
  parts.push_back(part_of(
      "training", out / "explainers",
      training.steps > 0 ? static_cast<double>(training.steps) / kSteps : std::numeric_limits<double>::quiet_NaN(),
      training.steps > 0 ? fmt::format("{} steps for {}, {:g} trainings for {:g}", training.steps, kSteps,
                                       trainings(full), trainings(small))
                         : fmt::format("{:g} epochs for {} steps", training.epochs, kSteps),
      repeats));
  const double answers =
      ratio(full.evaluate.limit, kAnswers) * static_cast<double>(full.evaluate.max_new_tokens) / kTokens;
  parts.push_back(part_of("answers", out / "answers", answers,
                          full.evaluate.limit == 0
                              ? "all test examples"
                              : fmt::format("{} answers of up to {} tokens for {} of {}", full.evaluate.limit,
                                            full.evaluate.max_new_tokens, kAnswers, kTokens),
                          repeats));
  if (full.simulator) {
    parts.push_back(part_of("simulator", out / "simulator",
                            static_cast<double>(full.simulator->training.fine_tuning.steps) / kSteps,
                            fmt::format("{} steps for {}", full.simulator->training.fine_tuning.steps, kSteps)));
  }
  if (!full.transfers.empty()) {
    parts.push_back(
        {"transfers", std::ssize(full.transfers), 0, std::numeric_limits<double>::quiet_NaN(), "not rehearsed"});
  }
  return parts;
}

}  // namespace introspect
