// ExplainerTraining as a recipe's table and back.
#include "base/error.h"
#include "explainer/train.h"
#include "model/weight_type.h"
#include "train/corpus.h"

#include <algorithm>
#include <set>

namespace introspect {

namespace {

const std::set<std::string> known_keys = {"explainer",
                                          "seed",
                                          "method",
                                          "lora",
                                          "steps",
                                          "epochs",
                                          "batch",
                                          "learning_rate",
                                          "muon_rate",
                                          "weight_decay",
                                          "clip_norm",
                                          "schedule",
                                          "warm_up",
                                          "compute",
                                          "weights",
                                          "activation_checkpointing",
                                          "vectors",
                                          "layers",
                                          "label_noise",
                                          "replay_share",
                                          "replay_text",
                                          "validate_every",
                                          "validation_examples",
                                          "patience",
                                          "checkpoint_every",
                                          "only",
                                          "self_consistency",
                                          "examples"};

constexpr std::pair<TrainMethod, const char*> methods[] = {
    {TrainMethod::full, "full"}, {TrainMethod::lora, "lora"}, {TrainMethod::frozen, "frozen"}};

std::string method_name(TrainMethod method) {
  for (const auto& [each, name] : methods) {
    if (each == method) return name;
  }
  fail("train", "a method without a name");
}

LoraConfig parse_lora(const Json& table, const std::string& label) {
  LoraConfig config;
  for (const auto& [key, value] : table.items()) {
    if (key != "rank" && key != "alpha" && key != "dropout" && key != "targets") {
      fail_usage("train", fmt::format("unknown key 'lora.{}' ({})", key, label));
    }
  }
  config.rank = json_get_or<int64_t>(table, "rank", config.rank, label);
  config.alpha = json_get_or<double>(table, "alpha", config.alpha, label);
  config.dropout = json_get_or<double>(table, "dropout", config.dropout, label);
  config.targets = json_get_or<std::vector<std::string>>(table, "targets", config.targets, label);
  return config;
}

// true: the defaults; or a table.
std::optional<SelfConsistency> parse_self_consistency(const Json& json, const std::string& label) {
  SelfConsistency settings;
  if (json.is_boolean()) return json.get<bool>() ? std::optional(settings) : std::nullopt;
  if (!json.is_object()) fail_usage("train", fmt::format("self_consistency: expected true or a table ({})", label));
  for (const auto& [key, value] : json.items()) {
    if (key != "every" && key != "relabel" && key != "prompts") {
      fail_usage("train",
                 fmt::format("unknown key 'self_consistency.{}', expected every, relabel or prompts ({})", key, label));
    }
  }
  settings.every = json_get_or<int64_t>(json, "every", settings.every, label);
  settings.relabel = json_get_or<bool>(json, "relabel", settings.relabel, label);
  settings.prompts = json_get_or<int64_t>(json, "prompts", settings.prompts, label);
  if (settings.every < 1 || settings.prompts < 1) {
    fail_usage("train", fmt::format("self_consistency: every {} and prompts {}, expected at least 1 ({})",
                                    settings.every, settings.prompts, label));
  }
  return settings;
}

void check_range(double value, double low, double high, const char* key, const std::string& label) {
  if (!(value >= low && value <= high)) {
    fail_usage("train", fmt::format("{}: got {}, expected {} to {} ({})", key, value, low, high, label));
  }
}

}  // namespace

bool wants_projections(const ExplainerTraining& training) {
  return is_fitted(training.explainer.injection.projection);
}

Json training_to_json(const ExplainerTraining& t) {
  Json json{
      {"explainer", explainer_config_to_json(t.explainer)},
      {"seed", t.seed},
      {"method", method_name(t.method)},
      {"lora",
       {{"rank", t.lora.rank}, {"alpha", t.lora.alpha}, {"dropout", t.lora.dropout}, {"targets", t.lora.targets}}},
      {"steps", t.steps},
      {"epochs", t.epochs},
      {"batch", t.batch},
      {"learning_rate", t.learning_rate},
      {"muon_rate", t.muon_rate},
      {"weight_decay", t.weight_decay},
      {"clip_norm", t.clip_norm},
      {"schedule", t.schedule},
      {"warm_up", t.warm_up},
      {"compute", t.compute},
      {"vectors", condition_name(t.vectors)},
      {"replay_share", t.replay_share},
      {"replay_text", t.replay_text},
      {"validate_every", t.validate_every},
      {"validation_examples", t.validation_examples},
      {"patience", t.patience},
      {"checkpoint_every", t.checkpoint_every}};
  if (!t.only.empty()) json["only"] = t.only;
  if (t.examples > 0) json["examples"] = t.examples;
  if (t.layers != LayerCondition::real) json["layers"] = condition_name(t.layers);
  if (t.label_noise) json["label_noise"] = noise_to_json(*t.label_noise);
  if (t.weights != "fp32") json["weights"] = t.weights;
  if (t.activation_checkpointing) json["activation_checkpointing"] = true;
  if (t.self_consistency) {
    json["self_consistency"] = {{"every", t.self_consistency->every},
                                {"relabel", t.self_consistency->relabel},
                                {"prompts", t.self_consistency->prompts}};
  }
  return json;
}

bool ExplainerTraining::takes(const Example& example) const {
  return std::all_of(only.begin(), only.end(), [&](const auto& wanted) {
    const auto found = example.attributes.find(wanted.first);
    return found != example.attributes.end() &&
           std::find(wanted.second.begin(), wanted.second.end(), found->second) != wanted.second.end();
  });
}

ExplainerTraining parse_training(const Json& table, const std::string& label, const fs::path& base) {
  for (const auto& [key, value] : table.items()) {
    if (!known_keys.contains(key)) fail_usage("train", fmt::format("unknown key '{}' ({})", key, label));
  }
  ExplainerTraining t;
  if (table.contains("explainer")) {
    t.explainer = parse_explainer_config(table.at("explainer"), label);
    for (const auto& [key, value] : table.at("explainer").items()) {
      if (key != "system" && key != "prefill" && !explainer_config_to_json(t.explainer).contains(key)) {
        fail_usage("train", fmt::format("unknown key 'explainer.{}' ({})", key, label));
      }
    }
  }
  t.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  const std::string method = json_get_or<std::string>(table, "method", "full", label);
  const auto named =
      std::find_if(std::begin(methods), std::end(methods), [&](const auto& each) { return method == each.second; });
  if (named == std::end(methods)) {
    fail_usage("train", fmt::format("method: got '{}', expected full, lora or frozen ({})", method, label));
  }
  t.method = named->first;
  if (table.contains("lora")) t.lora = parse_lora(table.at("lora"), label);
  t.steps = json_get_or<int64_t>(table, "steps", t.steps, label);
  t.epochs = json_get_or<double>(table, "epochs", t.epochs, label);
  t.batch = json_get_or<int64_t>(table, "batch", t.batch, label);
  t.learning_rate = json_get_or<double>(table, "learning_rate", t.learning_rate, label);
  t.muon_rate = json_get_or<double>(table, "muon_rate", t.muon_rate, label);
  t.weight_decay = json_get_or<double>(table, "weight_decay", t.weight_decay, label);
  t.clip_norm = json_get_or<double>(table, "clip_norm", t.clip_norm, label);
  t.schedule = json_get_or<std::string>(table, "schedule", t.schedule, label);
  t.warm_up = json_get_or<int64_t>(table, "warm_up", t.warm_up, label);
  t.compute = json_get_or<std::string>(table, "compute", t.compute, label);
  t.weights = json_get_or<std::string>(table, "weights", t.weights, label);
  t.activation_checkpointing = json_get_or<bool>(table, "activation_checkpointing", t.activation_checkpointing, label);
  if (parse_weight_type(t.weights) != at::kFloat && t.method != TrainMethod::lora) {
    fail_usage("train",
               fmt::format("weights = \"{}\" with method = \"{}\", expected fp32 ({})", t.weights, method, label),
               "method = \"lora\" trains factors on weights that stay as they are");
  }
  t.vectors = parse_condition(json_get_or<std::string>(table, "vectors", "real", label));
  t.layers = parse_layer_condition(json_get_or<std::string>(table, "layers", "real", label));
  if (table.contains("label_noise")) t.label_noise = parse_noise(table.at("label_noise"), label);
  t.replay_share = json_get_or<double>(table, "replay_share", t.replay_share, label);
  if (table.contains("replay_text")) t.replay_text = table.at("replay_text");
  t.replay_base = base;
  t.validate_every = json_get_or<int64_t>(table, "validate_every", t.validate_every, label);
  t.validation_examples = json_get_or<int64_t>(table, "validation_examples", t.validation_examples, label);
  t.patience = json_get_or<int64_t>(table, "patience", t.patience, label);
  t.checkpoint_every = json_get_or<int64_t>(table, "checkpoint_every", t.checkpoint_every, label);
  if (table.contains("only")) {
    for (const auto& [attribute, values] : table.at("only").items()) {
      t.only[attribute] = json_get<std::vector<std::string>>(table.at("only"), attribute, label);
    }
  }
  t.examples = json_get_or<int64_t>(table, "examples", t.examples, label);
  if (table.contains("self_consistency")) {
    t.self_consistency = parse_self_consistency(table.at("self_consistency"), label);
  }
  if (t.self_consistency && t.label_noise) {
    fail_usage("train", fmt::format("label_noise with self_consistency, which makes its own labels ({})", label));
  }
  check_range(static_cast<double>(t.batch), 1, 1e6, "batch", label);
  check_range(static_cast<double>(t.examples), 0, 1e12, "examples", label);
  const InjectionConfig& injection = t.explainer.injection;
  if (t.method == TrainMethod::frozen &&
      (injection.projection == ProjectionKind::none || !injection.train_projection)) {
    fail_usage("train", fmt::format("method = \"frozen\" without a projection that learns ({})", label),
               "set [train.explainer.injection] projection = \"affine\"");
  }
  check_range(t.replay_share, 0, 0.95, "replay_share", label);
  check_range(t.learning_rate, 0, 10, "learning_rate", label);
  check_range(static_cast<double>(t.checkpoint_every), 1, 1e9, "checkpoint_every", label);
  if (t.replay_text.is_array()) check_text_tables(t.replay_text, label);
  if (t.replay_share > 0 && (!t.replay_text.is_array() || t.replay_text.empty())) {
    fail_usage("train", fmt::format("replay_share without replay_text ({})", label),
               "name the texts as a pre-training recipe does: [[train.replay_text]]");
  }
  return t;
}

}  // namespace introspect
