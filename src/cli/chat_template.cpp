// introspect chat-template: what a model reads when it is given messages.
#include "text/chat_template.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "cli/commands.h"

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  std::string model, file, bos, eos, lines, system, user, prefill;
};

ChatTemplate open(const Options& options) {
  if (!options.model.empty() == !options.file.empty()) {
    fail_usage("chat-template", "expected a MODEL or --template FILE, and not both");
  }
  if (!options.model.empty()) {
    return ChatTemplate::of(Tokenizer::open(options.model), options.model + " chat_template");
  }
  std::map<std::string, std::string> special_tokens;
  if (!options.bos.empty()) special_tokens["bos_token"] = options.bos;
  if (!options.eos.empty()) special_tokens["eos_token"] = options.eos;
  return ChatTemplate(read_text(options.file), options.file, std::move(special_tokens));
}

// A line each: the rendering as a JSON string, or {"error": ...}.
void render_lines(const ChatTemplate& chat, const std::string& path) {
  for_each_json_line(path, [&](size_t line, const Json& json) {
    Json result;
    try {
      result = chat.render(parse_chat_request(json, fmt::format("{}:{}", path, line)));
    } catch (const Error& error) {
      result = {{"error", error.what()}};
    }
    std::printf("%s\n", result.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  });
}

}  // namespace

void add_chat_template_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("chat-template", "Render messages with a model's chat template");
  command->add_option("MODEL", options->model, "model folder, or a folder with its tokenizer's files");
  command->add_option("--template", options->file, "a Jinja file instead of a model's template");
  command->add_option("--bos", options->bos, "with --template: the text of bos_token (default: undefined)");
  command->add_option("--eos", options->eos, "with --template: the text of eos_token (default: undefined)");
  command->add_option("--jsonl", options->lines,
                      "a line each: {\"messages\", \"add_generation_prompt\", \"continue_final_message\", \"kwargs\"}");
  command->add_option("--system", options->system, "a system message");
  command->add_option("--user", options->user, "a user message");
  command->add_option("--prefill", options->prefill, "the beginning of the assistant's answer, left open");
  command->footer(
      "--jsonl prints a JSON string a line, or {\"error\": ...} where the template raises.\n"
      "Example: introspect chat-template --template chat.jinja --user \"What is the capital of France?\"");
  command->callback([options] {
    const ChatTemplate chat = open(*options);
    if (!options->lines.empty()) return render_lines(chat, options->lines);
    if (options->user.empty()) fail_usage("chat-template", "expected --jsonl FILE or --user TEXT");
    ChatRequest request;
    request.messages = Json::array();
    const auto add = [&](const char* role, const std::string& content) {
      if (!content.empty()) request.messages.push_back({{"role", role}, {"content", content}});
    };
    add("system", options->system);
    add("user", options->user);
    add("assistant", options->prefill);
    request.continue_final_message = !options->prefill.empty();
    request.add_generation_prompt = !request.continue_final_message;
    std::printf("%s\n", chat.render(request).c_str());
  });
}

}  // namespace introspect
