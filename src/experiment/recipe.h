// A recipe: one experiment as a TOML file, walked from target to report by `introspect run`.
//
//   kind = "patching"            title, question: what the report says on top
//   [target]    model            the model that is examined
//   [records]   path             the facts it is asked about (procedure/records.h)
//   [dataset]                    settings of the procedure (procedure/patching.h)
//   [train]                      how explainers are trained (explainer/train.h)
//   [search]    steps, seed, [[search.setting]] name, train
//                                settings tried alike for every explainer; the validation loss chooses (search.h)
//   [projection]                 text for least-squares projections (explainer/paired.h)
//   [[explainer]] name, model    who is trained to explain; "self" is the target
//   [[variant]] condition, train, explainers, seeds
//                                trained once more with other settings: a row of its own
//   [evaluate]  seeds, vectors, untrained, few_shot, compute, limit, max_new_tokens
#pragma once

#include "base/json.h"
#include "explainer/answer.h"
#include "explainer/paired.h"
#include "explainer/train.h"
#include "procedure/patching.h"

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

struct ExplainerEntry {
  std::string name;  // "self", "twin"
  fs::path model;
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
  bool untrained = true;
  int64_t few_shot = 4;  // demonstrations of the few-shot row; 0: none
  std::string compute = "fp32";
  int64_t limit = 0;
  int64_t max_new_tokens = 50;
};

struct Recipe {
  fs::path path;
  Json json;  // as read
  std::string title, question, target_name;
  std::vector<std::string> weak;  // what the author knows to be weak about it
  fs::path target, records;
  PatchingSettings dataset;
  std::vector<ExplainerEntry> explainers;
  std::vector<Variant> variants;  // the first is the plain one
  std::optional<Search> search;
  std::optional<PairedSettings> projection;
  EvaluateSettings evaluate;
};

// Throws Error for a key that is not known, a kind that is not "patching", a missing table, and names given twice.
Recipe parse_recipe(const Json& json, const fs::path& path);
Recipe read_recipe(const fs::path& path);

// The [train] table with `chosen` (a search setting's changes, or null), then the variant's changes merged in.
ExplainerTraining training_of(const Recipe& recipe, const Variant& variant, const Json& chosen);

// Any recipe: of kind "patching" or "pretrain". Throws as the readers do.
std::string validate_recipe(const fs::path& path);  // returns its kind

}  // namespace introspect
