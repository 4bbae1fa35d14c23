#include "explainer/published_explainer.h"

#include "base/error.h"
#include "procedure/choice_prompt.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Links every file of `from` into `to`, those that are there already excepted.
void link_files(const fs::path& from, const fs::path& to, bool tokenizer_alone) {
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    const bool of_tokenizer = name.find("token") != std::string::npos || name == "chat_template.jinja";
    const bool written_here = name == "explainer.json" || name == "run.json";
    if (!entry.is_regular_file() || written_here || (tokenizer_alone && !of_tokenizer)) continue;
    const fs::path link = to / name;
    if (fs::is_symlink(link)) fs::remove(link);
    if (!fs::exists(link)) fs::create_symlink(fs::canonical(entry.path()), link);
  }
}

std::vector<std::string> without_ends(std::vector<std::string> templates) {
  for (std::string& text : templates) {
    while (text.ends_with(' ') || text.ends_with('\n')) text.pop_back();
  }
  return templates;
}

}  // namespace

std::vector<std::string> published_templates(const std::string& task, bool chat, bool qwen) {
  if (task == "ablation") return paper_ablation_templates();
  if (task == "patching") return chat ? without_ends(paper_patching_templates()) : paper_patching_templates();
  if (!chat) return paper_feature_templates();
  std::vector<std::string> templates = {"Generate a description of this feature at layer {layer}: {s}{v}{e}",
                                        "What does {s}{v}{e} encode at layer {layer}?",
                                        "{s}{v}{e} activates at layer {layer} for inputs with the following features:"};
  if (qwen) {
    templates.push_back("What does {s}{v}{e} mean at layer {layer}?");
    templates.push_back("Layer {layer}, {s}{v}{e} means?");
  }
  return templates;
}

ExplainerConfig import_explainer(const PublishedExplainer& published, const fs::path& out) {
  const bool adapter = fs::exists(published.folder / "adapter_config.json");
  if (!adapter && !fs::exists(published.folder / "config.json")) {
    fail("explainer", fmt::format("neither config.json nor adapter_config.json in {}", published.folder.string()),
         "give the folder of a downloaded checkpoint or adapter");
  }
  if (published.task != "features" && published.task != "patching" && published.task != "ablation") {
    fail_usage("explainer", fmt::format("task: got '{}', expected features, patching or ablation", published.task));
  }
  if (adapter && published.base.empty()) {
    const Json said = read_json(published.folder / "adapter_config.json");
    fail_usage("explainer", fmt::format("an adapter without its base model ({})", published.folder.string()),
               fmt::format("--base: the folder of {}",
                           json_get_or<std::string>(said, "base_model_name_or_path", "the model it was trained on",
                                                    published.folder.string())));
  }
  const bool own_tokenizer = fs::exists(published.folder / "tokenizer.json");
  if (!adapter && !own_tokenizer && published.base.empty()) {
    fail_usage("explainer", fmt::format("no tokenizer.json in {}", published.folder.string()),
               "--base: the folder of the model that it was trained from");
  }
  const fs::path model = adapter ? published.base : published.folder;
  const Tokenizer tokenizer = Tokenizer::open(own_tokenizer && !adapter ? published.folder : published.base);

  ExplainerConfig config;
  config.task = published.task;
  const bool chat = published.chat.value_or(tokenizer.chat_template().has_value());
  const bool qwen = read_config(model).family == "qwen3";
  config.style.chat = chat;
  config.style.templates =
      published.templates.empty() ? published_templates(published.task, chat, qwen) : published.templates;
  if (chat) {
    config.style.system = published.system;
    config.style.prefill = published.prefill;
    if (published.task == "ablation" && published.system.empty()) config.style.system = published_choice_style().system;
  }
  config.injection.policy = InjectionPolicy::raw;
  config.slot_tokens = published.slot_tokens;
  if (published.task != "ablation") {
    const SlotTokens slot = find_slot_tokens(tokenizer, published.slot_tokens);
    config.slot_tokens = {tokenizer.token(slot.begin), tokenizer.token(slot.slot), tokenizer.token(slot.end)};
  }

  fs::create_directories(out);
  link_files(published.folder, out, false);
  if (!adapter && !own_tokenizer) link_files(published.base, out, true);
  Json json = explainer_config_to_json(config);
  json["adapter"] = adapter;
  json["base_model"] = fs::absolute(adapter ? published.base : out).lexically_normal().string();
  json["published"] = fs::absolute(published.folder).lexically_normal().string();
  write_json(out / "explainer.json", json);
  return config;
}

}  // namespace introspect
