// introspect explainer import: explainers that others published.
#include "base/error.h"
#include "cli/commands.h"
#include "explainer/published_explainer.h"

#include <cstdio>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace introspect {

void add_explainer_commands(CLI::App& app) {
  struct Options {
    std::string folder, base, kind, out, system, prefill;
    std::vector<std::string> slot_tokens, templates;
    bool chat = false, no_chat = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* group = app.add_subcommand("explainer", "Explainers that others published");
  group->require_subcommand(1);
  CLI::App* command = group->add_subcommand("import", "Make a downloaded checkpoint or PEFT adapter an explainer");
  command->add_option("folder", options->folder, "with config.json or adapter_config.json")->required();
  command->add_option("--kind", options->kind, "features, patching or ablation")->required();
  command->add_option("--base", options->base, "folder of an adapter's base model, or of a tokenizer it lacks");
  CLI::Option* chat = command->add_flag("--chat", options->chat, "questions are a user's turns");
  command
      ->add_flag("--no-chat", options->no_chat, "questions are plain text (default: as the tokenizer has a template)")
      ->excludes(chat);
  command->add_option("--system", options->system,
                      "chat: text of a system turn (default of ablation: the published one)");
  command->add_option("--prefill", options->prefill, "chat: how the assistant's turn begins");
  command
      ->add_option("--slot-tokens", options->slot_tokens, "begin, slot and end token (default: Llama 3's or Qwen3's)")
      ->delimiter(',');
  command->add_option("--template", options->templates, "questions in place of the published ones, with {s}{v}{e}");
  command->add_option("--out", options->out, "folder with explainer.json and links to the files")->required();
  command->footer(
      "Vectors go in as published: as they are, in place of the slot token's embedding. docs/PUBLISHED.md has the\n"
      "published folders.\n"
      "Example: introspect explainer import act_patch_llama3.1_8b_llama3.1_8b --kind patching --base Llama-3.1-8B\n"
      "--out runs/published-explainer");
  command->callback([options] {
    PublishedExplainer published{options->folder, options->base,    options->kind,        {},
                                 options->system, options->prefill, options->slot_tokens, options->templates};
    if (options->chat || options->no_chat) published.chat = options->chat;
    const ExplainerConfig config = import_explainer(published, options->out);
    std::printf("%s: task %s, %s\n", options->out.c_str(), config.task.c_str(),
                config.style.chat ? "asked as a user's turn" : "asked in plain text");
    if (!config.slot_tokens.empty()) {
      std::printf("slot tokens  %s\n", fmt::format("{}", fmt::join(config.slot_tokens, "  ")).c_str());
    }
    for (const std::string& text : config.style.templates) std::printf("question     %s\n", text.c_str());
  });
}

}  // namespace introspect
