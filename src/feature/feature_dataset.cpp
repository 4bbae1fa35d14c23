#include "feature/feature_dataset.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr size_t kReferences = 3;  // descriptions kept beside the best one

// Labels that nobody simulated, whose score is NaN, are taken as they are.
bool is_described(const DescribedFeature& feature, double min_score) {
  return !feature.descriptions.empty() && !(feature.descriptions.front().held_out < min_score);
}

// Leaves out features that are one token and no more, as many as are too many; returns how many.
size_t thin_out_tokens(std::vector<const DescribedFeature*>& described, const FeatureDatasetSettings& settings) {
  const auto is_token = [](const DescribedFeature* feature) { return feature->descriptions.front().kind == "token"; };
  std::vector<const DescribedFeature*> tokens, others;
  for (const DescribedFeature* feature : described) (is_token(feature) ? tokens : others).push_back(feature);
  if (settings.max_token_share >= 1 || others.empty()) return 0;
  const double most = settings.max_token_share / (1 - settings.max_token_share) * static_cast<double>(others.size());
  if (static_cast<double>(tokens.size()) <= most) return 0;
  Random random(settings.seed, "tokens kept");
  random.shuffle(tokens);
  const size_t left_out = tokens.size() - static_cast<size_t>(most);
  const std::set<const DescribedFeature*> gone(tokens.end() - static_cast<std::ptrdiff_t>(left_out), tokens.end());
  std::erase_if(described, [&](const DescribedFeature* feature) { return gone.contains(feature); });
  return left_out;
}

// Which cluster each feature belongs to: the index of one of its members.
std::vector<size_t> clusters_of(const std::vector<const DescribedFeature*>& features, const FeatureSource& source,
                                double duplicate_cosine) {
  std::vector<size_t> cluster(features.size());
  std::iota(cluster.begin(), cluster.end(), size_t{0});
  const auto root = [&](size_t i) {
    while (cluster[i] != i) i = cluster[i];
    return i;
  };
  std::map<std::string, std::vector<size_t>> by_label;
  for (size_t i = 0; i < features.size(); ++i) by_label[features[i]->descriptions.front().text].push_back(i);
  for (const auto& [label, members] : by_label) {
    if (members.size() < 2) continue;
    std::vector<at::Tensor> rows;
    for (const size_t i : members) rows.push_back(source.directions.at(features[i]->layer)[features[i]->latent]);
    at::Tensor unit = at::stack(rows).to(at::kFloat);
    unit = unit / unit.norm(2, 1, true).clamp_min(1e-12);
    const at::Tensor close = (at::mm(unit, unit.t()) > duplicate_cosine).contiguous();
    const bool* values = close.data_ptr<bool>();
    for (size_t a = 0; a < members.size(); ++a) {
      for (size_t b = a + 1; b < members.size(); ++b) {
        if (values[a * members.size() + b]) cluster[root(members[b])] = root(members[a]);
      }
    }
  }
  for (size_t i = 0; i < cluster.size(); ++i) cluster[i] = root(i);
  return cluster;
}

// Labels that no train feature is to have, together about `share` of the features.
std::set<std::string> held_out_labels(const std::vector<const DescribedFeature*>& features,
                                      const FeatureDatasetSettings& settings) {
  std::map<std::string, int64_t> counts;
  for (const DescribedFeature* feature : features) ++counts[feature->descriptions.front().text];
  std::vector<std::string> labels;
  for (const auto& [label, count] : counts) labels.push_back(label);
  Random random(settings.seed, "labels held out");
  random.shuffle(labels);
  std::set<std::string> chosen;
  const double wanted = settings.unseen_label_share * static_cast<double>(features.size());
  double taken = 0;
  for (const std::string& label : labels) {
    const auto count = static_cast<double>(counts[label]);
    // a frequent label at the end of the list must not take twice what is wanted
    if (taken + count > wanted + 0.5) continue;
    chosen.insert(label);
    taken += count;
  }
  return chosen;
}

std::map<size_t, Split> split_clusters(const std::vector<size_t>& clusters, const std::set<size_t>& taken,
                                       const FeatureDatasetSettings& settings) {
  std::set<size_t> distinct(clusters.begin(), clusters.end());
  std::vector<size_t> order;
  for (const size_t each : distinct) {
    if (!taken.contains(each)) order.push_back(each);
  }
  Random random(settings.seed, "splits of features");
  random.shuffle(order);
  const auto count = static_cast<double>(order.size());
  const auto test = static_cast<size_t>(std::llround(count * settings.test_share));
  const auto validation = static_cast<size_t>(std::llround(count * settings.validation_share));
  std::map<size_t, Split> splits;
  for (size_t i = 0; i < order.size(); ++i) {
    splits[order[i]] = i < test ? Split::test : i < test + validation ? Split::validation : Split::train;
  }
  return splits;
}

