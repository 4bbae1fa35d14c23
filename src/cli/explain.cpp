// introspect explain: what an explainer says of a feature, a vector, or the strongest latents of a text.
#include "base/error.h"
#include "base/safetensors.h"
#include "cli/commands.h"
#include "cli/explain_scores.h"
#include "explainer/describe_vectors.h"
#include "model/forward.h"
#include "sae/saved_sae.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  std::string explainer, target, sae, vector, text, compute = "fp32";
  ScoreSources scores;
  std::vector<std::string> features;
  int64_t token = -1, layer = -1, top = 0, template_index = 0, max_new_tokens = 24;
  bool json = false;
};

// What is asked about, one line of the answer each.
struct Asked {
  std::string name;  // "feature 4:17", "states[2]"
  int64_t layer = 0;
  at::Tensor vector;
  int64_t latent = -1;  // of a feature
  std::optional<double> activation;
  std::string token;  // on which it is taken or fires most
};

int64_t number(const std::string& text, const std::string& whole) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) {
    fail_usage("explain", fmt::format("--feature: got '{}', expected LAYER:LATENT, like 4:17", whole));
  }
  return std::stoll(text);
}

const Sae& sae_of(const std::vector<Sae>& saes, int64_t layer) {
  for (const Sae& sae : saes) {
    if (sae.place.layer == layer) return sae;
  }
  fail_usage("explain", fmt::format("no SAE of layer {} among those given", layer));
}

std::vector<Asked> named_features(const Options& options) {
  if (options.sae.empty()) fail_usage("explain", "--feature without --sae", "name the SAE's folder: --sae DIR");
  const std::vector<Sae> saes = load_saes(options.sae);
  std::vector<Asked> asked;
  for (const std::string& name : options.features) {
    const size_t colon = name.find(':');
    const int64_t layer = number(name.substr(0, colon), name);
    const int64_t latent = number(colon == std::string::npos ? "" : name.substr(colon + 1), name);
    const Sae& sae = sae_of(saes, layer);
    if (latent >= sae.latents()) {
      fail_usage("explain",
                 fmt::format("--feature {}: the SAE of layer {} has {} latents", name, layer, sae.latents()));
    }
    asked.push_back({"feature " + name, layer, sae.decoder[latent], latent, {}, ""});
  }
  return asked;
}

// FILE:TENSOR, a vector or rows of them.
std::vector<Asked> stored_vectors(const Options& options) {
  if (options.layer < 0) fail_usage("explain", "--vector without --layer", "say which layer the vector belongs to");
  const size_t colon = options.vector.rfind(':');
  if (colon == std::string::npos) {
    fail_usage("explain", fmt::format("--vector: got '{}', expected FILE.safetensors:TENSOR", options.vector));
  }
  const std::string name = options.vector.substr(colon + 1);
  at::Tensor rows = Safetensors(options.vector.substr(0, colon)).get(name).to(at::kFloat);
  if (rows.dim() == 1) rows = rows.unsqueeze(0);
  if (rows.dim() != 2)
    fail_usage("explain", fmt::format("tensor {}: {} dimensions, expected 1 or 2", name, rows.dim()));
  std::vector<Asked> asked;
  for (int64_t i = 0; i < rows.size(0); ++i) {
    asked.push_back({fmt::format("{}[{}]", name, i), options.layer, rows[i], -1, {}, ""});
  }
  return asked;
}

// A text that the target reads, and its states leaving some layers.
struct Reading {
  Tokenizer tokenizer;
  std::vector<int64_t> tokens;
  std::vector<at::Tensor> states;  // one a layer: [T, D]
};

Reading read_text_with(const Options& options, const std::vector<int64_t>& layers) {
  if (options.target.empty()) fail_usage("explain", "--text without --target", "name the model that reads the text");
  c10::NoGradGuard guard;
  const Model model = load_model(options.target);
  Reading reading{Tokenizer::open(options.target), {}, {}};
  reading.tokens = reading.tokenizer.encode(options.text);
  Taps taps;
  for (const int64_t layer : layers) taps.push_back(Tap::capture({PlaceKind::resid_post, layer}));
  ForwardOptions forward_options;
  forward_options.taps = &taps;
  forward_options.want_logits = false;
  forward(model, pack({reading.tokens}), forward_options);
  for (const Tap& tap : taps) reading.states.push_back(tap.captured.to(at::kFloat));
  return reading;
}

