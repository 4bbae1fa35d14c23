#include "experiment/recipe.h"

#include "base/error.h"
#include "experiment/findings.h"
#include "experiment/inverse.h"
#include "experiment/joint.h"
#include "experiment/matrix.h"
#include "experiment/recipe_tables.h"
#include "sae/train.h"
#include "train/corpus.h"
#include "train/pretrain.h"

#include <algorithm>
#include <set>

#include <fmt/ranges.h>

namespace introspect {

namespace {

fs::path path_of(const Json& table, const char* key, const fs::path& base, const std::string& label) {
  const fs::path path = json_get<std::string>(table, key, label);
  return (path.is_absolute() ? path : base / path).lexically_normal();
}

EvaluateSettings parse_evaluate(const Json& table, const std::string& label) {
  check_keys(table,
             {"seeds", "vectors", "vectors_of", "untrained", "few_shot", "simulate", "layers", "selfie_scales",
              "compute", "limit", "max_new_tokens"},
             "evaluate", label);
  EvaluateSettings settings;
  settings.seeds = json_get_or<std::vector<int64_t>>(table, "seeds", settings.seeds, label);
  if (settings.seeds.empty()) fail_usage("recipe", fmt::format("evaluate.seeds is empty ({})", label));
  if (std::set<int64_t>(settings.seeds.begin(), settings.seeds.end()).size() != settings.seeds.size()) {
    fail_usage("recipe", fmt::format("evaluate.seeds has a seed twice ({})", label));
  }
  for (const std::string& name : json_get_or<std::vector<std::string>>(table, "vectors", {}, label)) {
    settings.vectors.push_back(parse_condition(name));
  }
  const auto of = json_get_or<std::string>(table, "vectors_of", "self", label);
  if (of != "self" && of != "all") {
    fail_usage("recipe", fmt::format("evaluate.vectors_of: got '{}', expected 'self' or 'all' ({})", of, label));
  }
  settings.vectors_of_all = of == "all";
  settings.untrained = json_get_or<bool>(table, "untrained", settings.untrained, label);
  if (table.contains("few_shot") && table.at("few_shot").is_array()) {
    settings.few_shot = json_get<std::vector<int64_t>>(table, "few_shot", label);
  } else {
    settings.few_shot = {json_get_or<int64_t>(table, "few_shot", 4, label)};
  }
  std::erase(settings.few_shot, 0);
  settings.simulate = json_get_or<bool>(table, "simulate", settings.simulate, label);
  for (const std::string& name : json_get_or<std::vector<std::string>>(table, "layers", {}, label)) {
    settings.layers.push_back(parse_layer_condition(name));
    if (settings.layers.back() == LayerCondition::real) {
      fail_usage("recipe", fmt::format("evaluate.layers: got 'real', expected dropped, faked or random ({})", label));
    }
  }
  settings.selfie_scales = json_get_or<std::vector<double>>(table, "selfie_scales", {}, label);
  settings.compute = json_get_or<std::string>(table, "compute", settings.compute, label);
  settings.limit = json_get_or<int64_t>(table, "limit", settings.limit, label);
  settings.max_new_tokens = json_get_or<int64_t>(table, "max_new_tokens", settings.max_new_tokens, label);
  return settings;
}

std::string source_table(const std::string& kind) {
  return kind == "patching" ? "records" : kind == "ablation" ? "questions" : "features";
}

ContextSettings parse_contexts(const Json& table, int64_t& tokens, const std::string& label) {
  check_keys(table, {"tokens", "length", "top", "quantiles", "per_quantile", "random", "near_miss", "seed"},
             "features.contexts", label);
  ContextSettings settings;
  tokens = json_get_or<int64_t>(table, "tokens", tokens, label);
  settings.length = json_get_or<int64_t>(table, "length", settings.length, label);
  settings.top = json_get_or<int64_t>(table, "top", settings.top, label);
  settings.quantiles = json_get_or<int64_t>(table, "quantiles", settings.quantiles, label);
  settings.per_quantile = json_get_or<int64_t>(table, "per_quantile", settings.per_quantile, label);
  settings.random = json_get_or<int64_t>(table, "random", settings.random, label);
  settings.near_miss = json_get_or<int64_t>(table, "near_miss", settings.near_miss, label);
  settings.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  check_settings(settings);
  return settings;
}

FeatureSettings parse_features(const Json& table, const fs::path& base, const std::string& label) {
  check_keys(table, {"saes", "facts", "descriptions", "latents", "contexts", "text"}, "features", label);
  FeatureSettings settings;
  settings.saes = path_of(table, "saes", base, label);
  settings.facts = path_of(table, "facts", base, label);
  if (json_get_or<std::string>(table, "descriptions", "library", label) != "library") {
    settings.descriptions = path_of(table, "descriptions", base, label);
  }
  settings.latents = json_get_or<int64_t>(table, "latents", settings.latents, label);
  settings.contexts =
      parse_contexts(table.contains("contexts") ? table.at("contexts") : Json::object(), settings.tokens, label);
  settings.text = table_of(table, "text", label);
  check_text_tables(settings.text, label);
  return settings;
}

SimulatorSettings parse_simulator(const Json& table, const std::string& label) {
  check_keys(table, {"steps", "batch", "learning_rate", "muon_rate", "seed", "examples", "pieces"}, "simulator", label);
  SimulatorSettings settings;
  FineTuning& f = settings.training.fine_tuning;
  f.steps = json_get_or<int64_t>(table, "steps", f.steps, label);
  f.learning_rate = json_get_or<double>(table, "learning_rate", f.learning_rate, label);
  f.muon_rate = json_get_or<double>(table, "muon_rate", f.muon_rate, label);
  settings.training.batch = json_get_or<int64_t>(table, "batch", settings.training.batch, label);
  settings.training.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  settings.examples = json_get_or<int64_t>(table, "examples", settings.examples, label);
  settings.pieces = json_get_or<int64_t>(table, "pieces", settings.pieces, label);
  check_simulator_training(settings.training);
  if (settings.examples < 1 || settings.pieces < 1) {
    fail_usage("recipe", fmt::format("simulator.examples is {} and simulator.pieces {}, expected at least 1 ({})",
                                     settings.examples, settings.pieces, label));
  }
  return settings;
}

std::vector<Transfer> parse_transfers(const Json& json, const Recipe& recipe, const std::string& label) {
  std::vector<Transfer> transfers;
  std::set<std::string> folders;
  if (recipe.kind != "ablation") fail_usage("recipe", fmt::format("[[transfer]] is for ablation ({})", label));
  for (const Json& table : json.at("transfer")) {
    check_keys(table, {"folder", "trained_on", "tested_on", "dataset", "evaluate"}, "transfer", label);
    Transfer transfer{json_get<std::string>(table, "folder", label), json_get<std::string>(table, "trained_on", label),
                      json_get<std::string>(table, "tested_on", label), json};
    if (!folders.insert(transfer.folder).second) {
      fail_usage("recipe", fmt::format("two transfers into the folder '{}' ({})", transfer.folder, label));
    }
    for (const char* key : {"transfer", "variant", "search", "generalisation"}) transfer.json.erase(key);
    const Json self = json.at("explainer").at(0);
    transfer.json["explainer"] = Json::array({self});
    transfer.json["dataset"].merge_patch(table_of(table, "dataset", label));
    if (table.contains("evaluate")) transfer.json["evaluate"].merge_patch(table.at("evaluate"));
    parse_recipe(transfer.json, recipe.path);  // throws
    transfers.push_back(std::move(transfer));
  }
  return transfers;
}

WhereFromSettings parse_where_from(const Recipe& recipe, const Json& table, const std::string& label) {
  check_keys(table, {"states", "seed", "explainers", "seeds", "train"}, "where_from", label);
  WhereFromSettings settings;
  settings.states = json_get_or<int64_t>(table, "states", settings.states, label);
  settings.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  settings.explainers =
      json_get_or<std::vector<std::string>>(table, "explainers", {recipe.explainers.front().name}, label);
  settings.seeds = json_get_or<std::vector<int64_t>>(table, "seeds", {}, label);
  if (table.contains("train")) settings.changes = table.at("train");
  if (settings.states < 20) {
    fail_usage("recipe", fmt::format("where_from.states: got {}, expected at least 20 ({})", settings.states, label));
  }
  for (const std::string& name : settings.explainers) {
    const auto found = std::find_if(recipe.explainers.begin(), recipe.explainers.end(),
                                    [&](const ExplainerEntry& entry) { return entry.name == name; });
    if (found == recipe.explainers.end()) {
      fail_usage("recipe",
                 fmt::format("where_from names the explainer '{}', which there is none of ({})", name, label));
    }
    const ExplainerTraining training = training_of(recipe, *found, {"where_from", {}, {}, settings.changes, {}}, {});
    const std::vector<std::string>& templates = training.explainer.style.templates;
    const bool told = std::any_of(templates.begin(), templates.end(),
                                  [](const std::string& text) { return text.find("{layer}") != std::string::npos; });
    const ProjectionKind projection = training.explainer.injection.projection;
    if (templates.empty() || told || (projection != ProjectionKind::none && projection != ProjectionKind::affine)) {
      fail_usage(
          "recipe",
          fmt::format("where_from: the question or a projection of its own tells '{}' the layer ({})", name, label),
          "give [where_from] train = { explainer = { templates = [...] } } without {layer}");
    }
  }
  return settings;
}

MixtureSettings parse_mixtures(const Json& table, const std::string& label) {
  check_keys(table, {"pairs", "shares", "seed"}, "mixtures", label);
  MixtureSettings settings;
  settings.pairs = json_get_or<int64_t>(table, "pairs", settings.pairs, label);
  settings.shares = json_get_or<std::vector<double>>(table, "shares", settings.shares, label);
  settings.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  if (settings.pairs < 2) {
    fail_usage("recipe", fmt::format("mixtures.pairs: got {}, expected at least 2 ({})", settings.pairs, label));
  }
  for (const double share : settings.shares) {
    if (!(share >= 0.5 && share < 1)) {
      fail_usage("recipe", fmt::format("mixtures.shares: got {}, expected 0.5 to below 1 ({})", share, label));
    }
  }
  return settings;
}

Search parse_search(const Recipe& recipe, const Json& table, const std::string& label) {
  check_keys(table, {"steps", "seed", "setting"}, "search", label);
  Search search;
  search.steps = json_get<int64_t>(table, "steps", label);
  search.seed = json_get_or<int64_t>(table, "seed", 0, label);
  if (search.steps < 1) fail_usage("recipe", fmt::format("search.steps: got {}, expected 1 ({})", search.steps, label));
  std::set<std::string> names;
  for (const Json& setting : table_of(table, "setting", label)) {
    check_keys(setting, {"name", "train"}, "search.setting", label);
    search.settings.push_back({json_get<std::string>(setting, "name", label), table_of(setting, "train", label)});
    if (!names.insert(search.settings.back().name).second) {
      fail_usage("recipe", fmt::format("two search settings are called '{}' ({})", search.settings.back().name, label));
    }
    training_of(recipe, recipe.explainers.front(), recipe.variants.front(), search.settings.back().changes);  // throws
  }
  return search;
}

}  // namespace

Recipe parse_recipe(const Json& json, const fs::path& path) {
  const std::string label = path.string();
  const fs::path base = path.parent_path();
  const std::string kind = json_get<std::string>(json, "kind", label);
  if (kind != "patching" && kind != "ablation" && kind != "features") {
    fail_usage("recipe", fmt::format("kind: got '{}', expected patching, ablation or features ({})", kind, label),
               kind == "pretrain"                                         ? "'introspect pretrain' runs it"
               : kind == "sae"                                            ? "'introspect sae train' runs it"
               : kind == "joint" || kind == "matrix" || kind == "inverse" ? "'introspect run' runs it, alone"
                                                                          : "");
  }
  check_keys(json,
             {"kind", "title", "question", "weak", "target", source_table(kind), "dataset", "train", "search",
              "projection", "simulator", "explainer", "variant", "evaluate", "generalisation", "transfer", "where_from",
              "mixtures", "answer"},
             "", label);
  Recipe recipe;
  recipe.path = path;
  recipe.json = json;
  recipe.kind = kind;
  recipe.title = json_get<std::string>(json, "title", label);
  recipe.question = json_get<std::string>(json, "question", label);
  recipe.weak = json_get_or<std::vector<std::string>>(json, "weak", {}, label);
  const Json& target = table_of(json, "target", label);
  check_keys(target, {"model", "name"}, "target", label);
  recipe.target = path_of(target, "model", base, label);
  recipe.target_name = json_get_or<std::string>(target, "name", recipe.target.filename().string(), label);
  if (kind == "patching") {
    check_keys(table_of(json, "records", label), {"path"}, "records", label);
    recipe.records = path_of(json.at("records"), "path", base, label);
    recipe.patching = parse_patching_settings(table_of(json, "dataset", label), label);
  } else if (kind == "features") {
    recipe.features = parse_features(table_of(json, "features", label), base, label);
    recipe.features.dataset = parse_feature_dataset(table_of(json, "dataset", label), label);
  } else {
    const Json& questions = table_of(json, "questions", label);
    check_keys(questions, {"path", "choices", "seed"}, "questions", label);
    recipe.records = path_of(questions, "path", base, label);
    recipe.questions.choices = json_get_or<int64_t>(questions, "choices", recipe.questions.choices, label);
    recipe.questions.seed = static_cast<uint64_t>(json_get_or<int64_t>(questions, "seed", 1, label));
    recipe.ablation = parse_ablation_settings(table_of(json, "dataset", label), label);
  }

  std::set<std::string> names;
  for (const Json& table : table_of(json, "explainer", label)) {
    check_keys(table, {"name", "model", "train", "seeds"}, "explainer", label);
    const std::string name = json_get<std::string>(table, "name", label);
    if (!names.insert(name).second) {
      fail_usage("recipe", fmt::format("two explainers are called '{}' ({})", name, label));
    }
    recipe.explainers.push_back({name, path_of(table, "model", base, label),
                                 table.contains("train") ? table.at("train") : Json(),
                                 json_get_or<std::vector<int64_t>>(table, "seeds", {}, label)});
  }
  if (recipe.explainers.empty()) fail_usage("recipe", fmt::format("no [[explainer]] table ({})", label));

  table_of(json, "train", label);
  recipe.variants.push_back({"trained", {}, {}, {}, {}});
  recipe.variants.front().training = training_of(recipe, recipe.explainers.front(), recipe.variants.front(), {});
  for (const ExplainerEntry& entry : recipe.explainers) {
    training_of(recipe, entry, recipe.variants.front(), {});  // throws for what its changes get wrong
  }
  std::set<std::string> conditions = {"trained"};
  if (json.contains("variant")) {
    for (const Json& table : json.at("variant")) {
      check_keys(table, {"condition", "explainers", "seeds", "train"}, "variant", label);
      Variant variant{json_get<std::string>(table, "condition", label),
                      json_get_or<std::vector<std::string>>(table, "explainers", {}, label),
                      json_get_or<std::vector<int64_t>>(table, "seeds", {}, label),
                      table.contains("train") ? table.at("train") : Json(),
                      {}};
      variant.training = training_of(recipe, recipe.explainers.front(), variant, {});
      for (const std::string& name : variant.explainers) {
        if (!names.contains(name)) {
          fail_usage("recipe", fmt::format("variant '{}' names the explainer '{}', which there is none of ({})",
                                           variant.condition, name, label));
        }
      }
      // a condition names a folder and a row
      if (!conditions.insert(variant.condition).second) {
        fail_usage("recipe", fmt::format("two variants have the condition '{}' ({})", variant.condition, label));
      }
      recipe.variants.push_back(std::move(variant));
    }
  }
  if (json.contains("search")) recipe.search = parse_search(recipe, json.at("search"), label);
  if (json.contains("projection")) recipe.projection = parse_paired(json.at("projection"), label, base);
  if (json.contains("simulator")) {
    if (kind != "features") fail_usage("recipe", fmt::format("[simulator] in a recipe of kind {} ({})", kind, label));
    recipe.simulator = parse_simulator(json.at("simulator"), label);
  }
  for (const Variant& variant : recipe.variants) {
    if (wants_projections(variant.training) && !recipe.projection) {
      fail_usage("recipe", fmt::format("fitted projections without a [projection] table ({})", label),
                 "name the text to fit them on: [[projection.text]]");
    }
  }
  recipe.evaluate = parse_evaluate(table_of(json, "evaluate", label), label);
  const std::vector<int64_t>& seeds = recipe.evaluate.seeds;
  const auto check_seeds = [&](const std::string& who, const std::vector<int64_t>& given) {
    for (int64_t seed : given) {
      if (std::find(seeds.begin(), seeds.end(), seed) != seeds.end()) continue;
      fail_usage("recipe", fmt::format("{} has the seed {}, which evaluate.seeds has not ({})", who, seed, label));
    }
  };
  for (const Variant& variant : recipe.variants) check_seeds("variant '" + variant.condition + "'", variant.seeds);
  for (const ExplainerEntry& entry : recipe.explainers) check_seeds("explainer '" + entry.name + "'", entry.seeds);
  if (json.contains("generalisation")) {
    for (const Json& table : json.at("generalisation")) {
      check_keys(table, {"condition", "group", "trained_on", "tested_on"}, "generalisation", label);
      recipe.generalisation.push_back(
          {json_get<std::string>(table, "condition", label), json_get<std::string>(table, "group", label),
           json_get<std::string>(table, "trained_on", label), json_get<std::string>(table, "tested_on", label)});
      if (!conditions.contains(recipe.generalisation.back().condition)) {
        fail_usage("recipe", fmt::format("generalisation of the condition '{}', which no variant has ({})",
                                         recipe.generalisation.back().condition, label));
      }
    }
  }
  if (json.contains("transfer")) recipe.transfers = parse_transfers(json, recipe, label);
  for (const char* key : {"where_from", "mixtures"}) {
    if (json.contains(key) && kind != "features") {
      fail_usage("recipe", fmt::format("[{}] in a recipe of kind {} ({})", key, kind, label));
    }
  }
  if (json.contains("where_from")) {
    recipe.where_from = parse_where_from(recipe, json.at("where_from"), label);
    check_seeds("where_from", recipe.where_from->seeds);
  }
  if (json.contains("mixtures")) recipe.mixtures = parse_mixtures(json.at("mixtures"), label);
  recipe.answer = json_get_or<std::vector<std::string>>(json, "answer", {}, label);
  for (const std::string& name : recipe.answer) {
    if (std::find(std::begin(kFindings), std::end(kFindings), name) == std::end(kFindings)) {
      fail_usage("recipe", fmt::format("answer: got '{}', expected {} ({})", name, fmt::join(kFindings, ", "), label));
    }
  }
  return recipe;
}

ExplainerTraining training_of(const Recipe& recipe, const ExplainerEntry& entry, const Variant& variant,
                              const Json& chosen) {
  Json table = Json::object();
  if (recipe.kind == "features") table["explainer"] = {{"task", "features"}};
  if (recipe.kind == "ablation") {
    const ChoicePromptStyle& style = recipe.ablation.style;
    table["explainer"] = {{"task", "ablation"}, {"chat", style.chat}};
    if (style.chat && !style.system.empty()) table["explainer"]["system"] = style.system;
  }
  for (const Json* changes : {&recipe.json.at("train"), &entry.changes, &chosen, &variant.changes}) {
    if (!changes->is_null()) table.merge_patch(*changes);
  }
  return parse_training(table, recipe.path.string(), recipe.path.parent_path());
}

Recipe read_recipe(const fs::path& path) {
  return parse_recipe(read_toml(path), path);
}

std::string validate_recipe(const fs::path& path) {
  const Json json = read_toml(path);
  const std::string kind = json_get<std::string>(json, "kind", path.string());
  if (kind == "pretrain") {
    check_pretrain_recipe(json, path.string());
  } else if (kind == "sae") {
    check_sae_recipe(json, path.string());
  } else if (kind == "joint") {
    read_joint_recipe(path);
  } else if (kind == "inverse") {
    read_inverse_recipe(path);
  } else if (kind == "matrix") {
    read_matrix_recipe(path);
  } else {
    parse_recipe(json, path);
  }
  return kind;
}

}  // namespace introspect
