#include "evaluate/similarity.h"

#include "base/error.h"
#include "base/random.h"
#include "evaluate/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

double number_of(const Json& json, const char* key, const std::string& label) {
  return json.contains(key) && json.at(key).is_null() ? kNothing : json_get<double>(json, key, label);
}

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  if (x.size() < 3) return kNothing;
  const double mean_x = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double mean_y = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  // a constant may differ from its mean by rounding
  const double least = 1e-24 * n;
  return xx > least * (1 + mean_x * mean_x) && yy > least * (1 + mean_y * mean_y) ? xy / std::sqrt(xx * yy) : kNothing;
}

std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<double>(begin + end - 1) / 2;
  }
  return ranks;
}

double correlation_of(const std::vector<double>& x, const std::vector<double>& y, bool ranks) {
  return ranks ? pearson(ranks_of(x), ranks_of(y)) : pearson(x, y);
}

void check_widths(const char* what, const at::Tensor& x, const at::Tensor& y) {
  if (x.sizes() == y.sizes()) return;
  fail("similarity", fmt::format("{}: got [{}, {}] and [{}, {}], expected the same shape", what, x.size(0), x.size(1),
                                 y.size(0), y.size(1)));
}

}  // namespace

const std::vector<std::string>& similarity_measures() {
  static const std::vector<std::string> names = {"pattern", "dot_product", "cosine", "cka", "map_error"};
  return names;
}

double measure_of(const LayerSimilarity& s, const std::string& measure) {
  if (measure == "pattern") return s.pattern;
  if (measure == "dot_product") return s.dot_product;
  if (measure == "cosine") return s.cosine;
  if (measure == "cka") return s.cka;
  if (measure == "map_error") return s.map_error;
  fail("similarity", fmt::format("no measure '{}'", measure));
}

std::string measure_label(const std::string& measure) {
  return measure == "pattern"       ? "pattern on top exemplars"
         : measure == "dot_product" ? "dot product"
         : measure == "cosine"      ? "centred cosine"
         : measure == "cka"         ? "linear CKA"
                                    : "error of the best linear map";
}

Json similarity_to_json(const LayerSimilarity& s) {
  Json json{{"target_layer", s.target_layer},
            {"explainer_layer", s.explainer_layer},
            {"positions", s.positions},
            {"directions", s.directions},
            {"mapped", s.mapped}};
  for (const std::string& measure : similarity_measures()) json[measure] = measure_of(s, measure);  // NaN becomes null
  return json;
}

LayerSimilarity parse_similarity(const Json& json, const std::string& label) {
  LayerSimilarity s;
  s.target_layer = json_get<int64_t>(json, "target_layer", label);
  s.explainer_layer = json_get<int64_t>(json, "explainer_layer", label);
  s.positions = json_get<int64_t>(json, "positions", label);
  s.directions = json_get<int64_t>(json, "directions", label);
  s.mapped = json_get<bool>(json, "mapped", label);
  s.pattern = number_of(json, "pattern", label);
  s.dot_product = number_of(json, "dot_product", label);
  s.cosine = number_of(json, "cosine", label);
  s.cka = number_of(json, "cka", label);
  s.map_error = number_of(json, "map_error", label);
  return s;
}

SimilaritySettings parse_similarity_settings(const Json& table, const std::string& label, const fs::path& base) {
  SimilaritySettings settings;
  Json text = table;
  for (const auto& [key, value] : {std::pair{"directions", &settings.directions}, {"exemplars", &settings.exemplars}}) {
    *value = json_get_or<int64_t>(table, key, *value, label);
    if (*value < 1)
      fail_usage("recipe", fmt::format("similarity.{}: got {}, expected 1 or more ({})", key, *value, label));
    text.erase(key);
  }
  settings.text = parse_paired(text, label + ", [similarity]", base);
  return settings;
}

Json similarity_settings_to_json(const SimilaritySettings& settings) {
  Json json = paired_to_json(settings.text);
  json["directions"] = settings.directions;
  json["exemplars"] = settings.exemplars;
  return json;
}