std::vector<Asked> state_of_text(const Options& options) {
  if (options.layer < 0) fail_usage("explain", "--text without --layer or --top");
  const Reading reading = read_text_with(options, {options.layer});
  const int64_t count = std::ssize(reading.tokens);
  const int64_t place = options.token < 0 ? count - 1 : options.token;
  if (place >= count) {
    fail_usage("explain", fmt::format("--token {}: the text has {} tokens, counted from 0", place, count));
  }
  return {{fmt::format("layer {}, token {}", options.layer, place),
           options.layer,
           reading.states[0][place],
           -1,
           {},
           reading.tokenizer.decode({reading.tokens[place]})}};
}

// The latents that fire most on the text, by their share of the input's length on their strongest token.
std::vector<Asked> strongest_latents(const Options& options) {
  if (options.sae.empty()) fail_usage("explain", "--top without --sae", "name the SAE's folder: --sae DIR");
  std::vector<Sae> saes = load_saes(options.sae);
  if (options.layer >= 0) std::erase_if(saes, [&](const Sae& sae) { return sae.place.layer != options.layer; });
  if (saes.empty()) fail_usage("explain", fmt::format("no SAE of layer {} among those given", options.layer));
  std::vector<int64_t> layers;
  for (const Sae& sae : saes) layers.push_back(sae.place.layer);
  const Reading reading = read_text_with(options, layers);
  struct Found {
    double share;
    size_t sae;
    int64_t latent, position;
    double activation;
  };
  std::vector<Found> found;
  for (size_t s = 0; s < saes.size(); ++s) {
    at::Tensor activations = encode(saes[s], reading.states[s]);
    for (int64_t t = 0; t < std::ssize(reading.tokens); ++t) {
      if (t == 0 || reading.tokenizer.is_special(reading.tokens[t])) activations[t].zero_();
    }
    const at::Tensor lengths = reading.states[s].norm(2, 1, true).clamp_min(1e-12);
    const auto [shares, places] = (activations * saes[s].decoder.norm(2, 1) / lengths).max(0);
    const auto [best, latents] = shares.topk(std::min<int64_t>(options.top, saes[s].latents()));
    for (int64_t i = 0; i < best.size(0); ++i) {
      if (best[i].item<double>() <= 0) break;
      const int64_t latent = latents[i].item<int64_t>(), position = places[latent].item<int64_t>();
      found.push_back({best[i].item<double>(), s, latent, position, activations[position][latent].item<double>()});
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.share > b.share; });
  if (std::ssize(found) > options.top) found.resize(static_cast<size_t>(options.top));
  std::vector<Asked> asked;
  for (const Found& each : found) {
    const Sae& sae = saes[each.sae];
    asked.push_back({fmt::format("feature {}:{}", sae.place.layer, each.latent), sae.place.layer,
                     sae.decoder[each.latent], each.latent, each.activation,
                     reading.tokenizer.decode({reading.tokens[each.position]})});
  }
  return asked;
}

Json scores_to_json(const DescriptionScores& scores) {
  const auto of = [](const FeatureScore& score) {
    return Json{{"value", std::isfinite(score.value) ? Json(score.value) : Json(nullptr)},
                {"outcome", score_outcome_name(score.outcome)},
                {"contexts", score.contexts}};
  };
  return {{"signed", of(scores.with_sign)}, {"published", of(scores.published)}};
}

