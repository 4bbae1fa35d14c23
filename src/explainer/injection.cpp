#include "explainer/injection.h"

#include "base/error.h"
#include "base/random.h"
#include "base/safetensors.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

template <class Value, size_t N>
Value named_value(const std::pair<const char*, Value> (&names)[N], const std::string& name, const char* what) {
  std::string known;
  for (const auto& [text, value] : names) {
    if (name == text) return value;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  fail_usage("explainer", fmt::format("{}: got '{}', expected one of {}", what, name, known));
}
template <class Value, size_t N>
std::string value_name(const std::pair<const char*, Value> (&names)[N], Value value) {
  for (const auto& [text, each] : names) {
    if (each == value) return text;
  }
  return "?";
}

constexpr std::pair<const char*, InjectionPolicy> policies[] = {
    {"raw", InjectionPolicy::raw}, {"unit", InjectionPolicy::unit}, {"norm_matched", InjectionPolicy::norm_matched}};
constexpr std::pair<const char*, ProjectionKind> projection_kinds[] = {{"none", ProjectionKind::none},
                                                                       {"random", ProjectionKind::random},
                                                                       {"identity", ProjectionKind::identity},
                                                                       {"least_squares", ProjectionKind::least_squares},
                                                                       {"procrustes", ProjectionKind::procrustes},
                                                                       {"affine", ProjectionKind::affine}};
constexpr std::pair<const char*, VectorCondition> conditions[] = {
    {"real", VectorCondition::real},
    {"zero", VectorCondition::zero},
    {"random", VectorCondition::random},
    {"shuffled", VectorCondition::shuffled},
    {"shuffled_in_cell", VectorCondition::shuffled_in_cell}};

// Another member of each group: a random cycle through it. Groups of one keep their own vector.
void cycle(std::vector<int64_t>& sources, std::vector<size_t> group, Random& random) {
  random.shuffle(group);
  const std::vector<int64_t> before = sources;
  for (size_t i = 0; i < group.size(); ++i) sources[group[i]] = before[group[(i + 1) % group.size()]];
}

}  // namespace

bool is_fitted(ProjectionKind kind) {
  return kind == ProjectionKind::least_squares || kind == ProjectionKind::procrustes;
}

std::string projection_name(ProjectionKind kind) {
  return value_name(projection_kinds, kind);
}

Json injection_to_json(const InjectionConfig& config) {
  return {{"policy", value_name(policies, config.policy)},
          {"scale", config.scale},
          {"layer", config.layer},
          {"projection", value_name(projection_kinds, config.projection)},
          {"train_projection", config.train_projection}};
}

InjectionConfig parse_injection(const Json& table, const std::string& label) {
  InjectionConfig config;
  for (const auto& [key, value] : table.items()) {
    if (key != "policy" && key != "scale" && key != "layer" && key != "projection" && key != "train_projection") {
      fail_usage("explainer", fmt::format("unknown key 'injection.{}' ({})", key, label));
    }
  }
  config.policy = named_value(policies, json_get_or<std::string>(table, "policy", "unit", label), "injection.policy");
  config.scale = json_get_or<double>(table, "scale", 1.0, label);
  config.layer = json_get_or<int64_t>(table, "layer", -1, label);
  config.projection = named_value(projection_kinds, json_get_or<std::string>(table, "projection", "none", label),
                                  "injection.projection");
  config.train_projection = json_get_or<bool>(table, "train_projection", true, label);
  if (!std::isfinite(config.scale)) fail_usage("explainer", fmt::format("injection.scale is not finite ({})", label));
  return config;
}

Projections make_projections(ProjectionKind kind, const std::vector<int64_t>& layers, int64_t d_target,
                             int64_t d_explainer, uint64_t seed) {
  Projections projections;
  if (kind == ProjectionKind::none || is_fitted(kind)) return projections;
  if (kind == ProjectionKind::identity && d_target != d_explainer) {
    fail("explainer", fmt::format("an identity projection from width {} to {}", d_target, d_explainer),
         "use projection = \"random\" or \"least_squares\"");
  }
  if (kind == ProjectionKind::affine) {
    at::Tensor map = at::zeros({1, d_explainer + 1});
    map[0][d_explainer] = 1;
    projections[kAllLayers] = map;
    return projections;
  }
  for (int64_t layer : layers) {
    if (projections.contains(layer)) continue;
    if (kind == ProjectionKind::identity) {
      projections[layer] = at::eye(d_target);
      continue;
    }
    Random random(seed, fmt::format("projection of layer {}", layer));
    at::Tensor map = at::empty({d_explainer, d_target});
    float* values = map.data_ptr<float>();
    const double deviation = 1 / std::sqrt(static_cast<double>(d_target));
    for (int64_t i = 0; i < map.numel(); ++i) values[i] = static_cast<float>(random.normal() * deviation);
    projections[layer] = map;
  }
  return projections;
}

at::Tensor fit_projection(const at::Tensor& target, const at::Tensor& explainer, double ridge) {
  const at::Tensor x = target.to(at::kDouble), y = explainer.to(at::kDouble);
  return fit_projection_of_sums(at::mm(x.t(), x), at::mm(x.t(), y), ridge);
}

at::Tensor fit_projection_of_sums(const at::Tensor& xx, const at::Tensor& xy, double ridge) {
  const double strength = ridge * xx.diagonal().mean().item<double>();
  // (X'X + r I) P' = X'Y
  const at::Tensor factor = at::linalg_cholesky(xx + strength * at::eye(xx.size(0), xx.options()));
  return at::cholesky_solve(xy, factor).t().to(at::kFloat).contiguous();
}

