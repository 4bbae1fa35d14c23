// introspect generate: text from a model, many prompts at once.
#include "model/generate.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/model_options.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct GenerateArguments {
  ModelOptions model;
  std::vector<std::string> prompts;
  std::string jsonl;
  GenerateOptions options;
  bool json = false;
};

// One JSON string a line, or an object with "prompt".
std::vector<std::string> prompts_of(const GenerateArguments& given) {
  if (given.jsonl.empty()) return given.prompts;
  std::vector<std::string> prompts;
  for_each_json_line(given.jsonl, [&](size_t line, const Json& json) {
    const std::string label = given.jsonl + ":" + std::to_string(line);
    if (!json.is_string() && !json.is_object()) {
      fail("generate", fmt::format("expected a string or an object with 'prompt' ({})", label));
    }
    prompts.push_back(json.is_string() ? json.get<std::string>() : json_get<std::string>(json, "prompt", label));
  });
  if (prompts.empty()) fail("generate", fmt::format("no prompts ({})", given.jsonl));
  return prompts;
}

void run(GenerateArguments& given) {
  const std::vector<std::string> texts = prompts_of(given);
  const Tokenizer tokenizer = Tokenizer::open(given.model.folder);
  std::vector<Prompt> prompts;
  for (const std::string& text : texts) {
    prompts.emplace_back();
    prompts.back().tokens = tokenizer.encode(text);
  }
  given.options.stop_tokens = end_tokens(given.model.folder);
  if (given.options.stop_tokens.empty() && tokenizer.eos()) given.options.stop_tokens = {*tokenizer.eos()};
  const Model model = open_model(given.model);
  const std::vector<Generated> results = generate(model, tokenizer, prompts, given.options);
  for (size_t i = 0; i < results.size(); ++i) {
    if (given.json) {
      Json json;
      json["prompt"] = texts[i];
      json["text"] = results[i].text;
      json["tokens"] = results[i].tokens;
      json["finished"] = results[i].finished;
      std::printf("%s\n", json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    } else {
      std::printf("%s%s%s\n", i > 0 ? "\n" : "", texts[i].c_str(), results[i].text.c_str());
    }
  }
}

}  // namespace

void add_generate_command(CLI::App& app) {
  auto given = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue prompts with a model");
  add_model_options(*command, given->model);
  auto* input = command->add_option_group("input", "what to continue");
  input->add_option("--prompt", given->prompts, "a prompt (repeatable)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  input->add_option("--jsonl", given->jsonl, "file with a JSON string a line, or objects with \"prompt\"");
  input->require_option(1);
  GenerateOptions& options = given->options;
  command->add_option("--max-new-tokens", options.max_new_tokens, "tokens a prompt gets at most")
      ->capture_default_str();
  command->add_option("--temperature", options.temperature, "0: always the likeliest token")->capture_default_str();
  command->add_option("--top-k", options.top_k, "draw from the k likeliest tokens (0: from all)")
      ->capture_default_str();
  command->add_option("--top-p", options.top_p, "draw from the likeliest tokens of this probability together")
      ->capture_default_str();
  command->add_option("--seed", options.seed, "of the draws; each prompt has a stream of its own")
      ->capture_default_str();
  command->add_option("--stop", options.stop, "text that ends a continuation and is cut off (repeatable)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_flag("--json", given->json, "a JSON object a line: prompt, text, tokens, finished");
  command->footer(
      "Prompts are encoded with the tokenizer's special tokens. A continuation ends at the model's end token, at a "
      "stop\n"
      "text or after --max-new-tokens. Other settings of generation_config.json are shown by model info, not "
      "applied.\n\n"
      "Example:\n"
      "  introspect generate models/tiny-llama --prompt \"The capital of France is\" --max-new-tokens 5 --stop .\n"
      "  introspect generate models/tiny-llama --jsonl prompts.jsonl --temperature 0.8 --top-p 0.95 --seed 1 --json");
  command->callback([given] { run(*given); });
}

}  // namespace introspect
