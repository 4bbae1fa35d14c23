// What only feature descriptions have in their report: the SAEs, the descriptions, and the scaling curve.
#include "experiment/task_report.h"
#include "report/row_names.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

NamedTable sae_table(const Json& saes) {
  NamedTable table{"The SAEs", {"layer", "kind", "latents", "explained variance", "L0", "dead", "loss recovered"}, {}};
  for (const Json& sae : saes) {
    table.lines.push_back({std::to_string(sae.at("layer").get<int64_t>()), sae.at("kind").get<std::string>(),
                           count(sae.at("latents").get<int64_t>()), percent(sae.at("explained_variance").get<double>()),
                           fmt::format("{:.1f}", sae.at("l0").get<double>()),
                           percent(sae.at("dead_share").get<double>()),
                           percent(sae.at("loss_recovered").get<double>())});
  }
  return table;
}

NamedTable kind_table(const Json& features) {
  NamedTable table{"What the described features stand for", {"kind of description", "features", "share"}, {}};
  const auto all = features.at("kept").get<double>();
  std::vector<std::pair<int64_t, std::string>> order;
  for (const auto& [kind, number] : features.at("kinds").items()) order.emplace_back(-number.get<int64_t>(), kind);
  std::sort(order.begin(), order.end());
  for (const auto& [number, kind] : order) {
    table.lines.push_back({kind, count(-number), percent(static_cast<double>(-number) / all)});
  }
  return table;
}

NamedTable score_table_of(const Json& features) {
  NamedTable table{"How well the best description fits each feature (correlation on held-out texts)", {"from"}, {}};
  std::vector<std::string> line = {"features"};
  const Json& counts = features.at("held_out_scores");
  for (size_t i = 0; i < counts.size(); ++i) {
    table.head.push_back(fmt::format("{}{:.1f}", i == 0 ? "below " : "", i == 0 ? 0.1 : 0.1 * static_cast<double>(i)));
    line.push_back(count(counts[i].get<int64_t>()));
  }
  table.lines.push_back(std::move(line));
  return table;
}

// Correlations of what a trained simulator makes of the words with what the features do.
NamedTable simulated_table(const SimulatedScores& simulated) {
  const SimulatorQuality& quality = simulated.quality;
  NamedTable table{
      fmt::format("What a language model trained to simulate makes of the words (its correlation on {} features it "
                  "never saw: {:.2f} with their own description, {:.2f} with another's)",
                  quality.with_sign.counted, quality.with_sign.mean, quality.with_sign_shuffled.mean),
      {"row", "correlation x 100", "95% interval", "less self", "95% interval", "p", "items"},
      {}};
  std::vector<const Score*> scores;
  for (const Score& score : simulated.scores) {
    if (score.metric == "simulator_score") scores.push_back(&score);
  }
  std::stable_sort(scores.begin(), scores.end(), [](const Score* a, const Score* b) {
    return row_place(a->explainer, a->condition) < row_place(b->explainer, b->condition);
  });
  for (const Score* score : scores) {
    const bool self = std::isnan(score->difference_to_self);
    table.lines.push_back({row_name(score->explainer, score->condition, "features").label, percent(score->value),
                           interval(score->low, score->high), self ? "" : signed_percent(score->difference_to_self),
                           self ? "" : signed_interval(score->difference_low, score->difference_high),
                           p_cell(score->p_against_self), count(score->n)});
  }
  return table;
}

std::string layers_of(const Json& saes) {
  std::vector<std::string> layers;
  for (const Json& sae : saes) layers.push_back(std::to_string(sae.at("layer").get<int64_t>()));
  return fmt::format("{}", fmt::join(layers, ", "));
}

}  // namespace

