// introspect reconstructor: from descriptions back to vectors, a fidelity that needs no labels.
#include "feature/reconstructor.h"

#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "dataset/example.h"
#include "explainer/answers.h"
#include "sae/saved_sae.h"

#include <cstdio>
#include <map>
#include <memory>
#include <set>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void print_report(const FidelityReport& report) {
  const auto line = [](const char* name, const Fidelity& f) {
    std::printf("%-28s cosine %6.3f ± %.3f   2(1-cos) %.3f\n", name, f.cosine, f.cosine_error, f.distance);
  };
  line("its own description", report.own);
  line("another's of its layer", report.shuffled);
  line("mean vector of its layer", report.mean_vector);
  std::printf("%lld vectors; %lld with an empty description (cosine 0); %lld without another description\n",
              static_cast<long long>(report.items), static_cast<long long>(report.empty),
              static_cast<long long>(report.unshuffled));
}

struct TrainOptions {
  std::string model, descriptions, saes, held_out, out;
  ReconstructorTraining training;
  SplitSettings split{.descriptions = 3, .validation_features = 64, .held_out_features = 1000};
  bool json = false;
};

void train(TrainOptions& options) {
  std::vector<RunInput> inputs{{"descriptions", options.descriptions}, {"saes", options.saes}};
  std::vector<FeatureId> held_out;
  if (!options.held_out.empty()) {
    held_out = read_feature_ids(options.held_out);
    inputs.push_back({"held_out", options.held_out});
  }
  options.split.seed = options.training.seed;
  const std::vector<Sae> saes = load_saes(options.saes);
  const FeatureSplit split = split_features(load_descriptions(options.descriptions), held_out, nullptr, options.split);
  // measured with the best description alone, as an explainer would be
  const auto best = [](std::vector<WordedFeature> features) {
    for (WordedFeature& each : features) each.descriptions.resize(1);
    return features;
  };
  const DescribedVectors learnt = decoder_vectors(split.train, saes);
  std::unique_ptr<Progress> progress;
  const TrainedReconstructor trained =
      train_reconstructor(options.model, learnt, decoder_vectors(best(split.validation), saes), options.training,
                          std::move(inputs), options.out, [&](const FineTuningProgress& p) {
                            if (!progress) progress = std::make_unique<Progress>("train", p.steps, "step");
                            progress->note(fmt::format("2(1-cos) {:.3f}", p.loss));
                            progress->set(p.step);
                          });
  if (progress) progress->finish();
  const FidelityReport report = measure_fidelity(Reconstructor::open(options.out),
                                                 decoder_vectors(best(split.held_out), saes), options.training.seed);
  if (options.json) {
    std::printf("%s\n", Json{{"steps", trained.steps},
                             {"best_step", trained.best_step},
                             {"validation", trained.validation},
                             {"features", split_counts_to_json(split)},
                             {"held_out", fidelity_to_json(report)}}
                            .dump(2)
                            .c_str());
    return;
  }
  std::printf("%s%s: %lld descriptions of %zu features learnt, validation cosine %.3f\nHeld-out features:\n",
              options.out.c_str(), trained.was_complete ? " is complete" : "", static_cast<long long>(learnt.size()),
              split.train.size(), trained.validation);
  print_report(report);
}

void add_train(CLI::App& group) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command =
      group.add_subcommand("train", "Train the first layers of a model to turn descriptions into vectors");
  FineTuning& f = options->training.fine_tuning;
  command->add_option("MODEL", options->model, "folder of the model to start from, the target for one")->required();
  command->add_option("--descriptions", options->descriptions, "descriptions.jsonl")->required();
  command->add_option("--saes", options->saes, "folder of the SAEs: a feature's vector is its decoder direction")
      ->required();
  command->add_option("--out", options->out, "folder of the reconstructor; resumes what is unfinished there")
      ->required();
  command->add_option("--held-out", options->held_out,
                      "JSONL with the layer and latent of features that must not be learnt (default: drawn)");
  command->add_option("--layers", options->training.layers, "of the model (default: up to the features' deepest)");
  command->add_option("--steps", f.steps, "of the optimiser")->capture_default_str();
  command->add_option("--batch", options->training.batch, "descriptions a step")->capture_default_str();
  command->add_option("--learning-rate", f.learning_rate, "AdamW")->capture_default_str();
  command->add_option("--muon-rate", f.muon_rate, "Muon, for the weight matrices; 0: AdamW for all")
      ->capture_default_str();
  command->add_option("--descriptions-each", options->split.descriptions, "of each feature the best that many")
      ->capture_default_str();
  command->add_option("--validation-features", options->split.validation_features, "not trained on")
      ->capture_default_str();
  command->add_option("--held-out-features", options->split.held_out_features, "measured in the end, at most")
      ->capture_default_str();
  command->add_option("--seed", options->training.seed, "of the head, the order and the split")->capture_default_str();
  command->add_option("--compute", options->training.compute, "auto, fp32 or bf16")->capture_default_str();
  command->add_flag("--json", options->json, "the result as JSON");
  command->callback([options] { train(*options); });
}

