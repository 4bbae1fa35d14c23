// introspect simulator: training language models to simulate features, and what descriptions are worth to one.
#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "feature/context_store.h"
#include "feature/detection.h"
#include "feature/simulator_training.h"
#include "train/rate.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string figure(double value) {
  return std::isnan(value) ? "  -  " : fmt::format("{:5.3f}", value);
}

void print_summary(const char* name, const ScoreSummary& summary) {
  std::string line = fmt::format("{:<34} {} ± {}   {} of {} features", name, figure(summary.mean),
                                 figure(summary.standard_error), summary.counted, summary.features);
  for (size_t i = 1; i < kScoreOutcomes; ++i) {
    if (summary.outcomes[i] == 0) continue;
    line += fmt::format("; {} {}", summary.outcomes[i], score_outcome_name(static_cast<ScoreOutcome>(i)));
  }
  std::printf("%s\n", line.c_str());
}

void print_quality(const SimulatorQuality& quality) {
  print_summary("signed correlation", quality.with_sign);
  print_summary("  with another's description", quality.with_sign_shuffled);
  print_summary("published score", quality.published);
  print_summary("  with another's description", quality.published_shuffled);
}

// Whose tokens the contexts hold: the folder named, or the store itself, if it has a tokenizer.
std::optional<fs::path> target_folder(const std::string& named, const std::string& contexts) {
  if (!named.empty()) return named;
  if (fs::exists(fs::path(contexts) / "tokenizer.json")) return contexts;
  return std::nullopt;
}

struct TrainOptions {
  std::string model, descriptions, contexts, held_out, target, out;
  SimulatorTraining training;
  SplitSettings split;
  bool json = false;
};