void explain(const Options& options) {
  const int ways =
      (options.features.empty() ? 0 : 1) + (options.vector.empty() ? 0 : 1) + (options.text.empty() ? 0 : 1);
  if (ways != 1) fail_usage("explain", "give one of --feature, --vector and --text");
  Explainer explainer = open_explainer(options.explainer);
  explainer.ask_about("features");
  const std::vector<Asked> asked = !options.features.empty() ? named_features(options)
                                   : !options.vector.empty() ? stored_vectors(options)
                                   : options.top > 0         ? strongest_latents(options)
                                                             : state_of_text(options);
  if (asked.empty()) {
    std::fprintf(stderr, "no latent fires on the text\n");
    return;
  }
  std::vector<at::Tensor> vectors;
  std::vector<int64_t> layers;
  for (const Asked& each : asked) {
    vectors.push_back(each.vector);
    layers.push_back(each.layer);
  }
  AnswerOptions answer;
  answer.template_index = options.template_index;
  answer.max_new_tokens = options.max_new_tokens;
  answer.compute = options.compute;
  const std::vector<std::string> words = describe_vectors(explainer, at::stack(vectors), layers, answer);
  std::optional<ExplanationScorer> scorer;
  if (options.scores.wanted()) {
    ScoreSources sources = options.scores;
    sources.target = options.target;
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    sources.layers = layers;
    scorer.emplace(sources);
  }
  for (size_t i = 0; i < asked.size(); ++i) {
    const Asked& each = asked[i];
    std::optional<DescriptionScores> scores;
    if (scorer) {
      scores = each.latent >= 0 ? scorer->of_feature(each.layer, each.latent, words[i])
                                : scorer->of_vector(each.layer, each.vector, words[i]);
    }
    if (options.json) {
      Json line{{"name", each.name}, {"layer", each.layer}, {"description", words[i]}};
      if (each.activation) line["activation"] = *each.activation;
      if (!each.token.empty()) line["token"] = each.token;
      if (scores) line["scores"] = scores_to_json(*scores);
      std::printf("%s\n", line.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
      continue;
    }
    std::string where = each.token.empty() ? "" : fmt::format("  on '{}'", each.token);
    if (each.activation) where += fmt::format(" ({:.1f})", *each.activation);
    if (scores) where += "  " + score_words(scores);
    std::printf("%-18s %s%s\n", each.name.c_str(), words[i].c_str(), where.c_str());
  }
}

}  // namespace

void add_explain_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("explain", "Say what a feature, a vector, or a text's latents stand for");
  command->add_option("--explainer", options->explainer, "folder that 'introspect train' wrote for the task features")
      ->required();
  command->add_option("--feature", options->features, "LAYER:LATENT of the SAEs given, like 4:17; any number of them");
  command->add_option("--sae", options->sae, "a SAE's folder, or one with a SAE in each subfolder");
  command->add_option("--vector", options->vector, "FILE.safetensors:TENSOR, [width] or [n, width]; needs --layer");
  command->add_option("--text", options->text, "a text that --target reads: its state at --token after --layer, or");
  command->add_option("--top", options->top, "with --text and --sae: the so many latents that fire most on the text");
  command->add_option("--token", options->token, "counted from 0, BOS included (default: the last)");
  command->add_option("--layer", options->layer, "the state or vector leaves this layer; with --top: only its SAE");
  command->add_option("--target", options->target, "folder of the model that reads the text");
  command->add_option("--contexts", options->scores.contexts,
                      "a context store: the words on features are scored against what fires them");
  command->add_option("--score-text", options->scores.texts,
                      "text files: the words on other vectors are scored by their products with its states");
  command->add_option("--simulator", options->scores.simulator,
                      "a language model that simulates (default: the library of sentences, exactly)");
  command->add_option("--template", options->template_index, "which of the explainer's questions")
      ->capture_default_str();
  command->add_option("--max-new-tokens", options->max_new_tokens, "of an answer")->capture_default_str();
  command->add_option("--compute", options->compute, "fp32, bf16 or auto")->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object a line");
  command->footer(
      "Example: introspect explain --explainer runs/demo/features/explainers/self-trained-seed1 --sae\n"
      "models/tiny-llama-sae --target models/tiny-llama --text \"The capital of France is Paris.\" --top 5");
  command->callback([options] { explain(*options); });
}

}  // namespace introspect
