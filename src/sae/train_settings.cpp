#include "sae/train_settings.h"

#include "base/error.h"
#include "sae/train.h"
#include "train/corpus.h"
#include "train/rate.h"

#include <algorithm>
#include <set>

namespace introspect {

namespace {

const Json& table_of(const Json& json, const char* name, const std::set<std::string>& known, const std::string& label) {
  if (!json.contains(name) || !json.at(name).is_object()) {
    fail_usage("recipe", fmt::format("no table [{}] ({})", name, label));
  }
  for (const auto& [key, value] : json.at(name).items()) {
    if (!known.contains(key)) fail_usage("recipe", fmt::format("unknown key '{}.{}' ({})", name, key, label));
  }
  return json.at(name);
}

template <class T>
T within(const Json& table, const std::string& key, T otherwise, T lowest, T highest, const std::string& label) {
  const T value = json_get_or<T>(table, key, otherwise, label);
  if (!(value >= lowest && value <= highest)) {
    fail_usage("recipe", fmt::format("{}: got {}, expected {} to {} ({})", key, value, lowest, highest, label));
  }
  return value;
}

at::ScalarType parse_stored(const std::string& name, const std::string& label) {
  if (name == "bf16") return at::kBFloat16;
  if (name == "fp32") return at::kFloat;
  fail_usage("recipe", fmt::format("sae.dtype: got '{}', expected bf16 or fp32 ({})", name, label));
}

}  // namespace

double SaeTrainSettings::rate(int64_t step) const {
  const double risen = warm_up > 0 ? static_cast<double>(step + 1) / static_cast<double>(warm_up) : 1;
  const double fall = decay * static_cast<double>(steps());
  const double left = fall > 0 ? static_cast<double>(steps() - step) / fall : 1;
  return std::min({1.0, risen, left});
}

SaeTrainSettings parse_sae_settings(const Json& json, const fs::path& recipe) {
  const std::string label = recipe.string();
  constexpr int64_t any = int64_t{1} << 50;
  for (const auto& [key, value] : json.items()) {
    if (!std::set<std::string>{"kind", "description", "target", "sae", "training", "text"}.contains(key)) {
      fail_usage("recipe", fmt::format("unknown key '{}' ({})", key, label));
    }
  }
  if (const auto kind = json_get<std::string>(json, "kind", label); kind != "sae") {
    fail_usage("recipe", fmt::format("kind: got '{}', expected sae ({})", kind, label));
  }
  SaeTrainSettings s;

  const Json& target = table_of(json, "target", {"model", "name"}, label);
  s.target = (recipe.parent_path() / json_get<std::string>(target, "model", label)).lexically_normal();
  s.target_name = json_get_or<std::string>(target, "name", s.target.filename().string(), label);

  const Json& sae = table_of(json, "sae",
                             {"kind", "latents", "layers", "k", "l0", "bandwidth", "sparsity_weight", "auxiliary_k",
                              "auxiliary_weight", "dead_after", "dtype"},
                             label);
  SaeLossSettings& loss = s.learner.loss;
  loss.kind = parse_sae_kind(json_get<std::string>(sae, "kind", label));
  const bool topk = loss.kind == SaeKind::topk;
  if (!topk && loss.kind != SaeKind::jumprelu) {
    fail_usage("recipe",
               fmt::format("sae.kind: got '{}', expected topk or jumprelu ({})", sae_kind_name(loss.kind), label));
  }
  for (const char* key : {"l0", "bandwidth", "sparsity_weight"}) {
    if (topk && sae.contains(key)) fail_usage("recipe", fmt::format("sae.{} is of jumprelu alone ({})", key, label));
  }
  if (!topk && sae.contains("k")) {
    fail_usage("recipe", fmt::format("sae.k is of topk alone ({})", label), "jumprelu aims at sae.l0");
  }
  s.learner.latents = json_get<int64_t>(sae, "latents", label);
  if (s.learner.latents < 1 || s.learner.latents > (int64_t{1} << 24)) {
    fail_usage("recipe", fmt::format("sae.latents: got {} ({})", s.learner.latents, label));
  }
  s.layers = json_get<std::vector<int64_t>>(sae, "layers", label);
  if (s.layers.empty()) fail_usage("recipe", fmt::format("sae.layers is empty ({})", label));
  if (std::set<int64_t>(s.layers.begin(), s.layers.end()).size() != s.layers.size()) {
    fail_usage("recipe", fmt::format("sae.layers has a layer twice ({})", label));
  }
  loss.k = within<int64_t>(sae, "k", loss.k, 1, s.learner.latents, label);
  loss.l0_target = within<double>(sae, "l0", loss.l0_target, 1e-3, static_cast<double>(s.learner.latents), label);
  loss.bandwidth = within<double>(sae, "bandwidth", loss.bandwidth, 1e-6, 1e3, label);
  loss.sparsity_weight = within<double>(sae, "sparsity_weight", loss.sparsity_weight, 0, 1e6, label);
  loss.auxiliary_k = within<int64_t>(sae, "auxiliary_k", loss.auxiliary_k, 0, s.learner.latents, label);
  loss.auxiliary_weight = within<double>(sae, "auxiliary_weight", loss.auxiliary_weight, 0, 1e6, label);
  s.learner.dead_after = within<int64_t>(sae, "dead_after", s.learner.dead_after, 1, any, label);
  s.save_as = parse_stored(json_get_or<std::string>(sae, "dtype", "bf16", label), label);

  const Json& training =
      table_of(json, "training",
               {"seed", "tokens", "batch", "learning_rate", "warm_up", "decay", "context", "block_tokens",
                "pass_tokens", "report_steps", "checkpoint_steps", "held_out", "compute"},
               label);
  s.seed = within<int64_t>(training, "seed", 1, 0, any, label);
  s.positions = within<int64_t>(training, "tokens", 0, 1, any, label);
  s.batch = within<int64_t>(training, "batch", 1024, 1, int64_t{1} << 24, label);
  s.learner.learning_rate = within<double>(training, "learning_rate", s.learner.learning_rate, 0, 1e3, label);
  s.warm_up = within<int64_t>(training, "warm_up", 50, 0, any, label);
  s.decay = within<double>(training, "decay", 0.3, 0, 1, label);
  s.context = within<int64_t>(training, "context", 256, 2, any, label);
  s.block_tokens = within<int64_t>(training, "block_tokens", 131'072, 2, any, label);
  s.pass_tokens = within<int64_t>(training, "pass_tokens", 2048, 2, any, label);
  s.report_steps = within<int64_t>(training, "report_steps", 200, 1, any, label);
  s.checkpoint_steps = within<int64_t>(training, "checkpoint_steps", 500, 1, any, label);
  s.held_out = within<int64_t>(training, "held_out", 32, 1, any, label);
  s.compute = json_get_or<std::string>(training, "compute", "auto", label);
  choose_compute(s.compute);  // throws

  if (!json.contains("text") || !json.at("text").is_array()) {
    fail_usage("recipe", fmt::format("no [[text]] table ({})", label));
  }
  check_text_tables(json.at("text"), label);
  return s;
}

void check_sae_recipe(const Json& json, const std::string& label) {
  parse_sae_settings(json, label);
}

SaeRecipe read_sae_recipe(const fs::path& path) {
  SaeRecipe recipe{read_toml(path), path};
  check_sae_recipe(recipe.json, path.string());
  return recipe;
}

}  // namespace introspect