struct ScoreOptions {
  std::string reconstructor, descriptions, saes, only, dataset, answers;
  int64_t seed = 1;
  bool json = false;
};

DescribedVectors described_features(const ScoreOptions& options) {
  std::set<FeatureId> only;
  if (!options.only.empty()) {
    const std::vector<FeatureId> ids = read_feature_ids(options.only);
    only.insert(ids.begin(), ids.end());
  }
  std::vector<WordedFeature> features;
  for (const DescribedFeature& each : load_descriptions(options.descriptions)) {
    if (!options.only.empty() && !only.contains({each.layer, each.latent})) continue;
    features.push_back({each.layer, each.latent, {each.descriptions.empty() ? "" : each.descriptions.front().text}});
  }
  return decoder_vectors(features, load_saes(options.saes));
}

// An explainer's answers with the vectors that it was asked about.
DescribedVectors answered_vectors(const ScoreOptions& options) {
  const Dataset dataset = load_dataset(options.dataset);
  std::map<std::string, const Example*> by_id;
  for (const Example& example : dataset.examples) by_id[example.id] = &example;
  DescribedVectors items;
  std::vector<at::Tensor> rows;
  for (const Answer& answer : load_answers(options.answers)) {
    const auto found = by_id.find(answer.id);
    if (found == by_id.end()) {
      fail("reconstructor",
           fmt::format("an answer to '{}', which the data set does not have ({})", answer.id, options.answers));
    }
    const Example& example = *found->second;
    if (example.vector < 0 || example.layers.empty()) {
      fail("reconstructor", fmt::format("example '{}' has no vector ({})", example.id, options.dataset));
    }
    items.layers.push_back(example.layers.back());
    items.descriptions.push_back(answer.text);
    rows.push_back(dataset.vectors[example.vector]);
  }
  if (!rows.empty()) items.vectors = at::stack(rows);
  return items;
}

void score(const ScoreOptions& options) {
  const bool features = !options.descriptions.empty() && !options.saes.empty();
  if (features == (!options.dataset.empty() && !options.answers.empty())) {
    fail_usage("reconstructor", "expected either --descriptions and --saes, or --dataset and --answers");
  }
  const FidelityReport report = measure_fidelity(Reconstructor::open(options.reconstructor),
                                                 features ? described_features(options) : answered_vectors(options),
                                                 static_cast<uint64_t>(options.seed));
  if (options.json) {
    std::printf("%s\n", fidelity_to_json(report).dump(2).c_str());
  } else {
    print_report(report);
  }
}

void add_score(CLI::App& group) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = group.add_subcommand("score", "How near descriptions lead back to the vectors they describe");
  command->add_option("RECONSTRUCTOR", options->reconstructor, "folder that 'introspect reconstructor train' wrote")
      ->required();
  command->add_option("--descriptions", options->descriptions, "descriptions.jsonl: the first of each feature");
  command->add_option("--saes", options->saes, "their SAEs");
  command->add_option("--only", options->only, "JSONL with the layer and latent of features: no others");
  command->add_option("--dataset", options->dataset, "a data set folder with vectors");
  command->add_option("--answers", options->answers, "an explainer's answers.jsonl to it");
  command->add_option("--seed", options->seed, "of shuffled descriptions")->capture_default_str();
  command->add_flag("--json", options->json, "as JSON");
  command->footer(
      "2(1-cos) is the squared distance of unit vectors: 0 for the same direction, 2 for one at right angles.");
  command->callback([options] { score(*options); });
}

}  // namespace

void add_reconstructor_commands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("reconstructor", "Models that turn descriptions back into vectors");
  group->require_subcommand(1);
  add_train(*group);
  add_score(*group);
}

}  // namespace introspect
