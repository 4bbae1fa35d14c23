// Projections that are known before training: maps from the residual stream of one model to that of another, by
// least squares, min |h_explainer - P h_target|^2 over general text (the paper's pre-trained projections), or
// orthogonal ones (Procrustes).
#pragma once

#include "base/json.h"
#include "explainer/injection.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <functional>
#include <vector>

namespace introspect {

struct PairedSettings {
  Json text;      // [[text]] tables of a pre-training recipe (train/corpus.h)
  fs::path base;  // their relative paths start here
  int64_t tokens = 40000;
  int64_t context = 128;
  double ridge = 1e-4;  // see fit_projection
  uint64_t seed = 1;
  ProjectionKind kind = ProjectionKind::least_squares;  // or procrustes; [train.explainer.injection] says which
};
Json paired_to_json(const PairedSettings& settings);
// From a recipe's [projection] table; unknown keys are an Error.
PairedSettings parse_paired(const Json& table, const std::string& label, const fs::path& base);

// What a map was made of, and how good it is.
struct ProjectionQuality {
  int64_t target_layer = 0, explainer_layer = 0;  // residual states leaving these layers: the same share of the depth
  int64_t pairs = 0, held_out_pairs = 0;          // fitted on, and held out: those of every eighth document
  int64_t unpaired = 0;                           // tokens of the target that have no partner
  double explained_variance = 0;                  // on the held-out pairs
};
Json quality_to_json(const ProjectionQuality& quality);
ProjectionQuality parse_quality(const Json& json, const std::string& label);

struct FittedProjection : ProjectionQuality {
  at::Tensor map;  // [d_explainer, d_target] float32
};

struct PairedModel {
  const Model& model;
  const Tokenizer& tokenizer;
};

// One map for each of `layers` of the target. A pair is a place in the text where a token of both ends; the first token
// of a document is left out, since its residual states are outliers. Passes of 2,048 tokens, and sums of
// d_target x (d_target + d_explainer) doubles a layer: no activation is kept, however long the text is. `progress`
// receives tokens done; `held_out`, if given, the held-out states of each pass: which of `layers` (sorted, each once),
// the target's [n, d_target] and the explainer's [n, d_explainer] in float64, and the number of each pair's document.
// Throws Error for a layer the target does not have, and fewer pairs than the target's width.
using HeldOutStates =
    std::function<void(size_t, const at::Tensor&, const at::Tensor&, const std::vector<int64_t>& documents)>;
std::vector<FittedProjection> fit_projections(const PairedModel& target, const PairedModel& explainer,
                                              const std::vector<int64_t>& layers, const PairedSettings& settings,
                                              const std::function<void(int64_t)>& progress,
                                              const HeldOutStates& held_out = {});

}  // namespace introspect