void train(const TrainOptions& options) {
  const ContextStore store = ContextStore::open(options.contexts);
  const ContextReader contexts = [&](int64_t layer, int64_t latent) { return store.contexts(layer, latent); };
  std::vector<RunInput> inputs{{"descriptions", options.descriptions}, {"contexts", options.contexts}};
  std::vector<FeatureId> held_out;
  if (!options.held_out.empty()) {
    held_out = read_feature_ids(options.held_out);
    inputs.push_back({"held_out", options.held_out});
  }
  std::optional<Tokenizer> target;
  if (const auto folder = target_folder(options.target, options.contexts)) {
    target = Tokenizer::open(*folder);
    inputs.push_back({"target_tokenizer", *folder / "tokenizer.json"});
  }
  const FeatureSplit split = split_features(load_descriptions(options.descriptions), held_out, contexts, options.split);
  if (!options.json) {
    std::printf("features    %zu to train on, %zu to validate on, %zu held out; %lld undescribed, %lld silent",  //
                split.train.size(), split.validation.size(), split.held_out.size(),
                static_cast<long long>(split.undescribed), static_cast<long long>(split.silent));
    if (split.held_out_unknown > 0) {
      std::printf("; %lld held out that are not described", static_cast<long long>(split.held_out_unknown));
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  std::unique_ptr<Progress> progress;
  double validation = std::numeric_limits<double>::quiet_NaN();
  const TrainedSimulator trained =
      train_simulator(options.model, target ? &*target : nullptr, split, contexts, options.training, std::move(inputs),
                      options.out, [&](const FineTuningProgress& p) {
                        if (!progress) progress = std::make_unique<Progress>("train", p.steps, "step");
                        if (p.validation) validation = *p.validation;
                        progress->note(fmt::format("loss {:.3f} | validation {}", p.loss, figure(validation)));
                        progress->set(p.step);
                      });
  if (progress) progress->finish();
  if (options.json) {
    std::printf("%s\n", Json{{"steps", trained.steps},
                             {"best_step", trained.best_step},
                             {"validation", trained.validation},
                             {"was_complete", trained.was_complete},
                             {"features", split_counts_to_json(split)},
                             {"held_out", quality_to_json(trained.held_out)}}
                            .dump(2)
                            .c_str());
    return;
  }
  std::printf("%s%s: step %lld of %lld is kept, validation correlation %.3f\nHeld-out features:\n", options.out.c_str(),
              trained.was_complete ? " is complete" : "", static_cast<long long>(trained.best_step),
              static_cast<long long>(trained.steps), trained.validation);
  print_quality(trained.held_out);
}

void add_train(CLI::App& group) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = group.add_subcommand("train", "Train a model to simulate features from their descriptions");
  SimulatorTraining& t = options->training;
  FineTuning& f = t.fine_tuning;
  command->add_option("MODEL", options->model, "folder of the model to start from")->required();
  command->add_option("--descriptions", options->descriptions, "descriptions.jsonl")->required();
  command->add_option("--contexts", options->contexts, "a context store of the features")->required();
  command->add_option("--out", options->out, "folder of the simulator; resumes what is unfinished there")->required();
  command->add_option("--held-out", options->held_out,
                      "JSONL with the layer and latent of features that must not be learnt (default: drawn)");
  command->add_option("--target", options->target,
                      "folder of the model whose features they are (default: the store's own tokenizer)");
  command->add_option("--steps", f.steps, "of the optimiser")->capture_default_str();
  command->add_option("--batch", t.batch, "pieces of text a step")->capture_default_str();
  command->add_option("--learning-rate", f.learning_rate, "AdamW")->capture_default_str();
  command->add_option("--muon-rate", f.muon_rate, "Muon, for the weight matrices; 0: AdamW for all")
      ->capture_default_str();
  command->add_option("--validate-every", f.validate_every, "steps")->capture_default_str();
  command->add_option("--zero-weight", t.zero_weight, "weight in the loss of tokens without activation")
      ->capture_default_str();
  command
      ->add_option("--wrong", t.shares["wrong"],
                   "share of pieces of other features, for which the description is "
                   "wrong (top 0.3, quantile 0.2, random 0.1, near miss 0.2)")
      ->capture_default_str();
  command->add_option("--descriptions-each", options->split.descriptions, "of each feature the best that many")
      ->capture_default_str();
  command->add_option("--min-score", options->split.minimum_score, "descriptions with a lower score are left out")
      ->capture_default_str();
  command->add_option("--validation-features", options->split.validation_features, "not trained on")
      ->capture_default_str();
  command->add_option("--held-out-features", options->split.held_out_features, "measured in the end")
      ->capture_default_str();
  command->add_option("--pieces", t.pieces_of_each_kind, "of each kind, that features are measured with")
      ->capture_default_str();
  command->add_option("--seed", t.seed, "of the pieces and the split")->capture_default_str();
  command->add_option("--dtype", t.dtype, "of the weights that are written: fp32 or bf16")->capture_default_str();
  command->add_option("--compute", t.compute, "auto, fp32 or bf16")->capture_default_str();
  command->add_flag("--json", options->json, "the result as JSON");
  command->footer(
      "Every token of a piece of text has one of eleven classes, its activation in tenths of the feature's highest;\n"
      "the loss is the cross-entropy over them. The features held out are simulated with their own description and\n"
      "with another's: a simulator that reads is good at the first and not at the second.\n"
      "Example: introspect simulator train models/tiny-llama --descriptions runs/descriptions/descriptions.jsonl \\\n"
      "           --contexts runs/contexts --out runs/simulator");
  command->callback([options] {
    options->split.seed = options->training.seed;
    train(*options);
  });
}

struct ScoreOptions {
  std::string simulator, descriptions, contexts, only, target, compute = "fp32";
  int64_t limit = 0, seed = 1;
  DetectionSettings detection;
  bool json = false;
};

Json detection_to_json(const DetectionSummary& summary) {
  const DetectionScore& mean = summary.mean;
  return {{"features", summary.features},
          {"without_items", summary.without_items},
          {"items", mean.positives + mean.negatives},
          {"unreadable", mean.unreadable},
          {"balanced_accuracy", mean.balanced_accuracy},
          {"f1", mean.f1},
          {"auroc", mean.auroc}};
}

void print_detection(const char* name, const DetectionSummary& summary) {
  std::printf("%-34s balanced accuracy %s, F1 %s, AUROC %s   %lld of %lld features\n", name,
              figure(summary.mean.balanced_accuracy).c_str(), figure(summary.mean.f1).c_str(),
              figure(summary.mean.auroc).c_str(), static_cast<long long>(summary.features - summary.without_items),
              static_cast<long long>(summary.features));
}

void score(ScoreOptions& options) {
  const ContextStore store = ContextStore::open(options.contexts);
  LanguageSimulator simulator = LanguageSimulator::open(options.simulator);
  simulator.compute = choose_compute(options.compute);
  const auto target = target_folder(options.target, options.contexts);
  if (target && simulator.set_target(Tokenizer::open(*target)) && !options.json) {
    std::printf(
        "the text is tokenised anew: a token of the target takes the highest value of those it shares bytes "
        "with\n");
  }
  const ContextReader contexts = [&](int64_t layer, int64_t latent) { return store.contexts(layer, latent); };
  std::set<FeatureId> only;
  if (!options.only.empty()) {
    const std::vector<FeatureId> ids = read_feature_ids(options.only);
    only.insert(ids.begin(), ids.end());
  }
  std::vector<WordedFeature> features;
  for (const DescribedFeature& each : load_descriptions(options.descriptions)) {
    if (!options.only.empty() && !only.contains({each.layer, each.latent})) continue;
    if (options.limit > 0 && std::ssize(features) == options.limit) break;
    // a feature without description is one whose description is empty
    features.push_back({each.layer, each.latent, {each.descriptions.empty() ? "" : each.descriptions.front().text}});
  }
  if (features.empty()) fail("simulator", fmt::format("no features to score ({})", options.descriptions));
  options.detection.seed = static_cast<uint64_t>(options.seed);
  std::vector<DetectionScore> detection, fuzzing;
  Progress progress("score", std::ssize(features), "feature");
  const SimulatorQuality quality = measure_simulator(
      simulator, features, contexts, store.settings().top + store.settings().random,
      static_cast<uint64_t>(options.seed), [&](size_t index) {
        const WordedFeature& each = features[index];
        const FeatureContexts all = store.contexts(each.layer, each.latent);
        detection.push_back(detection_score(each.descriptions.front(), all, simulator, options.detection));
        fuzzing.push_back(fuzzing_score(each.descriptions.front(), all, simulator, options.detection));
        progress.advance();
        check_interrupt("simulator");
      });
  progress.finish();
  if (options.json) {
    Json json = quality_to_json(quality);
    json["detection"] = detection_to_json(summarise(detection));
    json["fuzzing"] = detection_to_json(summarise(fuzzing));
    std::printf("%s\n", json.dump(2).c_str());
    return;
  }
  print_quality(quality);
  print_detection("detection", summarise(detection));
  print_detection("fuzzing", summarise(fuzzing));
}

void add_score(CLI::App& group) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = group.add_subcommand("score", "What the first descriptions of features are worth to a simulator");
  command
      ->add_option("SIMULATOR", options->simulator,
                   "folder that 'introspect simulator train' wrote, or the published checkpoint")
      ->required();
  command->add_option("--descriptions", options->descriptions, "descriptions.jsonl")->required();
  command->add_option("--contexts", options->contexts, "a context store of the features")->required();
  command->add_option("--only", options->only, "JSONL with the layer and latent of features: no others");
  command->add_option("--target", options->target,
                      "folder of the model whose features they are (default: the store's own tokenizer)");
  command->add_option("--limit", options->limit, "only the first so many features");
  command->add_option("--items", options->detection.items, "pieces of each side that detection and fuzzing ask about")
      ->capture_default_str();
  command->add_option("--threshold", options->detection.threshold,
                      "a simulated value above it says yes (default: half of the highest on the feature's items)");
  command->add_option("--compute", options->compute, "auto, fp32 or bf16")->capture_default_str();
  command->add_option("--seed", options->seed, "of the items and of shuffled descriptions")->capture_default_str();
  command->add_flag("--json", options->json, "as JSON");
  command->footer(
      "Published: absolute correlation over the 20 top pieces. Signed: over top, random and near-miss pieces.\n"
      "Detection: which pieces the feature fires in; fuzzing: whether the marked tokens are those it fires on.");
  command->callback([options] { score(*options); });
}

}  // namespace

void add_simulator_commands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("simulator", "Language models that simulate features from their descriptions");
  group->require_subcommand(1);
  add_train(*group);
  add_score(*group);
}

}  // namespace introspect
