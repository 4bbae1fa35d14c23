#include "feature/feature_split.h"

#include "base/error.h"
#include "base/json.h"
#include "base/random.h"

#include <algorithm>
#include <set>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// The best descriptions with words in them.
std::vector<std::string> words_of(const DescribedFeature& feature, const SplitSettings& settings) {
  std::vector<std::string> words;
  for (const Description& each : feature.descriptions) {
    if (std::ssize(words) == settings.descriptions) break;
    if (each.text.find_first_not_of(" \t\r\n") == std::string::npos || each.score < settings.minimum_score) continue;
    words.push_back(each.text);
  }
  return words;
}

bool silent(const FeatureContexts& contexts) {
  return contexts.activations.numel() == 0 || contexts.activations.max().item<double>() <= 0;
}

}  // namespace

Json split_settings_to_json(const SplitSettings& s) {
  return {{"seed", s.seed},
          {"descriptions", s.descriptions},
          {"minimum_score", s.minimum_score},
          {"validation_features", s.validation_features},
          {"held_out_features", s.held_out_features}};
}

Json split_counts_to_json(const FeatureSplit& split) {
  return {{"train", split.train.size()},
          {"validation", split.validation.size()},
          {"held_out", split.held_out.size()},
          {"undescribed", split.undescribed},
          {"silent", split.silent},
          {"held_out_unknown", split.held_out_unknown}};
}

FeatureSplit split_features(const std::vector<DescribedFeature>& features, const std::vector<FeatureId>& held_out,
                            const ContextReader& contexts, const SplitSettings& settings) {
  for (const auto& [name, value] : {std::pair{"descriptions", settings.descriptions},
                                    {"validation_features", settings.validation_features},
                                    {"held_out_features", settings.held_out_features}}) {
    if (value < 1) fail_usage("features", fmt::format("{}: got {}, expected at least 1", name, value));
  }
  FeatureSplit split;
  const std::set<FeatureId> named(held_out.begin(), held_out.end());
  std::set<FeatureId> unmet = named;
  for (const DescribedFeature& feature : features) {
    const FeatureId id{feature.layer, feature.latent};
    unmet.erase(id);
    WordedFeature kept{feature.layer, feature.latent, words_of(feature, settings)};
    if (kept.descriptions.empty()) {
      ++split.undescribed;
    } else if (contexts && silent(contexts(feature.layer, feature.latent))) {
      ++split.silent;
    } else {
      (named.contains(id) ? split.held_out : split.train).push_back(std::move(kept));
    }
  }
  split.held_out_unknown = std::ssize(unmet);
  const auto shuffle = [&](std::vector<WordedFeature>& list, const char* name) {
    std::sort(list.begin(), list.end(), [](const WordedFeature& a, const WordedFeature& b) {
      return FeatureId{a.layer, a.latent} < FeatureId{b.layer, b.latent};
    });
    Random random(settings.seed, name);
    random.shuffle(list);
  };
  const auto take = [&](std::vector<WordedFeature>& to, int64_t count) {
    while (std::ssize(to) < count && !split.train.empty()) {
      to.push_back(std::move(split.train.back()));
      split.train.pop_back();
    }
  };
  shuffle(split.held_out, "held-out features");
  shuffle(split.train, "training features");
  if (std::ssize(split.held_out) > settings.held_out_features) {
    split.held_out.resize(static_cast<size_t>(settings.held_out_features));
  }
  if (named.empty()) take(split.held_out, settings.held_out_features);
  take(split.validation, settings.validation_features);
  if (split.train.empty() || split.validation.empty() || split.held_out.empty()) {
    fail("features",
         fmt::format("{} features to train on, {} to validate on, {} held out: expected some of each ({} undescribed, "
                     "{} silent)",
                     split.train.size(), split.validation.size(), split.held_out.size(), split.undescribed,
                     split.silent),
         "describe more features, or ask for fewer --validation-features and --held-out-features");
  }
  return split;
}

std::vector<FeatureId> read_feature_ids(const fs::path& file) {
  std::vector<FeatureId> ids;
  for_each_json_line(file, [&](size_t line, const Json& json) {
    const std::string label = fmt::format("{}:{}", file.string(), line);
    ids.emplace_back(json_get<int64_t>(json, "layer", label), json_get<int64_t>(json, "latent", label));
  });
  return ids;
}

}  // namespace introspect
