#include "feature/state_vectors.h"

#include "base/error.h"
#include "base/random.h"
#include "model/forward.h"
#include "procedure/pairs.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

namespace introspect {

namespace {

// The state of one position leaving a layer.
at::Tensor state_at(const Model& model, const std::vector<int64_t>& tokens, int64_t position, int64_t layer) {
  c10::NoGradGuard guard;
  Taps taps{Tap::capture({PlaceKind::resid_post, layer}, at::tensor({position}, at::kLong))};
  ForwardOptions options;
  options.taps = &taps;
  options.last_layer = layer + 1;
  options.want_logits = false;
  forward(model, pack({tokens}), options);
  return taps[0].captured[0].to(at::kFloat).clone();
}

std::vector<int64_t> tokens_of(const at::Tensor& piece) {
  std::vector<int64_t> tokens;
  const at::Tensor row = piece.to(at::kInt).contiguous();
  for (int64_t i = 0; i < row.numel() && row.data_ptr<int>()[i] >= 0; ++i) tokens.push_back(row.data_ptr<int>()[i]);
  return tokens;
}

// The text up to the token, and the token marked.
std::string marked(const Tokenizer& tokenizer, const std::vector<int64_t>& tokens, int64_t position) {
  const std::vector<int64_t> before(tokens.begin(), tokens.begin() + position);
  return tokenizer.decode(before, true) + "«" + tokenizer.decode({tokens[position]}) + "»";
}

std::string with_subject(const std::string& template_text, const std::string& subject) {
  std::string text = template_text;
  const size_t place = text.find("{subject}");
  return place == std::string::npos ? text : text.replace(place, 9, subject);
}

}  // namespace

std::vector<StateVector> random_states(const Model& model, const Tokenizer& tokenizer, const at::Tensor& pieces,
                                       const std::vector<int64_t>& layers, int64_t count, uint64_t seed) {
  std::vector<StateVector> states;
  if (count <= 0) return states;
  if (layers.empty() || pieces.dim() != 2 || pieces.size(0) == 0)
    fail("features", "no pieces of text to take states of");
  Random random(seed, "whole states");
  // a piece of special tokens alone has no place to take; give up when that happens too often
  for (int64_t tries = 0; std::ssize(states) < count && tries < 100 * count; ++tries) {
    const auto piece = static_cast<int64_t>(random.below(static_cast<uint64_t>(pieces.size(0))));
    const std::vector<int64_t> tokens = tokens_of(pieces[piece]);
    if (tokens.size() < 2) continue;
    const auto position = static_cast<int64_t>(1 + random.below(tokens.size() - 1));
    if (tokenizer.is_special(tokens[position])) continue;
    const int64_t layer = layers[states.size() % layers.size()];
    states.push_back({layer, state_at(model, tokens, position, layer), marked(tokenizer, tokens, position),
                      tokenizer.decode({tokens[position]}), piece});
  }
  return states;
}

std::vector<StateVector> state_differences(const Model& model, const Tokenizer& tokenizer, const FactTable& facts,
                                           const std::vector<int64_t>& layers, int64_t count, uint64_t seed) {
  std::vector<StateVector> differences;
  if (count <= 0) return differences;
  PairSettings settings;
  settings.pairs_per_subject = 1;
  settings.max_pairs = count;
  DropReport dropped;
  for (const FactPair& pair : make_pairs(facts, settings, seed, dropped)) {
    const std::string text = with_subject(pair.template_text, pair.fact.subject);
    const std::string other = with_subject(pair.template_text, pair.counterfactual.subject);
    const std::vector<int64_t> tokens = tokenizer.encode(text), other_tokens = tokenizer.encode(other);
    const int64_t layer = layers.at(differences.size() % layers.size());
    const at::Tensor vector = state_at(model, tokens, std::ssize(tokens) - 1, layer) -
                              state_at(model, other_tokens, std::ssize(other_tokens) - 1, layer);
    differences.push_back({layer, vector, text + " − " + other, "", -1});
  }
  return differences;
}

}  // namespace introspect