at::Tensor fit_orthogonal_of_sums(const at::Tensor& xy) {
  // X'Y = U S V' gives P' = U V'
  const auto [u, s, v] = at::linalg_svd(xy, /*full_matrices=*/false);
  return at::mm(u, v).t().to(at::kFloat).contiguous();
}

void save_projections(const Projections& projections, const fs::path& file) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [layer, map] : projections) {
    tensors.emplace_back(layer == kAllLayers ? "projection.all" : fmt::format("projection.{}", layer), map.detach());
  }
  write_safetensors(file, tensors);
}

Projections load_projections(const fs::path& file) {
  constexpr std::string_view prefix = "projection.";
  const Safetensors stored(file);
  Projections projections;
  for (const auto& [name, info] : stored.tensors()) {
    const std::string number = name.starts_with(prefix) ? name.substr(prefix.size()) : "";
    const bool all = number == "all";
    if (!all && (number.empty() || number.size() > 6 || number.find_first_not_of("0123456789") != std::string::npos)) {
      fail("explainer", fmt::format("tensor '{}', expected names like 'projection.7' ({})", name, file.string()));
    }
    const at::Tensor map = stored.get(name).to(at::kFloat, false, true);
    if (map.dim() != 2) {
      fail("explainer", fmt::format("'{}' has {} dimensions, expected 2 ({})", name, map.dim(), file.string()));
    }
    projections[all ? kAllLayers : std::stoll(number)] = map;
  }
  return projections;
}

at::Tensor inject(const InjectionConfig& config, const Projections& projections, const at::Tensor& vectors,
                  const std::vector<int64_t>& layers, int64_t d_explainer, double embedding_norm) {
  at::Tensor rows = vectors;
  if (config.projection == ProjectionKind::affine) {
    const auto found = projections.find(kAllLayers);
    if (found == projections.end() || found->second.numel() != d_explainer + 1 || vectors.size(1) != d_explainer) {
      fail("explainer", fmt::format("an affine projection of vectors of width {} for an explainer of width {}",
                                    vectors.size(1), d_explainer));
    }
    const at::Tensor map = found->second.reshape({-1});
    const at::Tensor unit = vectors / vectors.norm(2, 1, true).clamp_min(1e-12);
    return unit * (map[d_explainer] * config.scale) + map.slice(0, 0, d_explainer);
  }
  if (config.projection != ProjectionKind::none) {
    std::vector<at::Tensor> mapped;
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto found = projections.find(layers[i]);
      if (found == projections.end()) {
        fail("explainer", fmt::format("no projection for layer {} of the target", layers[i]));
      }
      mapped.push_back(at::mv(found->second, vectors[static_cast<int64_t>(i)]));
    }
    rows = at::stack(mapped);
  }
  if (rows.size(1) != d_explainer) {
    fail("explainer", fmt::format("a vector of width {} for an explainer of width {}", rows.size(1), d_explainer),
         "set injection.projection to random or least_squares");
  }
  if (config.policy == InjectionPolicy::raw) return rows;
  const at::Tensor norms = rows.norm(2, 1, true).clamp_min(1e-12);
  const double scale = config.scale * (config.policy == InjectionPolicy::norm_matched ? embedding_norm : 1.0);
  return rows / norms * scale;
}

std::string condition_name(VectorCondition condition) {
  return value_name(conditions, condition);
}
VectorCondition parse_condition(const std::string& name) {
  return named_value(conditions, name, "vector condition");
}

at::Tensor condition_vectors(const Dataset& dataset, const std::vector<const Example*>& examples,
                             VectorCondition condition, uint64_t seed) {
  Random random(seed, "vectors " + condition_name(condition));
  std::vector<int64_t> sources;
  const auto has_vector = [](const Example* example) { return example->vector >= 0; };
  if (std::none_of(examples.begin(), examples.end(), has_vector)) return {};
  for (const Example* example : examples) {
    if (!has_vector(example)) fail("explainer", fmt::format("example '{}' has no vector", example->id));
    sources.push_back(example->vector);
  }
  if (condition == VectorCondition::shuffled || condition == VectorCondition::shuffled_in_cell) {
    std::map<std::string, std::vector<size_t>> groups;
    for (size_t i = 0; i < examples.size(); ++i) {
      std::string cell;
      if (condition == VectorCondition::shuffled_in_cell) {
        for (const char* key : {"token_type", "block", "relation"}) {
          const auto found = examples[i]->attributes.find(key);
          cell += (found == examples[i]->attributes.end() ? "" : found->second) + "\n";
        }
      }
      groups[cell].push_back(i);
    }
    for (auto& [cell, group] : groups) cycle(sources, group, random);
  }
  at::Tensor vectors = dataset.vectors.index_select(0, at::tensor(sources, at::kLong));
  if (condition == VectorCondition::zero) return at::zeros_like(vectors);
  if (condition == VectorCondition::random) {
    at::Tensor noise = at::empty_like(vectors);
    float* values = noise.data_ptr<float>();
    for (int64_t i = 0; i < noise.numel(); ++i) values[i] = static_cast<float>(random.normal());
    return noise / noise.norm(2, 1, true) * vectors.norm(2, 1, true);
  }
  return vectors;
}

}  // namespace introspect
