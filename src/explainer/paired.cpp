#include "explainer/paired.h"

#include "base/error.h"
#include "base/progress.h"
#include "model/forward.h"
#include "train/corpus.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Where the text ends behind each token, to its index; a token that ends inside a character has no place of its own.
std::map<size_t, int64_t> ends_of(const Encoding& encoding) {
  std::map<size_t, int64_t> ends;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    if (end > begin) ends[end] = static_cast<int64_t>(i);
  }
  return ends;
}

// Documents that both models run in one pass, and the rows of the two passes that belong together: for fitting, and
// held out.
struct Batch {
  std::vector<std::vector<int64_t>> target, explainer;
  int64_t target_rows = 0, explainer_rows = 0;
  struct Pairs {
    std::vector<int64_t> target, explainer, document;
  } pairs[2];

  void add(Encoding of_target, Encoding of_explainer, int64_t document, size_t context) {
    for (Encoding* each : {&of_target, &of_explainer}) {
      // re-encoded text may need a few tokens more
      each->ids.resize(std::min(each->ids.size(), context));
      each->offsets.resize(each->ids.size());
    }
    if (of_target.ids.empty() || of_explainer.ids.empty()) return;
    const std::map<size_t, int64_t> there = ends_of(of_explainer);
    Pairs& into = pairs[document % 8 == 7 ? 1 : 0];
    for (const auto& [end, row] : ends_of(of_target)) {
      const auto found = there.find(end);
      if (found == there.end() || row == 0 || found->second == 0) continue;
      into.target.push_back(target_rows + row);
      into.explainer.push_back(explainer_rows + found->second);
      into.document.push_back(document);
    }
    target_rows += std::ssize(of_target.ids);
    explainer_rows += std::ssize(of_explainer.ids);
    target.push_back(std::move(of_target.ids));
    explainer.push_back(std::move(of_explainer.ids));
  }
};

// Residual states leaving `layers`, each [rows, D].
std::vector<at::Tensor> residual_states(const Model& model, const std::vector<std::vector<int64_t>>& sequences,
                                        const std::vector<int64_t>& layers) {
  Taps taps;
  for (const int64_t layer : layers) taps.push_back(Tap::capture({PlaceKind::resid_post, layer}));
  ForwardOptions options;
  options.taps = &taps;
  options.want_logits = false;
  forward(model, pack(sequences), options);
  std::vector<at::Tensor> states;
  for (const Tap& tap : taps) states.push_back(tap.captured);
  return states;
}

at::Tensor rows_of(const at::Tensor& states, const std::vector<int64_t>& rows) {
  return states.index_select(0, at::tensor(rows, at::kLong).to(states.device())).to(at::kCPU, at::kDouble);
}

// What least squares and its error need to know of n pairs (x, y).
struct Moments {
  at::Tensor xx, xy, y;  // X'X [d_target, d_target], X'Y [d_target, d_explainer], sum of y [d_explainer]
  double yy = 0;         // sum of |y|^2
  int64_t pairs = 0;

  Moments(int64_t d_target, int64_t d_explainer)
      : xx(at::zeros({d_target, d_target}, at::kDouble)),
        xy(at::zeros({d_target, d_explainer}, at::kDouble)),
        y(at::zeros({d_explainer}, at::kDouble)) {}
  void add(const at::Tensor& target, const at::Tensor& explainer) {
    xx.addmm_(target.t(), target);
    xy.addmm_(target.t(), explainer);
    y.add_(explainer.sum(0));
    yy += explainer.pow(2).sum().item<double>();
    pairs += target.size(0);
  }
  // 1 - sum |y - P x|^2 / sum |y - mean y|^2 for a map P [d_explainer, d_target].
  double explained_variance(const at::Tensor& map) const {
    const at::Tensor p = map.to(at::kDouble);
    const double cross = (p.t() * xy).sum().item<double>();
    const double square = (at::mm(p, xx) * p).sum().item<double>();
    const double total = yy - y.pow(2).sum().item<double>() / static_cast<double>(pairs);
    return 1 - (yy - 2 * cross + square) / total;
  }
};

}  // namespace

Json quality_to_json(const ProjectionQuality& quality) {
  return {{"target_layer", quality.target_layer},
          {"explainer_layer", quality.explainer_layer},
          {"pairs", quality.pairs},
          {"held_out_pairs", quality.held_out_pairs},
          {"unpaired", quality.unpaired},
          {"explained_variance", quality.explained_variance}};
}

ProjectionQuality parse_quality(const Json& json, const std::string& label) {
  const auto count = [&](const char* key) { return json_get<int64_t>(json, key, label); };
  return {count("target_layer"),   count("explainer_layer"), count("pairs"),
          count("held_out_pairs"), count("unpaired"),        json_get<double>(json, "explained_variance", label)};
}

Json paired_to_json(const PairedSettings& settings) {
  Json json{{"text", settings.text},
            {"tokens", settings.tokens},
            {"context", settings.context},
            {"ridge", settings.ridge},
            {"seed", settings.seed}};
  if (settings.kind != ProjectionKind::least_squares) json["kind"] = projection_name(settings.kind);
  return json;
}

