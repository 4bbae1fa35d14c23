#include "experiment/feature_steps.h"

#include "base/error.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "base/safetensors.h"
#include "feature/collect_contexts.h"
#include "feature/context_store.h"
#include "feature/describe.h"
#include "feature/directions.h"
#include "feature/marked_text.h"
#include "feature/state_vectors.h"
#include "feature/symbolic_simulator.h"
#include "feature/text_pieces.h"
#include "sae/quality.h"
#include "sae/saved_sae.h"
#include "sae/states.h"
#include "train/corpus.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr int kLibraryVersion = 2;  // of the sentences and the search: others are other work

Json contexts_to_json(const FeatureSettings& settings) {
  const ContextSettings& s = settings.contexts;
  return {{"tokens", settings.tokens},
          {"text", settings.text},
          {"length", s.length},
          {"top", s.top},
          {"quantiles", s.quantiles},
          {"per_quantile", s.per_quantile},
          {"random", s.random},
          {"near_miss", s.near_miss},
          {"seed", s.seed}};
}

std::vector<RunInput> contexts_inputs(const Recipe& recipe) {
  std::vector<RunInput> inputs{{"target", recipe.target}, {"saes", recipe.features.saes}};
  for (RunInput& input : text_inputs(recipe.features.text, recipe.path.parent_path()))
    inputs.push_back(std::move(input));
  return inputs;
}

// The SAEs of the recipe, checked against the target.
std::vector<Sae> checked_saes(const Recipe& recipe, const ModelConfig& config, std::vector<std::string>& doubts) {
  std::vector<Sae> saes = load_saes(recipe.features.saes);
  for (const Sae& sae : saes) {
    for (std::string& doubt : check_sae(sae, config, recipe.target)) doubts.push_back(std::move(doubt));
  }
  return saes;
}

// How well each SAE reconstructs a sample of the text; what cannot be right stops the run.
Json sae_reports(const Recipe& recipe, const Model& model, const Tokenizer& tokenizer, const std::vector<Sae>& saes) {
  // tokens, each in three forward passes: a share of those that the contexts are looked for in
  const int64_t sample =
      recipe.features.tokens > 0 ? std::clamp<int64_t>(recipe.features.tokens / 10, 2000, 20000) : 20000;
  Mixture mixture(recipe.features.text, tokenizer, 128, recipe.path.parent_path(), 17);
  std::vector<std::vector<int64_t>> documents;
  int64_t tokens = 0;
  for (Document& document : mixture.next(sample)) {
    tokens += std::ssize(document.tokens);
    documents.push_back(std::move(document.tokens));
  }
  const std::vector<int64_t> special = special_tokens(tokenizer);
  Json reports = Json::array();
  Progress progress("measure SAEs", tokens * std::ssize(saes), "token");
  for (const Sae& sae : saes) {
    const SaeMeasured measured = measure_sae(model, sae, documents, special, [&](int64_t more) {
      progress.advance(more);
      check_interrupt("features");
    });
    const SaeReport report = measured.report();
    if (const std::string why = absurd(report, sae); !why.empty()) {
      fail("features", fmt::format("the SAE of layer {} does not fit the target: {}", sae.place.layer, why),
           "look at it with 'introspect sae info'");
    }
    Json json = report_to_json(report);
    json["layer"] = sae.place.layer;
    json["latents"] = sae.latents();
    json["kind"] = sae_kind_name(sae.kind);
    reports.push_back(json);
  }
  progress.finish();
  return reports;
}

std::shared_ptr<const DescriptionLibrary> library_of(const Recipe& recipe) {
  return std::make_shared<DescriptionLibrary>(Tokenizer::open(recipe.target), WordNet::open(WordNet::default_folder),
                                              read_facts(recipe.features.facts));
}

ContextSource source_of(const ContextStore& store, int64_t latents) {
  ContextSource source;
  for (const int64_t layer : store.layers()) {
    const int64_t all = store.latents(layer);
    source.latents_of_layers.emplace_back(layer, latents > 0 ? std::min(latents, all) : all);
  }
  source.contexts = [store](int64_t layer, int64_t latent) { return store.contexts(layer, latent); };
  return source;
}

