// Settings of activation patching as a table, and prompts made of them.
#include "base/error.h"
#include "procedure/patching.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string dtype_name(at::ScalarType type) {
  return type == at::kBFloat16 ? "bf16" : "fp32";
}

at::ScalarType parse_dtype(const std::string& name, const std::string& label) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  fail_usage("patching", fmt::format("compute: got \"{}\", expected fp32 or bf16 ({})", name, label));
}

}  // namespace

Json patching_settings_to_json(const PatchingSettings& settings) {
  Json json = {{"seed", settings.seed},
               {"blocks", settings.sweep.blocks},
               {"pairs_per_subject", settings.pairs.pairs_per_subject},
               {"max_pairs", settings.pairs.max_pairs},
               {"option_count", settings.pairs.option_count},
               {"template_index", settings.pairs.template_index},
               {"train_share", settings.pairs.train_share},
               {"validation_share", settings.pairs.validation_share},
               {"only_correct", settings.sweep.only_correct},
               {"compute", dtype_name(settings.sweep.compute)},
               {"rows_per_pass", settings.sweep.rows_per_pass},
               {"prompts_per_chunk", settings.prompts_per_chunk},
               {"min_per_cell", settings.balance.min_per_cell},
               {"max_per_cell", settings.balance.max_per_cell},
               {"max_share", settings.balance.max_share},
               {"token_types", settings.token_types},
               {"style", settings.style_name},
               {"system", settings.system},
               {"instruction", settings.style.instruction},
               {"joiner", settings.style.joiner},
               {"refusal", settings.style.refusal},
               {"cue", settings.style.cue}};
  if (!settings.balanced) json["balanced"] = false;  // a data set made before there was this key is the same as with it
  return json;
}

PatchingSettings parse_patching_settings(const Json& table, const std::string& label) {
  PatchingSettings made;
  Json known = patching_settings_to_json(made);
  known["balanced"] = made.balanced;
  for (const auto& [key, value] : table.items()) {
    if (known.contains(key)) continue;
    std::string names;
    for (const auto& [name, ignored] : known.items()) names += (names.empty() ? "" : ", ") + name;
    fail_usage("patching", fmt::format("got the setting \"{}\", expected one of {} ({})", key, names, label));
  }
  const auto read = [&](const char* key, auto& value) {
    value = json_get_or<std::remove_reference_t<decltype(value)>>(table, key, value, label);
  };
  auto seed = static_cast<int64_t>(made.seed);
  std::string compute = dtype_name(made.sweep.compute);
  read("seed", seed);
  read("blocks", made.sweep.blocks);
  read("pairs_per_subject", made.pairs.pairs_per_subject);
  read("max_pairs", made.pairs.max_pairs);
  read("option_count", made.pairs.option_count);
  read("template_index", made.pairs.template_index);
  read("train_share", made.pairs.train_share);
  read("validation_share", made.pairs.validation_share);
  read("only_correct", made.sweep.only_correct);
  read("compute", compute);
  read("rows_per_pass", made.sweep.rows_per_pass);
  read("prompts_per_chunk", made.prompts_per_chunk);
  read("balanced", made.balanced);
  read("min_per_cell", made.balance.min_per_cell);
  read("max_per_cell", made.balance.max_per_cell);
  read("max_share", made.balance.max_share);
  read("token_types", made.token_types);
  read("style", made.style_name);
  read("system", made.system);
  read("instruction", made.style.instruction);
  read("joiner", made.style.joiner);
  read("refusal", made.style.refusal);
  read("cue", made.style.cue);
  made.seed = static_cast<uint64_t>(seed);
  made.sweep.compute = parse_dtype(compute, label);
  if (made.style_name != "plain" && made.style_name != "chat") {
    fail_usage("patching", fmt::format("style: got \"{}\", expected plain or chat ({})", made.style_name, label));
  }
  if (made.sweep.rows_per_pass < 1 || made.prompts_per_chunk < 1) {
    fail_usage("patching", fmt::format("rows_per_pass and prompts_per_chunk: got {} and {}, expected at least 1 ({})",
                                       made.sweep.rows_per_pass, made.prompts_per_chunk, label));
  }
  return made;
}

std::vector<PatchPrompt> make_patch_prompts(const Model& model, const Tokenizer& tokenizer, const FactTable& facts,
                                            const PatchingSettings& settings, DropReport& dropped) {
  std::vector<PatchPrompt> prompts;
  const PromptStyle style =
      settings.style_name == "chat" ? with_chat_template(settings.style, tokenizer, settings.system) : settings.style;
  for (const FactPair& pair : make_pairs(facts, settings.pairs, settings.seed, dropped)) {
    PatchPrompt prompt = make_patch_prompt(tokenizer, pair, style, settings.token_types);
    const auto longest = std::max(std::ssize(prompt.tokens.tokens) + std::ssize(prompt.answer) - 1,
                                  std::ssize(prompt.counterfactual_tokens.tokens));
    if (longest > model.config.max_positions) prompt.cells.problem = "prompt longer than the model's positions";
    if (prompt.cells.problem.empty()) {
      prompts.push_back(std::move(prompt));
    } else {
      dropped.add(prompt.cells.problem, fmt::format("{}: {}", pair.relation, pair.fact.subject));
    }
  }
  if (prompts.empty()) {
    fail("patching", fmt::format("got no prompt that the target can run, left out: {}", dropped.text()),
         fmt::format("the model has {} positions", model.config.max_positions));
  }
  return prompts;
}

SweepPrompt sweep_prompt_of(const PatchPrompt& prompt) {
  return {prompt.tokens.tokens, prompt.counterfactual_tokens.tokens, prompt.answer, prompt.cells.positions,
          prompt.cells.sources};
}

}  // namespace introspect
