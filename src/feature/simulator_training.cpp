#include "feature/simulator_training.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/random.h"
#include "model/forward.h"
#include "model/kernels.h"
#include "train/rate.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr int64_t kTokensPerPass = 2048;
const std::string kWrong = "wrong";

// A description, a text, and what the feature does on it.
struct Piece {
  std::vector<int64_t> tokens;  // prompt and text
  std::vector<int64_t> rows;    // positions that count
  std::vector<int64_t> classes;
};

// Ids of row `index` without what lies behind the end.
std::vector<int64_t> row_of(const FeatureContexts& contexts, int64_t index) {
  const at::Tensor row = contexts.tokens[index].to(at::kLong).contiguous();
  const int64_t* id = row.data_ptr<int64_t>();
  return {id, std::find_if(id, id + row.numel(), [](int64_t each) { return each < 0; })};
}

std::vector<float> values_of(const FeatureContexts& contexts, int64_t index) {
  const at::Tensor row = contexts.activations[index].to(at::kFloat).contiguous();
  const float* value = row.data_ptr<float>();
  return {value, value + row.numel()};
}

double highest(const FeatureContexts& contexts) {
  return contexts.activations.numel() == 0 ? 0 : contexts.activations.max().item<double>();
}

// Row of `contexts` with these tokens, or -1.
int64_t find_piece(const FeatureContexts& contexts, const std::vector<int64_t>& tokens) {
  for (int64_t i = 0; i < contexts.tokens.size(0); ++i) {
    if (row_of(contexts, i) == tokens) return i;
  }
  return -1;
}

Piece make_piece(const LanguageSimulator& simulator, const std::string& description, const std::vector<int64_t>& tokens,
                 const std::vector<float>& activations, double maximum) {
  Piece piece;
  piece.tokens = simulator.prompt_ids(description);
  const RetokenisedText text = simulator.text_ids(tokens);
  for (size_t i = 0; i < text.ids.size(); ++i) {
    const auto [begin, end] = text.overlaps[i];
    if (end > 1) {  // not the first token, for which no activation is kept
      double value = 0;
      for (int64_t t = begin; t < end; ++t) value = std::max<double>(value, activations[static_cast<size_t>(t)]);
      const double scaled = std::round((kSimulatorClasses - 1) * value / maximum);
      piece.rows.push_back(std::ssize(piece.tokens));
      piece.classes.push_back(std::clamp<int64_t>(static_cast<int64_t>(scaled), 0, kSimulatorClasses - 1));
    }
    piece.tokens.push_back(text.ids[i]);
  }
  return piece;
}

// What training draws its pieces from.
struct Source {
  const LanguageSimulator& simulator;
  const std::vector<WordedFeature>& features;
  const ContextReader& contexts;
  const SimulatorTraining& training;
  std::map<int64_t, std::vector<size_t>> by_layer = {};

  // The kind of piece by its share among those that there are; rows of each.
  Piece draw(Random& random) const {
    const size_t index = random.below(features.size());
    const WordedFeature& feature = features[index];
    const FeatureContexts own = contexts(feature.layer, feature.latent);
    const std::string& description = feature.descriptions[random.below(feature.descriptions.size())];
    std::map<std::string, std::vector<int64_t>> rows;
    for (int64_t i = 0; i < std::ssize(own.kinds); ++i) {
      rows[context_kind_name(own.kinds[static_cast<size_t>(i)])].push_back(i);
    }
    const std::vector<size_t>& layer = by_layer.at(feature.layer);
    std::vector<std::string> names;
    std::vector<double> weights;
    for (const auto& [name, share] : training.shares) {
      if (share <= 0 || (name == kWrong ? layer.size() < 2 : !rows.contains(name))) continue;
      names.push_back(name);
      weights.push_back(share);
    }
    if (names.empty()) fail("simulator", "a feature has no contexts of the kinds that are to be learnt");
    const std::string& kind = names[random.weighted(weights)];
    if (kind != kWrong) {
      const int64_t row = rows[kind][random.below(rows[kind].size())];
      return make_piece(simulator, description, row_of(own, row), values_of(own, row), highest(own));
    }
    size_t other = layer[random.below(layer.size() - 1)];
    if (other == index) other = layer.back();
    const FeatureContexts theirs = contexts(features[other].layer, features[other].latent);
    std::vector<int64_t> firing;
    for (int64_t i = 0; i < theirs.tokens.size(0); ++i) {
      if (theirs.activations[i].max().item<float>() > 0) firing.push_back(i);
    }
    const std::vector<int64_t> tokens = row_of(theirs, firing[random.below(firing.size())]);
    const int64_t known = find_piece(own, tokens);
    return make_piece(simulator, description, tokens,
                      known >= 0 ? values_of(own, known) : std::vector<float>(tokens.size(), 0.0f), highest(own));
  }
};