double linear_cka(const at::Tensor& x, const at::Tensor& y) {
  if (x.size(0) != y.size(0)) {
    fail("similarity", fmt::format("linear_cka: got {} and {} positions, expected the same", x.size(0), y.size(0)));
  }
  const at::Tensor a = x.to(at::kDouble) - x.to(at::kDouble).mean(0), b = y.to(at::kDouble) - y.to(at::kDouble).mean(0);
  const double own = at::mm(a.t(), a).norm().item<double>() * at::mm(b.t(), b).norm().item<double>();
  return own > 0 ? at::mm(b.t(), a).pow(2).sum().item<double>() / own : kNothing;
}

double centred_cosine(const at::Tensor& x, const at::Tensor& y) {
  check_widths("centred_cosine", x, y);
  const at::Tensor a = x.to(at::kDouble) - x.to(at::kDouble).mean(0), b = y.to(at::kDouble) - y.to(at::kDouble).mean(0);
  const at::Tensor norms = a.norm(2, 1) * b.norm(2, 1);
  const at::Tensor defined = norms.gt(0);
  const auto count = defined.sum().item<double>();
  if (count == 0) return kNothing;
  return ((a * b).sum(1) / norms.clamp_min(1e-300)).masked_fill(defined.logical_not(), 0).sum().item<double>() / count;
}

double dot_product_similarity(const at::Tensor& x, const at::Tensor& y) {
  check_widths("dot_product_similarity", x, y);
  const at::Tensor a = x.to(at::kDouble);
  const double own = a.pow(2).sum().item<double>();
  return own > 0 ? (a * y.to(at::kDouble)).sum().item<double>() / own : kNothing;
}

double pattern_similarity(const at::Tensor& a, const at::Tensor& b, const std::vector<int64_t>& documents,
                          int64_t exemplars) {
  check_widths("pattern_similarity", a, b);
  if (a.size(0) != std::ssize(documents)) {
    fail("similarity",
         fmt::format("pattern_similarity: got {} positions and {} documents", a.size(0), documents.size()));
  }
  std::map<int64_t, std::vector<int64_t>> positions;
  for (size_t i = 0; i < documents.size(); ++i) positions[documents[i]].push_back(static_cast<int64_t>(i));
  const at::Tensor of_target = a.to(at::kDouble).t().contiguous(), of_explainer = b.to(at::kDouble).t().contiguous();
  const int64_t n = a.size(0);
  double sum = 0;
  int64_t defined = 0;
  for (int64_t k = 0; k < a.size(1); ++k) {
    const double* target = of_target.data_ptr<double>() + k * n;
    const double* explainer = of_explainer.data_ptr<double>() + k * n;
    std::vector<std::pair<double, int64_t>> highest;  // minus the highest activation, document
    for (const auto& [document, rows] : positions) {
      double largest = target[rows.front()];
      for (const int64_t row : rows) largest = std::max(largest, target[row]);
      highest.emplace_back(-largest, document);
    }
    std::sort(highest.begin(), highest.end());
    if (std::ssize(highest) > exemplars) highest.resize(static_cast<size_t>(exemplars));
    std::vector<double> x, y;
    for (const auto& [activation, document] : highest) {
      for (const int64_t row : positions.at(document)) {
        x.push_back(target[row]);
        y.push_back(explainer[row]);
      }
    }
    const double found = pearson(x, y);
    if (std::isnan(found)) continue;
    sum += found;
    ++defined;
  }
  return defined > 0 ? sum / static_cast<double>(defined) : kNothing;
}