// Whole states and differences, with their contexts and the descriptions that fit them best.
std::vector<OtherDirection> other_directions(const Recipe& recipe, const ContextStore& store,
                                             const std::shared_ptr<const DescriptionLibrary>& library) {
  const FeatureDatasetSettings& settings = recipe.features.dataset;
  std::vector<OtherDirection> others;
  if (settings.states == 0 && settings.differences == 0) return others;
  const Model model = load_model(recipe.target);
  const Tokenizer tokenizer = Tokenizer::open(recipe.target);
  const std::vector<int64_t> layers = store.layers();
  const PoolStates pool(model, tokenizer, pool_of_pieces(recipe, tokenizer, 400, 77), layers);
  LibrarySearch search(library, {});
  const auto add = [&](const std::string& kind, const std::vector<StateVector>& vectors) {
    for (const int64_t layer : layers) {
      std::vector<const StateVector*> own;
      std::vector<at::Tensor> rows;
      for (const StateVector& each : vectors) {
        if (each.layer != layer) continue;
        own.push_back(&each);
        rows.push_back(each.vector);
      }
      if (own.empty()) continue;
      std::vector<FeatureContexts> contexts = contexts_of_directions(pool, layer, at::stack(rows));
      for (size_t i = 0; i < own.size(); ++i) {
        // activations below 0 count as 0, as in the published score: descriptions say where, not where not
        contexts[i].activations = contexts[i].activations.clamp_min(0);
        DescribedFeature described{layer, -1, search.describe(contexts[i])};
        others.push_back({kind, own[i]->from, own[i]->vector, std::move(contexts[i]), std::move(described)});
      }
    }
  };
  add("ACT", random_states(model, tokenizer, pool.tokens(), layers, settings.states, settings.seed));
  add("ΔACT", state_differences(model, tokenizer, read_facts(recipe.features.facts), layers, settings.differences,
                                settings.seed));
  return others;
}

// The piece around its strongest token; tokens that fire clearly are marked.
std::string marked_piece(const Tokenizer& tokenizer, const at::Tensor& tokens, const at::Tensor& activations) {
  constexpr int64_t kBefore = 12, kAfter = 6;
  constexpr double kClearly = 0.3;  // of the strongest
  const auto strongest = activations.argmax().item<int64_t>();
  const int64_t begin = std::max<int64_t>(1, strongest - kBefore),
                end = std::min(tokens.numel(), strongest + kAfter + 1);
  const double maximum = activations.max().item<double>();
  const at::Tensor clear = at::where(activations > kClearly * maximum, activations, at::zeros_like(activations));
  return marked_text(tokenizer, tokens.slice(0, begin, end).contiguous(), clear.slice(0, begin, end).contiguous(),
                     maximum, Marks::guillemets);
}

// What a reader sees of a test feature: the three pieces that fire it most, a line each.
void add_exemplars(Dataset& dataset, const Tokenizer& tokenizer,
                   const std::vector<std::pair<std::string, at::Tensor>>& contexts) {
  constexpr int64_t kShown = 3;
  const at::Tensor &tokens = contexts[0].second, &activations = contexts[1].second;
  for (Example& example : dataset.examples) {
    const auto found = example.attributes.find("contexts");
    if (found == example.attributes.end()) continue;
    const int64_t row = std::stoll(found->second);
    std::vector<std::string> lines;
    for (int64_t c = 0; c < std::min(kShown, tokens.size(1)); ++c) {
      lines.push_back(marked_piece(tokenizer, tokens[row][c].contiguous(), activations[row][c].contiguous()));
    }
    example.attributes["exemplars"] = fmt::format("{}", fmt::join(lines, "\n"));
  }
}

}  // namespace

at::Tensor pool_of_pieces(const Recipe& recipe, const Tokenizer& tokenizer, int64_t count, uint64_t seed) {
  const int64_t length = recipe.features.contexts.length;
  const auto pieces = mixture_pieces(recipe.features.text, tokenizer, length, 256, recipe.path.parent_path(), seed);
  const at::Tensor pool = at::full({count, length}, -1, at::kInt);
  for (int64_t i = 0; i < count; ++i) {
    const std::optional<Piece> piece = pieces->next();
    if (!piece) return pool.slice(0, 0, i);
    std::copy(piece->tokens.begin(), piece->tokens.end(), pool.data_ptr<int>() + i * length);
  }
  return pool;
}

