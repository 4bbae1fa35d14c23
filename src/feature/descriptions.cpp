#include "feature/descriptions.h"

#include "base/error.h"
#include "base/json.h"
#include "feature/correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <ATen/Functions.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr double not_simulated = std::numeric_limits<double>::quiet_NaN();

// JSON has no NaN: null stands for it.
Json score_to_json(double score) { return std::isfinite(score) ? Json(score) : Json(); }

double score_of(const Json& description, const char* key, const std::string& label) {
  return json_get_or<double>(description, key, not_simulated, label);
}

}  // namespace

void save_descriptions(const std::vector<DescribedFeature>& features, const fs::path& file) {
  std::vector<Json> lines;
  for (const DescribedFeature& feature : features) {
    Json line{{"layer", feature.layer}, {"latent", feature.latent}, {"descriptions", Json::array()}};
    for (const Description& each : feature.descriptions) {
      line["descriptions"].push_back({{"text", each.text},
                                      {"kind", each.kind},
                                      {"source", each.source},
                                      {"score", score_to_json(each.score)},
                                      {"held_out", score_to_json(each.held_out)}});
    }
    lines.push_back(std::move(line));
  }
  write_json_lines(file, lines);
}

std::vector<DescribedFeature> load_descriptions(const fs::path& file) {
  std::vector<DescribedFeature> features;
  std::set<std::pair<int64_t, int64_t>> seen;
  for_each_json_line(file, [&](size_t number, const Json& line) {
    const std::string label = fmt::format("{}:{}", file.string(), number);
    DescribedFeature feature;
    feature.layer = json_get<int64_t>(line, "layer", label);
    feature.latent = json_get<int64_t>(line, "latent", label);
    if (feature.layer < 0 || feature.latent < 0) {
      fail("descriptions", fmt::format("layer and latent: got {} and {}, expected at least 0 ({})", feature.layer,
                                       feature.latent, label));
    }
    if (!seen.emplace(feature.layer, feature.latent).second) {
      fail("descriptions",
           fmt::format("feature {} of layer {} stands there twice ({})", feature.latent, feature.layer, label));
    }
    if (!line.contains("descriptions") || !line.at("descriptions").is_array()) {
      fail("descriptions", fmt::format("descriptions: expected a list ({})", label));
    }
    for (const Json& each : line.at("descriptions")) {
      Description description{json_get<std::string>(each, "text", label),
                              json_get_or<std::string>(each, "kind", "", label),
                              json_get_or<std::string>(each, "source", "", label), score_of(each, "score", label),
                              score_of(each, "held_out", label)};
      if (description.text.empty()) fail("descriptions", fmt::format("text: got nothing ({})", label));
      feature.descriptions.push_back(std::move(description));
    }
    features.push_back(std::move(feature));
  });
  return features;
}

void choose_description(DescribedFeature& feature, const FeatureContexts& contexts, const Simulator& simulator) {
  const int64_t count = contexts.tokens.size(0);
  const at::Tensor even = at::arange(0, count, 2, at::kLong), odd = at::arange(1, std::max<int64_t>(count, 1), 2, at::kLong);
  for (Description& description : feature.descriptions) {
    description.score = description.held_out = not_simulated;
    const std::optional<at::Tensor> simulated = simulator.simulate(description.text, contexts.tokens);
    if (!simulated) continue;
    const auto score = [&](const at::Tensor& rows) {
      if (rows.numel() == 0) return not_simulated;
      return correlation(contexts.activations.index_select(0, rows), simulated->index_select(0, rows),
                         contexts.tokens.index_select(0, rows));
    };
    description.score = score(even);
    description.held_out = score(odd);
  }
  std::stable_sort(feature.descriptions.begin(), feature.descriptions.end(), [](const auto& a, const auto& b) {
    return std::isnan(b.score) ? !std::isnan(a.score) : a.score > b.score;
  });
}

}  // namespace introspect