// Adds the gradients of this process's share of a step and returns its part of the loss: the weighted mean over the
// text's tokens of all pieces.
double learn(const LanguageSimulator& simulator, const std::vector<Piece>& all, double zero_weight) {
  const auto weight_of = [&](int64_t value) { return value == 0 ? zero_weight : 1.0; };
  double total = 0, loss = 0;
  for (const Piece& piece : all) {
    for (const int64_t value : piece.classes) total += weight_of(value);
  }
  const std::vector<Piece> pieces = share_of(all);
  for (size_t first = 0, last = 0; first < pieces.size(); first = last) {
    std::vector<std::vector<int64_t>> sequences;
    std::vector<int64_t> rows, classes;
    std::vector<float> weights;
    int64_t size = 0;
    for (; last < pieces.size() && (last == first || size + std::ssize(pieces[last].tokens) <= kTokensPerPass);
         ++last) {
      const Piece& piece = pieces[last];
      for (size_t i = 0; i < piece.rows.size(); ++i) {
        rows.push_back(size + piece.rows[i]);
        classes.push_back(piece.classes[i]);
        weights.push_back(static_cast<float>(weight_of(piece.classes[i]) / total));
      }
      sequences.push_back(piece.tokens);
      size += std::ssize(piece.tokens);
    }
    ForwardOptions options;
    options.want_logits = false;
    options.compute = simulator.compute;
    const at::Tensor residual = forward(simulator.model, pack(sequences), options).residual;
    const at::Tensor logits = simulator.class_logits(residual.index_select(0, at::tensor(rows, at::kLong)));
    at::Tensor part = weighted_cross_entropy(logits, at::tensor(classes, at::kLong), at::tensor(weights, at::kFloat));
    part.backward();
    loss += part.item<double>();
  }
  return loss;
}

Json summary_to_json(const ScoreSummary& summary) {
  Json outcomes = Json::object();
  for (size_t i = 0; i < kScoreOutcomes; ++i) {
    if (summary.outcomes[i] > 0) outcomes[score_outcome_name(static_cast<ScoreOutcome>(i))] = summary.outcomes[i];
  }
  return {{"features", summary.features},
          {"counted", summary.counted},
          {"mean", summary.mean},
          {"standard_error", summary.standard_error},
          {"outcomes", outcomes}};
}

ScoreSummary parse_summary(const Json& json, const std::string& label) {
  ScoreSummary summary;
  summary.features = json_get<int64_t>(json, "features", label);
  summary.counted = json_get<int64_t>(json, "counted", label);
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  summary.mean = json_get_or<double>(json, "mean", none, label);
  summary.standard_error = json_get_or<double>(json, "standard_error", none, label);
  for (size_t i = 0; i < kScoreOutcomes; ++i) {
    summary.outcomes[i] =
        json_get_or<int64_t>(json.at("outcomes"), score_outcome_name(static_cast<ScoreOutcome>(i)), 0, label);
  }
  return summary;
}