void add_feature_facts(const Recipe& recipe, const TaskResult& result, ReportInput& input) {
  const Dataset& dataset = result.scored;
  const Json& info = dataset.info;
  const Json& features = info.at("features");
  int64_t aside = 0;
  for (const Example* example : dataset.of(Split::test)) aside += example->attributes.contains("aside");
  input.facts = {
      {"task", "feature descriptions"},
      {"target",
       fmt::format("{}, the latents of SAEs after layers {}", recipe.target_name, layers_of(info.at("saes")))},
      {"text",
       fmt::format("{} positions were read to see the latents fire", count(info.at("positions").get<int64_t>()))},
      {"described", fmt::format("{} of {} features have a description with a held-out correlation of {} or more; the "
                                "others are left out of training, and some are asked about",
                                count(features.at("described").get<int64_t>()),
                                count(features.at("all").get<int64_t>()), recipe.features.dataset.min_score)},
      {"tokens",
       fmt::format("{} features that are one token and no more are left out, so that these are at most {}% of "
                   "the {} kept",
                   count(features.at("tokens_left_out").get<int64_t>()),
                   percent(recipe.features.dataset.max_token_share), count(features.at("kept").get<int64_t>()))},
      {"examples", fmt::format("{} train, {} validation, {} test, and {} further ones asked at test time",
                               dataset.of(Split::train).size(), dataset.of(Split::validation).size(),
                               dataset.of(Split::test).size() - static_cast<size_t>(aside), aside)},
      {"split", fmt::format("by feature; features of one description whose directions have a cosine above {} stay "
                            "together, across layers too ({} clusters)",
                            recipe.features.dataset.duplicate_cosine, count(features.at("clusters").get<int64_t>()))}};
  if (recipe.features.descriptions.empty()) {
    input.facts.emplace_back("descriptions", "from the library of sentences that can be simulated exactly");
    input.facts.emplace_back("too rare",
                             fmt::format("{} latents fire in too few texts to be described, and are in no count",
                                         count(info.at("descriptions").at("rare").get<int64_t>())));
    const Json& chance = info.at("descriptions").at("chance");
    input.facts.emplace_back(
        "by chance",
        fmt::format("of {} features with their activations shuffled within each text {} would count as described "
                    "(held-out correlation: median {:.2f}, highest {:.2f})",
                    count(chance.at("features").get<int64_t>()), count(chance.at("described").get<int64_t>()),
                    chance.at("held_out").at("median").get<double>(),
                    chance.at("held_out").at("highest").get<double>()));
  } else {
    input.facts.emplace_back("descriptions", recipe.features.descriptions.filename().string());
  }
  if (result.features && result.features->constant() > 0) {
    input.facts.emplace_back("doubtful", fmt::format("{} test features do the same on every token of their texts: no "
                                                     "words can score, and they count as 0",
                                                     count(result.features->constant())));
  }
  for (const Json& doubt : info.at("doubts")) input.facts.emplace_back("doubtful", doubt.get<std::string>());
  input.tables = {sae_table(info.at("saes")), kind_table(features), score_table_of(features)};
  if (result.simulated) input.tables.push_back(simulated_table(*result.simulated));
}

std::vector<std::string> feature_lines(const Dataset& dataset) {
  std::vector<std::string> lines;
  for (const Json& sae : dataset.info.at("saes")) {
    lines.push_back(fmt::format(
        "SAE of layer {}: explained variance {:.1f}%, L0 {:.1f}, dead {:.1f}%, loss recovered {:.1f}%",
        sae.at("layer").get<int64_t>(), 100 * sae.at("explained_variance").get<double>(), sae.at("l0").get<double>(),
        100 * sae.at("dead_share").get<double>(), 100 * sae.at("loss_recovered").get<double>()));
  }
  const Json& features = dataset.info.at("features");
  std::vector<std::string> kinds;
  for (const std::vector<std::string>& line : kind_table(features).lines) {
    kinds.push_back(fmt::format("{} {}%", line[0], line[2]));
  }
  lines.push_back(fmt::format("{} of {} features described, {} kept: {}", features.at("described").get<int64_t>(),
                              features.at("all").get<int64_t>(), features.at("kept").get<int64_t>(),
                              fmt::join(kinds, ", ")));
  return lines;
}

}  // namespace introspect