std::vector<LayerSimilarity> similarities(const PairedModel& target, const PairedModel& explainer,
                                          const std::map<int64_t, at::Tensor>& directions,
                                          const SimilaritySettings& settings,
                                          const std::function<void(int64_t)>& progress) {
  c10::NoGradGuard guard;
  std::vector<int64_t> layers;
  for (const auto& [layer, rows] : directions) layers.push_back(layer);
  std::vector<std::vector<at::Tensor>> x(layers.size()), y(layers.size());
  std::vector<int64_t> documents;
  const auto keep = [&](size_t i, const at::Tensor& of_target, const at::Tensor& of_explainer,
                        const std::vector<int64_t>& of_pairs) {
    x[i].push_back(of_target.to(at::kFloat));
    y[i].push_back(of_explainer.to(at::kFloat));
    if (i == 0) documents.insert(documents.end(), of_pairs.begin(), of_pairs.end());
  };
  const std::vector<FittedProjection> fitted =
      fit_projections(target, explainer, layers, settings.text, progress, keep);
  std::vector<LayerSimilarity> found;
  for (size_t i = 0; i < fitted.size(); ++i) {
    const at::Tensor of_target = at::cat(x[i]).to(at::kDouble), of_explainer = at::cat(y[i]).to(at::kDouble);
    x[i].clear();
    y[i].clear();
    LayerSimilarity s;
    s.target_layer = fitted[i].target_layer;
    s.explainer_layer = fitted[i].explainer_layer;
    s.positions = of_target.size(0);
    s.mapped = of_target.size(1) != of_explainer.size(1);
    s.map_error = 1 - fitted[i].explained_variance;
    s.cka = linear_cka(of_target, of_explainer);
    const at::Tensor v = directions.at(s.target_layer).to(at::kDouble);  // [K, d_target]
    s.directions = v.size(0);
    const at::Tensor map = fitted[i].map.to(at::kDouble);  // [d_explainer, d_target]
    const at::Tensor image = s.mapped ? at::mm(of_target, map.t()) : of_target;
    const at::Tensor read = s.mapped ? at::mm(v, map.t()) : v;
    s.cosine = centred_cosine(image, of_explainer);
    s.dot_product = dot_product_similarity(image, of_explainer);
    s.pattern =
        pattern_similarity(at::mm(of_target, v.t()), at::mm(of_explainer, read.t()), documents, settings.exemplars);
    found.push_back(s);
  }
  return found;
}

Correlation correlate(const std::vector<double>& given_x, const std::vector<double>& given_y,
                      const std::vector<std::string>& given_clusters, bool ranks, uint64_t seed) {
  if (given_x.size() != given_y.size() || given_x.size() != given_clusters.size()) {
    fail("similarity",
         fmt::format("correlate: got {}, {} and {} values", given_x.size(), given_y.size(), given_clusters.size()));
  }
  std::vector<double> x, y;
  std::map<std::string, std::vector<size_t>> by_name;
  for (size_t i = 0; i < given_x.size(); ++i) {
    if (!std::isfinite(given_x[i]) || !std::isfinite(given_y[i])) continue;
    by_name[given_clusters[i]].push_back(x.size());
    x.push_back(given_x[i]);
    y.push_back(given_y[i]);
  }
  std::vector<std::vector<size_t>> clusters;
  for (auto& [name, members] : by_name) clusters.push_back(std::move(members));
  Correlation made{correlation_of(x, y, ranks), kNothing, kNothing, std::ssize(x), std::ssize(clusters)};
  if (clusters.size() < 3 || std::isnan(made.value)) return made;
  const StatisticsOptions options;
  Random random(seed, "bootstrap of correlations");
  std::vector<double> drawn;
  for (int i = 0; i < options.resamples; ++i) {
    std::vector<double> some_x, some_y;
    for (size_t c = 0; c < clusters.size(); ++c) {
      for (const size_t member : clusters[random.below(clusters.size())]) {
        some_x.push_back(x[member]);
        some_y.push_back(y[member]);
      }
    }
    drawn.push_back(correlation_of(some_x, some_y, ranks));
  }
  made.low = quantile(drawn, (1 - options.level) / 2);
  made.high = quantile(std::move(drawn), (1 + options.level) / 2);
  return made;
}

}  // namespace introspect