// For each feature the description of another one, all in a circle of random order.
std::vector<std::string> shuffled_descriptions(const std::vector<WordedFeature>& features, uint64_t seed) {
  std::vector<size_t> circle(features.size());
  for (size_t i = 0; i < circle.size(); ++i) circle[i] = i;
  Random random(seed, "shuffled descriptions");
  random.shuffle(circle);
  std::vector<std::string> shuffled(features.size());
  for (size_t i = 0; i < circle.size(); ++i) {
    const std::string& own = features[circle[i]].descriptions.front();
    // the next in the circle that reads otherwise; empty, a score of 0, if all read the same
    for (size_t step = 1; step < circle.size() && shuffled[circle[i]].empty(); ++step) {
      const std::string& other = features[circle[(i + step) % circle.size()]].descriptions.front();
      if (other != own) shuffled[circle[i]] = other;
    }
  }
  return shuffled;
}

}  // namespace

Json simulator_training_to_json(const SimulatorTraining& t) {
  return {{"seed", t.seed},
          {"batch", t.batch},
          {"fine_tuning", fine_tuning_to_json(t.fine_tuning)},
          {"compute", t.compute},
          {"dtype", t.dtype},
          {"zero_weight", t.zero_weight},
          {"shares", t.shares},
          {"pieces_of_each_kind", t.pieces_of_each_kind}};
}

void check_simulator_training(const SimulatorTraining& t) {
  check_fine_tuning(t.fine_tuning);
  for (const auto& [name, value] : {std::pair{"batch", t.batch}, {"pieces_of_each_kind", t.pieces_of_each_kind}}) {
    if (value < 1) fail_usage("simulator", fmt::format("{}: got {}, expected at least 1", name, value));
  }
  if (!(t.zero_weight > 0 && t.zero_weight <= 1)) {
    fail_usage("simulator", fmt::format("zero_weight: got {}, expected above 0 and at most 1", t.zero_weight));
  }
  if (t.dtype != "fp32" && t.dtype != "bf16") {
    fail_usage("simulator", fmt::format("dtype: got '{}', expected fp32 or bf16", t.dtype));
  }
  static const std::set<std::string> kinds = {"top", "quantile", "random", "near miss", kWrong};
  double sum = 0;
  for (const auto& [name, share] : t.shares) {
    if (!kinds.contains(name) || !(share >= 0)) {
      fail_usage("simulator",
                 fmt::format("shares: got '{}' {}, expected top, quantile, random, near miss or wrong, and "
                             "at least 0",
                             name, share));
    }
    sum += share;
  }
  if (!(sum > 0)) fail_usage("simulator", "shares: all are 0");
}

Json quality_to_json(const SimulatorQuality& quality) {
  return {{"published", summary_to_json(quality.published)},
          {"signed", summary_to_json(quality.with_sign)},
          {"published_shuffled", summary_to_json(quality.published_shuffled)},
          {"signed_shuffled", summary_to_json(quality.with_sign_shuffled)}};
}

SimulatorQuality parse_simulator_quality(const Json& json, const std::string& label) {
  for (const char* name : {"published", "signed", "published_shuffled", "signed_shuffled"}) {
    if (!json.is_object() || !json.contains(name) || !json.at(name).contains("outcomes")) {
      fail("simulator", fmt::format("no quality '{}' ({})", name, label));
    }
  }
  return {parse_summary(json.at("published"), label), parse_summary(json.at("signed"), label),
          parse_summary(json.at("published_shuffled"), label), parse_summary(json.at("signed_shuffled"), label)};
}

SimulatorQuality measure_simulator(const Simulator& simulator, const std::vector<WordedFeature>& features,
                                   const ContextReader& contexts, int64_t pieces_of_each_kind, uint64_t seed,
                                   const std::function<void(size_t index)>& measured) {
  std::vector<FeatureScore> scores[4];
  const std::vector<std::string> shuffled = shuffled_descriptions(features, seed);
  for (size_t i = 0; i < features.size(); ++i) {
    const WordedFeature& feature = features[i];
    const FeatureContexts few = first_of_each_kind(contexts(feature.layer, feature.latent), pieces_of_each_kind);
    const DescriptionScores own = score_description(feature.descriptions.front(), few, simulator);
    const DescriptionScores other = score_description(shuffled[i], few, simulator);
    scores[0].push_back(own.published);
    scores[1].push_back(own.with_sign);
    scores[2].push_back(other.published);
    scores[3].push_back(other.with_sign);
    if (measured) measured(i);
  }
  return {summarise(scores[0]), summarise(scores[1]), summarise(scores[2]), summarise(scores[3])};
}

