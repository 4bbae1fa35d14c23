// The data set of feature descriptions: a vector of the residual stream as the question, its description as the answer.
//
// Beside the files of every data set (dataset/example.h) it has contexts.safetensors, what the test examples' features
// do on text: "tokens" [n, C, T] I32, "activations" [n, C, T] F32, "kinds" [n, C] I32 (ContextKind, -1: none). An
// example's attribute "contexts" is its row.
#pragma once

#include "base/json.h"
#include "dataset/example.h"
#include "feature/contexts.h"
#include "feature/descriptions.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

struct FeatureDatasetSettings {
  uint64_t seed = 1;
  double validation_share = 0.05, test_share = 0.12;  // of the clusters of features
  // This share of the features is asked at test time only, with labels that no train feature has (a second split).
  double unseen_label_share = 0.06;
  // Features with the same label whose decoder directions have a larger cosine are one cluster, across layers too: a
  // copy of a test feature must not be learnt.
  double duplicate_cosine = 0.9;
  double min_score = 0.4;  // correlation on held-out contexts below which a feature counts as not described
  // Descriptions that are bare token identities are at most this share of those kept; which ones go is drawn.
  double max_token_share = 0.5;
  int64_t undescribed = 60;   // so many features that nothing describes are asked at test time: what is said of them?
  int64_t states = 100;       // whole residual states (ACT), and
  int64_t differences = 100;  // differences of two (ΔACT) a layer set, asked at test time
};
Json feature_dataset_to_json(const FeatureDatasetSettings& settings);
FeatureDatasetSettings parse_feature_dataset(const Json& table, const std::string& label);  // unknown keys: Error

// A direction that is no latent, with what describes it.
struct OtherDirection {
  std::string kind;   // "ACT", "ΔACT": the value of the attribute "aside"
  std::string from;   // the text it was taken from
  at::Tensor vector;  // [D]
  FeatureContexts contexts;
  DescribedFeature described;
};

// The parts that are needed of a SAE and its contexts.
struct FeatureSource {
  std::map<int64_t, at::Tensor> directions;  // by layer: [L, D], the decoder directions
  std::function<FeatureContexts(int64_t layer, int64_t latent)> contexts;
};

// Examples: the layer, the row of the direction, the best description as the answer. Attributes: layer, latent, kind
// (of the description), score (on held-out contexts), references (further descriptions, a line each), label ("seen" or
// "unseen" in training), contexts; and aside for what the figures over all items leave out: "ACT", "ΔACT", "label not
// in training", "not described". `contexts` receives the tensors of contexts.safetensors.
// Throws Error where fewer than two features are described.
Dataset make_feature_dataset(const std::vector<DescribedFeature>& features, const FeatureSource& source,
                             const std::vector<OtherDirection>& others, const FeatureDatasetSettings& settings,
                             std::vector<std::pair<std::string, at::Tensor>>& contexts);

}  // namespace introspect
