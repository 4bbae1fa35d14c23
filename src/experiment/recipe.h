// A recipe: one experiment as a TOML file, walked from target to report by `introspect run`.
//
//   kind = "patching"            or "ablation", "features"; title, question: what the report says on top
//   [target]    model            the model that is examined
//   [records]   path             patching: the facts it is asked about (procedure/records.h)
//   [questions] path, choices, seed
//                                ablation: the questions (procedure/questions.h); the last two if they are made of
//                                facts
//   [features]  saes, facts, descriptions, contexts, [[features.text]]
//                                features: the SAEs, what is read to see their latents fire, who describes them
//   [dataset]                    settings of the procedure (procedure/patching.h, procedure/ablation.h,
//                                feature/feature_dataset.h)
//   [train]                      how explainers are trained (explainer/train.h)
//   [search]    steps, seed, [[search.setting]] name, train
//                                settings tried alike for every explainer; the validation loss chooses (search.h)
//   [projection]                 text for fitted projections (explainer/paired.h)
//   [[explainer]] name, model, train
//                                who is trained to explain; the first is "self", the target; train: changes for it
//                                alone
//   [[variant]] condition, train, explainers, seeds
//                                trained once more with other settings: a row of its own
//   [simulator] steps, batch, learning_rate, muon_rate, seed, examples, pieces
//                                features: a language model trained to simulate features, which scores some rows too
//   [evaluate]  seeds, vectors, vectors_of, untrained, few_shot, simulate, layers, selfie_scales, compute, limit,
//   max_new_tokens [where_from] states, explainers, seeds, train
//                                features: further explainers that learn to say what token and layer a state is of
//                                (where_from.h)
//   [mixtures]   pairs, shares, seed
//                                features: self is asked about sums of two directions (mixtures.h)
//   answer                       which findings (findings.h) the page says on top, in place of what self scores
//   [[generalisation]] condition, group, trained_on, tested_on
//                                a variant that learnt a part, asked about the rest (a group of scores)
//   [[transfer]] folder, trained_on, tested_on, dataset, evaluate
//                                ablation: self, trained on the data set above, asked about another one: that with the
//                                changes of `dataset`
#pragma once

#include "base/json.h"
#include "explainer/answer.h"
#include "explainer/paired.h"
#include "explainer/train.h"
#include "feature/context_set.h"
#include "feature/feature_dataset.h"
#include "feature/simulator_training.h"
#include "procedure/ablation.h"
#include "procedure/patching.h"
#include "procedure/questions.h"

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

struct ExplainerEntry {
  std::string name;  // "self", "twin"
  fs::path model;
  Json changes;                // to the recipe's [train] table, in front of every other; null: none
  std::vector<int64_t> seeds;  // of evaluate.seeds; empty: all
};

// Explainers trained with changed settings. The plain ones have the condition "trained".
struct Variant {
  std::string condition = "trained";
  std::vector<std::string> explainers;  // empty: all
  std::vector<int64_t> seeds;           // of evaluate.seeds; empty: all
  Json changes;                         // to the recipe's [train] table
  ExplainerTraining training;           // with the changes
};

// Changes to the [train] table that are tried for every explainer.
struct SearchSetting {
  std::string name;
  Json changes;
};
struct Search {
  int64_t steps = 0, seed = 0;  // of a trial
  std::vector<SearchSetting> settings;
};

struct EvaluateSettings {
  std::vector<int64_t> seeds = {1};
  std::vector<VectorCondition> vectors;  // asked of self at test time: the floors
  bool vectors_of_all = false;           // vectors_of = "all", not "self": asked of every trained explainer
  bool untrained = true;
  std::vector<int64_t> few_shot = {4};  // demonstrations; a row each
  bool simulate = true;                 // ablation: the rows of simulation.h
  std::vector<LayerCondition> layers;   // features: self is told no layer, or another one
  std::vector<double> selfie_scales;    // features: the untrained model is asked for a word's meaning (SelfIE)
  std::string compute = "fp32";
  int64_t limit = 0;
  int64_t max_new_tokens = 50;
};

// Where a variant that was trained on a part is asked about the rest: a group of the scores ("wording=friend").
struct Generalisation {
  std::string condition, group, trained_on, tested_on;
};

// The explainer "self" asked about another data set than the one that it learnt.
struct Transfer {
  std::string folder, trained_on, tested_on;
  Json json;  // the recipe of the other data set, with "self" alone, which learns that one for comparison
};

// Where the features of a recipe come from, and what they are.
struct FeatureSettings {
  fs::path saes;            // a SAE's folder, or one with a SAE in each subfolder
  fs::path facts;           // for names of things in descriptions, and for differences of states
  fs::path descriptions;    // descriptions.jsonl (or its folder); empty: made from the library
  int64_t tokens = 400000;  // of text that are read
  int64_t latents = 0;      // the first so many of each SAE are described; 0: all
  ContextSettings contexts;
  Json text;  // [[text]] tables (train/corpus.h), relative to the recipe
  FeatureDatasetSettings dataset;
};

struct SimulatorSettings {
  SimulatorTraining training;
  int64_t examples = 200;  // test examples that it scores
  int64_t pieces = 4;      // of each kind of context
};

// Further explainers, that learn to say what a residual state was taken from.
struct WhereFromSettings {
  int64_t states = 4000;  // of train, validation and test together
  uint64_t seed = 1;      // of the states
  std::vector<std::string> explainers;
  std::vector<int64_t> seeds;
  Json changes;  // to the recipe's [train] table
};

// Sums of two directions of test features: share * first + (1 - share) * second.
struct MixtureSettings {
  int64_t pairs = 200;
  std::vector<double> shares = {0.5, 0.6, 0.7, 0.8, 0.9};
  uint64_t seed = 1;
};

struct Recipe {
  fs::path path;
  Json json;         // as read
  std::string kind;  // "patching", "ablation", "features"
  std::string title, question, target_name;
  std::vector<std::string> weak;  // what the author knows to be weak about it
  fs::path target, records;       // records: facts, or questions
  PatchingSettings patching;
  AblationSettings ablation;
  FactQuestionSettings questions;
  FeatureSettings features;
  std::vector<ExplainerEntry> explainers;
  std::vector<Variant> variants;  // the first is the plain one
  std::optional<Search> search;
  std::optional<PairedSettings> projection;
  std::optional<SimulatorSettings> simulator;
  EvaluateSettings evaluate;
  std::vector<Generalisation> generalisation;
  std::vector<Transfer> transfers;
  std::optional<WhereFromSettings> where_from;
  std::optional<MixtureSettings> mixtures;
  std::vector<std::string> answer;  // names of findings
};

// Throws Error for a key or kind that is not known, a missing table, and names given twice.
Recipe parse_recipe(const Json& json, const fs::path& path);
Recipe read_recipe(const fs::path& path);

// The [train] table with the changes of the explainer, then `chosen` (a search setting's changes, or null), then the
// variant's merged in. An explainer of input ablation is asked in the chat format of the target, unless it says else.
ExplainerTraining training_of(const Recipe& recipe, const ExplainerEntry& entry, const Variant& variant,
                              const Json& chosen);

// Any recipe, also of kinds "pretrain", "sae", "joint", "matrix" and "inverse". Throws as the readers do.
std::string validate_recipe(const fs::path& path);  // returns its kind

}  // namespace introspect
