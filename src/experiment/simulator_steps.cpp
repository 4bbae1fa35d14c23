#include "experiment/simulator_steps.h"

#include "base/progress.h"
#include "experiment/feature_steps.h"
#include "experiment/steps.h"
#include "feature/context_store.h"
#include "train/rate.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// The features of a split of the data set; vectors that are no latents have no number.
std::set<FeatureId> features_of(const Dataset& dataset, const std::set<Split>& splits) {
  std::set<FeatureId> ids;
  for (const Example& example : dataset.examples) {
    const auto latent = example.attributes.find("latent");
    if (latent == example.attributes.end() || !splits.contains(example.split)) continue;
    ids.emplace(example.layers.at(0), std::stoll(latent->second));
  }
  return ids;
}

// Trained on what explainers learn from and on nothing else: neither on features of the other splits nor on those that
// were left out of the data set, which may be their copies.
TrainedSimulator train_step(const Recipe& recipe, const Dataset& dataset, const fs::path& out) {
  const std::set<FeatureId> train = features_of(dataset, {Split::train});
  const std::set<FeatureId> others = features_of(dataset, {Split::validation, Split::test});
  const fs::path descriptions = descriptions_file(recipe, out);
  std::vector<DescribedFeature> features = load_descriptions(descriptions);
  std::erase_if(features, [&](const DescribedFeature& feature) {
    const FeatureId id{feature.layer, feature.latent};
    return !train.contains(id) && !others.contains(id);
  });
  const ContextStore store = ContextStore::open(out / "contexts");
  const ContextReader contexts = [&](int64_t layer, int64_t latent) { return store.contexts(layer, latent); };
  const FeatureSplit split = split_features(features, {others.begin(), others.end()}, contexts, {});
  Progress progress("simulator", recipe.simulator->training.fine_tuning.steps, "step");
  const TrainedSimulator trained =
      train_simulator(recipe.target, nullptr, split, contexts, recipe.simulator->training,
                      {{"descriptions", descriptions}, {"contexts", out / "contexts"}, {"dataset", out / "dataset"}},
                      out / "simulator", [&](const FineTuningProgress& p) {
                        progress.note(fmt::format("loss {:.3f}", p.loss));
                        progress.set(p.step);
                      });
  progress.finish();
  return trained;
}

// The examples that a simulator's time allows, with all train examples: floors need them.
Dataset first_examples(const Dataset& dataset, int64_t count) {
  Dataset some = dataset;
  some.examples.clear();
  for (const Example& example : dataset.examples) {
    const bool test = example.split == Split::test;
    if (test && (example.attributes.contains("aside") || count-- <= 0)) continue;
    some.examples.push_back(example);
  }
  return some;
}

std::vector<Row> rows_worth_scoring(const std::vector<Row>& rows, const Dataset& dataset) {
  std::set<std::string> ids;
  for (const Example* example : dataset.of(Split::test)) ids.insert(example->id);
  std::vector<Row> kept;
  for (const Row& row : rows) {
    const bool wanted =
        row.condition == "trained" || row.condition == "retrained_without_vector" || row.explainer == "none";
    if (!wanted) continue;
    Row some{row.explainer, row.condition, {row.seeds.front()}};  // one seed: a simulator takes its time
    std::erase_if(some.seeds.front(), [&](const Answer& answer) { return !ids.contains(answer.id); });
    kept.push_back(std::move(some));
  }
  return kept;
}

}  // namespace

std::optional<SimulatedScores> simulator_steps(const Recipe& recipe, const Dataset& dataset,
                                               const std::vector<Row>& rows, const fs::path& out) {
  if (!recipe.simulator) return {};
  SimulatedScores result;
  result.quality = train_step(recipe, dataset, out).held_out;
  auto simulator = std::make_shared<LanguageSimulator>(LanguageSimulator::open(out / "simulator"));
  simulator->compute = choose_compute(recipe.simulator->training.compute);
  const Dataset some = first_examples(dataset, recipe.simulator->examples);
  const FeatureScorer scorer(some, out / "dataset", simulator, recipe.simulator->pieces);
  const std::vector<Row> scored = rows_worth_scoring(rows, some);
  const Json settings{{"examples", recipe.simulator->examples}, {"pieces", recipe.simulator->pieces}};
  const auto of_simulator = [](const std::string& metric) {
    return metric == "simulator_score" || metric == "published_simulator_score";
  };
  for (Score& score :
       evaluate_step(some, scored, settings, {{"simulator", out / "simulator"}, {"scores", out / "scores"}},
                     out / "simulated", &scorer)) {
    if (score.group == "all" && of_simulator(score.metric)) result.scores.push_back(std::move(score));
  }
  return result;
}

}  // namespace introspect