void contexts_step(const Recipe& recipe, const fs::path& folder) {
  RunRecord record(folder, "contexts", contexts_to_json(recipe.features), contexts_inputs(recipe));
  if (record.state() == StepState::complete) return;
  const Model model = load_model(recipe.target);
  const Tokenizer tokenizer = Tokenizer::open(recipe.target);
  std::vector<std::string> doubts;
  const std::vector<Sae> saes = checked_saes(recipe, model.config, doubts);
  const Json reports = sae_reports(recipe, model, tokenizer, saes);
  const auto pieces = mixture_pieces(recipe.features.text, tokenizer, recipe.features.contexts.length, 256,
                                     recipe.path.parent_path(), recipe.features.contexts.seed);
  CollectSettings settings;
  settings.contexts = recipe.features.contexts;
  settings.tokens = recipe.features.tokens;
  const CollectResult result =
      collect_contexts(model, tokenizer, saes, *pieces, settings, {{"target", recipe.target_name}}, folder);
  record.add("saes", reports);
  record.add("doubts", doubts);
  record.add("pieces", result.pieces);
  record.add("positions", result.positions);
  record.complete();
}

void describe_step(const Recipe& recipe, const fs::path& contexts, const fs::path& folder) {
  const DescribeSettings settings{{}, recipe.features.dataset.min_score};
  RunRecord record(
      folder, "describe library",
      {{"min_score", settings.min_score}, {"latents", recipe.features.latents}, {"library", kLibraryVersion}},
      {{"contexts", contexts}, {"facts", recipe.features.facts}});
  if (record.state() == StepState::complete) return;
  const ContextStore store = ContextStore::open(contexts);
  Progress progress("describe", 0, "features");
  const DescribedFeatures found = describe_features(source_of(store, recipe.features.latents), library_of(recipe),
                                                    settings, [&](int64_t done, int64_t) { progress.set(done); });
  progress.finish();
  std::vector<DescribedFeature> all = found.described;
  all.insert(all.end(), found.undescribed.begin(), found.undescribed.end());
  save_descriptions(all, folder / "descriptions.jsonl");
  record.add("summary", summarize(found, settings.min_score));
  record.complete();
}

fs::path descriptions_file(const Recipe& recipe, const fs::path& out) {
  const fs::path& own = recipe.features.descriptions;
  const fs::path path = own.empty() ? out / "descriptions" : own;
  return fs::is_directory(path) ? path / "descriptions.jsonl" : path;
}

void feature_dataset_step(const Recipe& recipe, const fs::path& out) {
  const fs::path contexts = out / "contexts", folder = out / "dataset";
  contexts_step(recipe, contexts);
  const bool own = !recipe.features.descriptions.empty();
  if (!own) describe_step(recipe, contexts, out / "descriptions");
  const fs::path descriptions = descriptions_file(recipe, out);

  RunRecord record(folder, "dataset features", feature_dataset_to_json(recipe.features.dataset),
                   {{"contexts", contexts},
                    {"descriptions", descriptions},
                    {"target", recipe.target},
                    {"saes", recipe.features.saes}});
  if (record.state() == StepState::complete) return;
  const ContextStore store = ContextStore::open(contexts);
  FeatureSource source;
  for (const Sae& sae : load_saes(recipe.features.saes)) source.directions[sae.place.layer] = sae.decoder;
  source.contexts = [&](int64_t layer, int64_t latent) { return store.contexts(layer, latent); };
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  Dataset dataset =
      make_feature_dataset(load_descriptions(descriptions), source, other_directions(recipe, store, library_of(recipe)),
                           recipe.features.dataset, tensors);
  add_exemplars(dataset, Tokenizer::open(recipe.target), tensors);
  const Json made = read_json(contexts / "run.json").at("results");
  dataset.info["target"] = recipe.target_name;
  dataset.info["saes"] = made.at("saes");
  dataset.info["doubts"] = made.at("doubts");
  dataset.info["positions"] = made.at("positions");
  if (!own) dataset.info["descriptions"] = read_json(out / "descriptions" / "run.json").at("results").at("summary");
  save_dataset(dataset, folder);
  write_safetensors(folder / "contexts.safetensors", tensors);
  record.add("features", dataset.info.at("features"));
  record.complete();
}

std::unique_ptr<FeatureScorer> feature_scorer(const Recipe& recipe, const Dataset& dataset, const fs::path& folder) {
  return std::make_unique<FeatureScorer>(dataset, folder, std::make_shared<SymbolicSimulator>(library_of(recipe)));
}

}  // namespace introspect