std::string references_of(const DescribedFeature& feature) {
  std::vector<std::string> texts;
  for (size_t i = 1; i < feature.descriptions.size() && texts.size() < kReferences; ++i) {
    texts.push_back(feature.descriptions[i].text);
  }
  return fmt::format("{}", fmt::join(texts, "\n"));
}

// Collects the examples, their vectors and the contexts of those that are asked at test time.
class Builder {
 public:
  explicit Builder(Dataset& dataset) : dataset_(dataset) {}

  Example& add(Split split, const DescribedFeature& feature, const at::Tensor& vector, bool described) {
    Example example;
    example.id = fmt::format("feature-{:06}", dataset_.examples.size());
    example.split = split;
    example.layers = {feature.layer};
    example.vector = std::ssize(vectors_);
    vectors_.push_back(vector.to(at::kFloat));
    example.attributes["layer"] = std::to_string(feature.layer);
    if (!feature.descriptions.empty()) {
      const Description& best = feature.descriptions.front();
      if (described) example.answer = best.text;
      example.attributes["kind"] = described ? best.kind : "none";
      if (std::isfinite(best.held_out)) example.attributes["score"] = fmt::format("{:.4f}", best.held_out);
      const std::string references = references_of(feature);
      if (described && !references.empty()) example.attributes["references"] = references;
    }
    dataset_.examples.push_back(std::move(example));
    return dataset_.examples.back();
  }

  void add_contexts(Example& example, const FeatureContexts& contexts) {
    example.attributes["contexts"] = std::to_string(contexts_.size());
    contexts_.push_back(contexts);
  }

  void finish(std::vector<std::pair<std::string, at::Tensor>>& tensors) {
    dataset_.vectors = at::stack(vectors_);
    const auto count = std::ssize(contexts_);
    int64_t most = 1, longest = 1;
    for (const FeatureContexts& each : contexts_) {
      most = std::max(most, each.tokens.size(0));
      longest = std::max(longest, each.tokens.size(1));
    }
    const at::Tensor tokens = at::full({count, most, longest}, -1, at::kInt);
    const at::Tensor activations = at::zeros({count, most, longest});
    const at::Tensor kinds = at::full({count, most}, -1, at::kInt);
    for (int64_t i = 0; i < count; ++i) {
      const FeatureContexts& each = contexts_[i];
      const int64_t contexts = each.tokens.size(0), length = each.tokens.size(1);
      tokens[i].slice(0, 0, contexts).slice(1, 0, length).copy_(each.tokens);
      activations[i].slice(0, 0, contexts).slice(1, 0, length).copy_(each.activations);
      for (int64_t c = 0; c < contexts; ++c) kinds[i][c] = static_cast<int>(each.kinds[c]);
    }
    tensors = {{"tokens", tokens}, {"activations", activations}, {"kinds", kinds}};
  }

 private:
  Dataset& dataset_;
  std::vector<at::Tensor> vectors_;
  std::vector<FeatureContexts> contexts_;
};

Json kinds_of(const std::vector<const DescribedFeature*>& described) {
  std::map<std::string, int64_t> counts;
  for (const DescribedFeature* feature : described) ++counts[feature->descriptions.front().kind];
  Json json = Json::object();
  for (const auto& [kind, count] : counts) json[kind] = count;
  return json;
}

// How many held-out correlations of the best descriptions lie in each tenth of [0, 1]; below 0 counts to the first.
Json score_histogram(const std::vector<DescribedFeature>& features) {
  std::vector<int64_t> counts(10);
  for (const DescribedFeature& feature : features) {
    if (feature.descriptions.empty() || !std::isfinite(feature.descriptions.front().held_out)) continue;
    ++counts[static_cast<size_t>(std::clamp(feature.descriptions.front().held_out * 10, 0.0, 9.0))];
  }
  return counts;
}

}  // namespace

