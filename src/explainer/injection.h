// How an internal vector becomes a row of the explainer's input.
#pragma once

#include "base/json.h"
#include "dataset/example.h"

#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

enum class InjectionPolicy {
  raw,          // v as it is (the published checkpoints)
  unit,         // v / |v| * scale
  norm_matched  // v / |v| * scale * the mean norm of the explainer's embedding rows
};

enum class ProjectionKind {
  none,           // widths must agree
  random,         // normal(0, 1/sqrt(d_target)), trained with the rest
  identity,       // widths must agree; trained with the rest
  least_squares,  // given: fitted on paired activations (paired.h), kept as it is or trained on
  procrustes,     // the same with an orthogonal map: it turns the space and stretches nothing
  affine          // s * scale * v / |v| + b with the number s and the vector b trained, for all layers together
};

// Whether it is fitted on paired activations before training.
bool is_fitted(ProjectionKind kind);
std::string projection_name(ProjectionKind kind);

struct InjectionConfig {
  InjectionPolicy policy = InjectionPolicy::unit;
  double scale = 1;
  int64_t layer = -1;  // -1: in place of the embedding row; l >= 0: added to the output of block l
  ProjectionKind projection = ProjectionKind::none;
  bool train_projection = true;
};
Json injection_to_json(const InjectionConfig& config);
InjectionConfig parse_injection(const Json& table, const std::string& label);  // throws Error for unknown names

// One bias-free linear map a target layer: [d_explainer, d_target]. For an affine one a single entry under
// kAllLayers, [1, d_explainer + 1]: b, then s.
using Projections = std::map<int64_t, at::Tensor>;
constexpr int64_t kAllLayers = -1;
Projections make_projections(ProjectionKind kind, const std::vector<int64_t>& layers, int64_t d_target,
                             int64_t d_explainer, uint64_t seed);

// The map that minimises |h_explainer - P h_target|^2 over paired rows, with a ridge of `ridge` times the mean squared
// activation. target [n, d_target], explainer [n, d_explainer] → [d_explainer, d_target].
at::Tensor fit_projection(const at::Tensor& target, const at::Tensor& explainer, double ridge = 1e-4);
// The same from sums over the pairs: X'X [d_target, d_target] and X'Y [d_target, d_explainer], float64.
at::Tensor fit_projection_of_sums(const at::Tensor& xx, const at::Tensor& xy, double ridge);

// Orthogonal Procrustes (Schönemann 1966): of all maps with P'P = I the one that minimises |h_explainer - P
// h_target|^2; from X'Y. Where d_explainer < d_target there is no such map: then PP' = I, and P maximises trace(P X'Y),
// the agreement of what it maps with what is there.
at::Tensor fit_orthogonal_of_sums(const at::Tensor& xy);

// projections.safetensors: "projection.<layer>", "projection.all". Reading throws Error for other names and shapes.
void save_projections(const Projections& projections, const fs::path& file);
Projections load_projections(const fs::path& file);

// Vectors [n, d_target] with the layer of each → rows [n, d_explainer]. Differentiable in the projections. A zero
// vector stays zero. Throws Error where widths disagree and there is no projection for the layer.
at::Tensor inject(const InjectionConfig& config, const Projections& projections, const at::Tensor& vectors,
                  const std::vector<int64_t>& layers, int64_t d_explainer, double embedding_norm);

// What stands in for the true vectors at test time, or in training: the floors.
enum class VectorCondition {
  real,
  zero,
  random,           // normal, with the norm of the true one
  shuffled,         // another example's
  shuffled_in_cell  // another example's of the same token type, block and relation
};
std::string condition_name(VectorCondition condition);
VectorCondition parse_condition(const std::string& name);

// One row an example, in their order: [examples, d_target]; undefined if none of them has a vector. Throws Error if
// only some have.
at::Tensor condition_vectors(const Dataset& dataset, const std::vector<const Example*>& examples,
                             VectorCondition condition, uint64_t seed);

}  // namespace introspect
