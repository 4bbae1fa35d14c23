// How alike the activations of two models are, layer against layer on the same text, and whether that predicts
// something else (paper, appendix on similarity: an explainer whose activations are more like the target's explains it
// better).
#pragma once

#include "explainer/paired.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

// One layer of a target beside the layer of an explainer at the same share of the depth, on held-out text. NaN: not
// defined, as where one side is constant.
struct LayerSimilarity {
  int64_t target_layer = 0, explainer_layer = 0;
  int64_t positions = 0, directions = 0;
  bool mapped = false;     // widths differ: pattern, dot product and cosine are those of the least-squares map's image
  double pattern = 0;      // pattern_similarity: mean over the directions
  double dot_product = 0;  // dot_product_similarity
  double cosine = 0;       // centred_cosine
  double cka = 0;          // linear_cka
  double map_error = 0;    // 1 - explained variance of the best linear map from the target's states to the explainer's
};
// In the order in which tables show them: "pattern", "dot_product", "cosine", "cka", "map_error".
const std::vector<std::string>& similarity_measures();
double measure_of(const LayerSimilarity& similarity, const std::string& measure);
std::string measure_label(const std::string& measure);  // "pattern on top exemplars"
Json similarity_to_json(const LayerSimilarity& similarity);
LayerSimilarity parse_similarity(const Json& json, const std::string& label);

struct SimilaritySettings {
  PairedSettings text;      // an eighth of its documents is compared, the others fit the map
  int64_t directions = 64;  // of each layer, at most
  int64_t exemplars = 20;   // documents on which the target's activation along a direction is highest
};
// From a [similarity] table: the keys of [projection], directions and exemplars. Unknown keys are an Error.
SimilaritySettings parse_similarity_settings(const Json& table, const std::string& label, const fs::path& base);
Json similarity_settings_to_json(const SimilaritySettings& settings);

// `directions`: by layer of the target, [K, d_target], as the explainer is given them. An explainer of the same width
// reads a direction as it is, another one its image under the map. Memory: the held-out states of every layer in
// float32.
std::vector<LayerSimilarity> similarities(const PairedModel& target, const PairedModel& explainer,
                                          const std::map<int64_t, at::Tensor>& directions,
                                          const SimilaritySettings& settings,
                                          const std::function<void(int64_t)>& progress);

// The measures by themselves; x [n, D] and y [n, E] are states of the same n positions.
double linear_cka(const at::Tensor& x, const at::Tensor& y);              // Kornblith et al. 2019; centred
double centred_cosine(const at::Tensor& x, const at::Tensor& y);          // mean over positions; D == E
double dot_product_similarity(const at::Tensor& x, const at::Tensor& y);  // sum <x, y> / sum <x, x>; D == E
// a, b [n, K]: activations of the target and of the explainer along K directions; document of each position. For each
// direction Pearson's correlation over all positions of the `exemplars` documents where a is highest; their mean.
double pattern_similarity(const at::Tensor& a, const at::Tensor& b, const std::vector<int64_t>& documents,
                          int64_t exemplars);

// Pearson's correlation, or Spearman's (of ranks, ties sharing their mean), with a percentile bootstrap that draws
// whole clusters. NaN with fewer than three points or a constant side; the interval also with fewer than three
// clusters.
struct Correlation {
  double value = 0, low = 0, high = 0;
  int64_t points = 0, clusters = 0;
};
Correlation correlate(const std::vector<double>& x, const std::vector<double>& y,
                      const std::vector<std::string>& clusters, bool ranks, uint64_t seed = 0);

}  // namespace introspect