Dataset make_feature_dataset(const std::vector<DescribedFeature>& features, const FeatureSource& source,
                             const std::vector<OtherDirection>& others, const FeatureDatasetSettings& settings,
                             std::vector<std::pair<std::string, at::Tensor>>& contexts) {
  std::vector<const DescribedFeature*> described, rest;
  for (const DescribedFeature& feature : features) {
    const auto directions = source.directions.find(feature.layer);
    if (directions == source.directions.end() || feature.latent < 0 || feature.latent >= directions->second.size(0)) {
      fail("features", fmt::format("a description of feature {}:{}, which the SAEs given do not have", feature.layer,
                                   feature.latent));
    }
    (is_described(feature, settings.min_score) ? described : rest).push_back(&feature);
  }
  if (described.size() < 2) {
    fail("features",
         fmt::format("{} of {} features have a description with a held-out correlation of {} or more", described.size(),
                     features.size(), settings.min_score),
         "lower dataset.min_score, or look at what 'introspect describe' says");
  }
  const size_t all_described = described.size(), tokens_left_out = thin_out_tokens(described, settings);
  const std::vector<size_t> clusters = clusters_of(described, source, settings.duplicate_cosine);
  const std::set<std::string> unseen = held_out_labels(described, settings);
  std::set<size_t> taken;  // clusters whose label is held out: a cluster has one label
  for (size_t i = 0; i < described.size(); ++i) {
    if (unseen.contains(described[i]->descriptions.front().text)) taken.insert(clusters[i]);
  }
  const std::map<size_t, Split> splits = split_clusters(clusters, taken, settings);

  Dataset dataset;
  dataset.task = "features";
  Builder builder(dataset);
  std::set<std::string> train_labels;
  for (size_t i = 0; i < described.size(); ++i) {
    const DescribedFeature& feature = *described[i];
    const bool aside = taken.contains(clusters[i]);
    const Split split = aside ? Split::test : splits.at(clusters[i]);
    Example& example = builder.add(split, feature, source.directions.at(feature.layer)[feature.latent], true);
    example.cluster = fmt::format("cluster-{}", clusters[i]);
    example.attributes["latent"] = std::to_string(feature.latent);
    if (aside) example.attributes["aside"] = "label not in training";
    if (split == Split::test) builder.add_contexts(example, source.contexts(feature.layer, feature.latent));
    if (split == Split::train) train_labels.insert(example.answer);
  }
  Random random(settings.seed, "features that nothing describes");
  random.shuffle(rest);
  for (size_t i = 0; i < rest.size() && static_cast<int64_t>(i) < settings.undescribed; ++i) {
    const DescribedFeature& feature = *rest[i];
    Example& example = builder.add(Split::test, feature, source.directions.at(feature.layer)[feature.latent], false);
    example.cluster = example.id;
    example.attributes["latent"] = std::to_string(feature.latent);
    example.attributes["aside"] = "not described";
    builder.add_contexts(example, source.contexts(feature.layer, feature.latent));
  }
  for (const OtherDirection& other : others) {
    Example& example = builder.add(Split::test, other.described, other.vector, !other.described.descriptions.empty());
    example.cluster = example.id;
    example.attributes["aside"] = other.kind;
    example.attributes["from"] = other.from;
    builder.add_contexts(example, other.contexts);
  }
  for (Example& example : dataset.examples) {
    if (example.answer.empty()) continue;
    example.attributes["label"] = train_labels.contains(example.answer) ? "seen" : "unseen";
  }
  builder.finish(contexts);
  const std::set<size_t> distinct(clusters.begin(), clusters.end());
  std::set<std::string> labels;
  for (const DescribedFeature* feature : described) labels.insert(feature->descriptions.front().text);
  dataset.info["settings"] = feature_dataset_to_json(settings);
  dataset.info["features"] = {
      {"all", features.size()},   {"described", all_described},   {"tokens_left_out", tokens_left_out},
      {"kept", described.size()}, {"not_described", rest.size()}, {"clusters", distinct.size()},
      {"labels", labels.size()},  {"kinds", kinds_of(described)}, {"held_out_scores", score_histogram(features)}};
  return dataset;
}

Json feature_dataset_to_json(const FeatureDatasetSettings& s) {
  return {{"seed", s.seed},
          {"validation_share", s.validation_share},
          {"test_share", s.test_share},
          {"unseen_label_share", s.unseen_label_share},
          {"duplicate_cosine", s.duplicate_cosine},
          {"min_score", s.min_score},
          {"max_token_share", s.max_token_share},
          {"undescribed", s.undescribed},
          {"states", s.states},
          {"differences", s.differences}};
}

FeatureDatasetSettings parse_feature_dataset(const Json& table, const std::string& label) {
  FeatureDatasetSettings s;
  const Json known = feature_dataset_to_json(s);
  for (const auto& [key, value] : table.items()) {
    if (!known.contains(key)) fail_usage("features", fmt::format("unknown key 'dataset.{}' ({})", key, label));
  }
  s.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  s.validation_share = json_get_or<double>(table, "validation_share", s.validation_share, label);
  s.test_share = json_get_or<double>(table, "test_share", s.test_share, label);
  s.unseen_label_share = json_get_or<double>(table, "unseen_label_share", s.unseen_label_share, label);
  s.duplicate_cosine = json_get_or<double>(table, "duplicate_cosine", s.duplicate_cosine, label);
  s.min_score = json_get_or<double>(table, "min_score", s.min_score, label);
  s.max_token_share = json_get_or<double>(table, "max_token_share", s.max_token_share, label);
  s.undescribed = json_get_or<int64_t>(table, "undescribed", s.undescribed, label);
  s.states = json_get_or<int64_t>(table, "states", s.states, label);
  s.differences = json_get_or<int64_t>(table, "differences", s.differences, label);
  for (const double share : {s.validation_share, s.test_share, s.unseen_label_share}) {
    if (!(share >= 0 && share < 0.9)) {
      fail_usage("features", fmt::format("a share of the data set is {}, expected 0 to 0.9 ({})", share, label));
    }
  }
  return s;
}

}  // namespace introspect