PairedSettings parse_paired(const Json& table, const std::string& label, const fs::path& base) {
  PairedSettings settings;
  const Json known = paired_to_json(settings);
  for (const auto& [key, value] : table.items()) {
    if (!known.contains(key)) fail_usage("recipe", fmt::format("unknown key 'projection.{}' ({})", key, label));
  }
  settings.text = table.contains("text") ? table.at("text") : Json::array();
  check_text_tables(settings.text, label);
  settings.base = base;
  settings.tokens = json_get_or<int64_t>(table, "tokens", settings.tokens, label);
  settings.context = json_get_or<int64_t>(table, "context", settings.context, label);
  settings.ridge = json_get_or<double>(table, "ridge", settings.ridge, label);
  settings.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  if (settings.tokens < 1 || settings.context < 2 || !(settings.ridge > 0) || !std::isfinite(settings.ridge)) {
    fail_usage("recipe",
               fmt::format("projection: expected tokens above 0, context above 1, ridge above 0 ({})", label));
  }
  return settings;
}

std::vector<FittedProjection> fit_projections(const PairedModel& target, const PairedModel& explainer,
                                              const std::vector<int64_t>& layers, const PairedSettings& settings,
                                              const std::function<void(int64_t)>& progress,
                                              const HeldOutStates& visit) {
  const ModelConfig &from = target.model.config, &to = explainer.model.config;
  const std::set<int64_t> distinct(layers.begin(), layers.end());
  std::vector<FittedProjection> fitted;
  std::vector<int64_t> target_layers, explainer_layers;
  std::vector<Moments> train, held_out;
  for (const int64_t layer : distinct) {
    if (layer < 0 || layer >= from.layers) {
      fail_usage("project", fmt::format("layer: got {}, expected 0 to {}", layer, from.layers - 1));
    }
    const int64_t there =
        std::clamp<int64_t>(((layer + 1) * to.layers + from.layers / 2) / from.layers - 1, 0, to.layers - 1);
    fitted.push_back({{layer, there}, {}});
    target_layers.push_back(layer);
    explainer_layers.push_back(there);
    train.emplace_back(from.d_model, to.d_model);
    held_out.emplace_back(from.d_model, to.d_model);
  }

  c10::NoGradGuard guard;
  const int64_t context = std::min({settings.context, from.max_positions, to.max_positions});
  Mixture mixture(settings.text, target.tokenizer, context, settings.base, settings.seed);
  int64_t done = 0, number = 0, run = 0;  // tokens drawn, documents, tokens that the target ran
  while (done < settings.tokens) {
    check_interrupt("project");
    Batch batch;
    for (const Document& document : mixture.next(std::min<int64_t>(2048, settings.tokens - done))) {
      done += std::ssize(document.tokens);
      const std::string text = target.tokenizer.decode(document.tokens, /*skip_special_tokens=*/true);
      batch.add(target.tokenizer.encode_with_offsets(text), explainer.tokenizer.encode_with_offsets(text), number++,
                static_cast<size_t>(context));
    }
    progress(std::min(done, settings.tokens));
    run += batch.target_rows;
    if (batch.target.empty()) continue;
    const auto x = residual_states(target.model, batch.target, target_layers);
    const auto y = residual_states(explainer.model, batch.explainer, explainer_layers);
    for (size_t i = 0; i < fitted.size(); ++i) {
      train[i].add(rows_of(x[i], batch.pairs[0].target), rows_of(y[i], batch.pairs[0].explainer));
      const at::Tensor of_target = rows_of(x[i], batch.pairs[1].target),
                       of_explainer = rows_of(y[i], batch.pairs[1].explainer);
      held_out[i].add(of_target, of_explainer);
      if (visit) visit(i, of_target, of_explainer, batch.pairs[1].document);
    }
  }
  for (size_t i = 0; i < fitted.size(); ++i) {
    fitted[i].pairs = train[i].pairs;
    fitted[i].held_out_pairs = held_out[i].pairs;
    fitted[i].unpaired = run - train[i].pairs - held_out[i].pairs;
    if (train[i].pairs < from.d_model || held_out[i].pairs < 2) {
      fail("project", fmt::format("got {} pairs of activations, expected at least {}", train[i].pairs, from.d_model),
           "give more text, or more tokens");
    }
    fitted[i].map = settings.kind == ProjectionKind::procrustes
                        ? fit_orthogonal_of_sums(train[i].xy)
                        : fit_projection_of_sums(train[i].xx, train[i].xy, settings.ridge);
    fitted[i].explained_variance = held_out[i].explained_variance(fitted[i].map);
    if (!std::isfinite(fitted[i].explained_variance)) {
      fail("project", fmt::format("the map of layer {} is not a number", fitted[i].target_layer));
    }
  }
  return fitted;
}

}  // namespace introspect