TrainedSimulator train_simulator(const fs::path& base_model, const Tokenizer* target, const FeatureSplit& split,
                                 const ContextReader& contexts, const SimulatorTraining& training,
                                 std::vector<RunInput> inputs, const fs::path& folder,
                                 const std::function<void(const FineTuningProgress&)>& report) {
  check_simulator_training(training);
  inputs.insert(inputs.begin(), {"base_model", base_model});
  RunRecord record(folder, "simulator train", simulator_training_to_json(training), inputs);
  TrainedSimulator result;
  if (record.state() == StepState::complete) {
    const std::string label = (folder / "run.json").string();
    const Json made = record.result("result");
    result.was_complete = true;
    result.steps = json_get<int64_t>(made, "steps", label);
    result.best_step = json_get<int64_t>(made, "best_step", label);
    result.validation = json_get<double>(made, "validation", label);
    result.held_out = parse_simulator_quality(made.at("held_out"), label);
    return result;
  }

  LanguageSimulator simulator(load_model(base_model), Tokenizer::open(base_model), SimulatorLayout{});
  if (target) simulator.set_target(*target);
  simulator.compute = choose_compute(training.compute);
  Source source{simulator, split.train, contexts, training};
  for (size_t i = 0; i < split.train.size(); ++i) source.by_layer[split.train[i].layer].push_back(i);

  const auto step = [&](int64_t number) {
    std::vector<Piece> pieces;
    for (int64_t k = 0; k < training.batch; ++k) {
      Random random(training.seed, fmt::format("piece {} {}", number, k));
      pieces.push_back(source.draw(random));
    }
    return learn(simulator, pieces, training.zero_weight);
  };
  const auto validate = [&] {
    std::vector<FeatureScore> scores;
    for (const WordedFeature& feature : split.validation) {
      const FeatureContexts few =
          first_of_each_kind(contexts(feature.layer, feature.latent), training.pieces_of_each_kind);
      scores.push_back(signed_score(feature.descriptions.front(), few, simulator));
    }
    const double mean = summarise(scores).mean;
    return std::isnan(mean) ? 0.0 : mean;
  };
  const FineTuned tuned =
      fine_tune(folder, record.state() == StepState::resume, model_trainables(simulator.model, training.fine_tuning),
                training.fine_tuning, step, validate, report);

  result.steps = tuned.steps;
  result.best_step = tuned.best_step;
  result.validation = tuned.best_validation;
  if (!first_process()) return result;

  if (training.dtype == "bf16") {  // what is measured is what is written
    c10::NoGradGuard guard;
    for (auto& [name, tensor] : parameters(simulator.model)) tensor.copy_(tensor.to(at::kBFloat16));
  }
  simulator.compute = at::kFloat;
  result.held_out = measure_simulator(simulator, split.held_out, contexts, training.pieces_of_each_kind, training.seed);
  const Json summary{{"steps", result.steps},
                     {"best_step", result.best_step},
                     {"loss", tuned.loss},
                     {"validation", result.validation},
                     {"held_out", quality_to_json(result.held_out)}};
  simulator.save(folder, base_model, training.dtype == "bf16" ? at::kBFloat16 : at::kFloat,
                 {{"training", simulator_training_to_json(training)}, {"result", summary}});
  record.add("features", split_counts_to_json(split));
  record.add("result", summary);
  record.complete();
  fs::remove_all(folder / "checkpoint");
  return result;
}

}  // namespace introspect
