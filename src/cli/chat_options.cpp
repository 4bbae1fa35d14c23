#include "cli/chat_options.h"

#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "chat/local.h"
#include "cli/model_options.h"

namespace introspect {

void add_chat_options(CLI::App& command, ChatOptions& options) {
  EndpointSettings& endpoint = options.endpoint;
  const std::string group = "Chat model";
  const auto add = [&](const std::string& name, auto& value, const std::string& text) {
    return command.add_option(name, value, text)->group(group)->capture_default_str();
  };
  add("--endpoint", endpoint.url, "base of an OpenAI-compatible server: http://localhost:8000/v1");
  add("--chat-name", endpoint.model, "the model's name at the endpoint");
  add("--key-variable", endpoint.key_variable, "environment variable that holds the key (default: no key is sent)");
  add("--in-flight", endpoint.in_flight, "questions at once");
  add("--requests-per-minute", endpoint.requests_per_minute, "limit of the endpoint; 0: none");
  add("--tokens-per-minute", endpoint.tokens_per_minute, "limit of the endpoint; 0: none");
  add("--attempts", endpoint.attempts, "of each question, with longer and longer waits between");
  add("--reply-seconds", endpoint.times.reply_seconds, "wait for a reply at most so long");
  add("--chat-parameters", endpoint.parameters,
      "JSON merged into every request; null takes a key away: {\"max_tokens\": null, \"max_completion_tokens\": 300}");
  add("--chat-folder", options.folder, "instead of an endpoint a Hugging Face folder, run in this process");
  add("--chat-dtype", options.dtype, "type of that model's weights")->check(CLI::IsMember({"fp32", "bf16"}));
  command.add_option("--prompt-price", options.prompt_price, "of a million prompt tokens, for the estimate")
      ->group(group)
      ->check(CLI::NonNegativeNumber);
  command.add_option("--reply-price", options.reply_price, "of a million reply tokens")
      ->group(group)
      ->check(CLI::NonNegativeNumber);
  command
      .add_flag("--estimate", options.estimate, "only say how many questions and tokens it would take, and the cost")
      ->group(group);
}

bool asks_chat_model(const ChatOptions& options, bool optional) {
  const bool remote = !options.endpoint.url.empty(), local = !options.folder.empty();
  if (remote && local) fail_usage("chat", "got --endpoint and --chat-folder, expected one of them");
  if (!remote && !local && !optional)
    fail_usage("chat", "expected --endpoint URL --chat-name NAME, or --chat-folder DIR");
  if (remote && options.endpoint.model.empty()) fail_usage("chat", "--endpoint: expected --chat-name too");
  if ((options.prompt_price < 0) != (options.reply_price < 0)) {
    fail_usage("chat", "got one price, expected both --prompt-price and --reply-price");
  }
  return remote || local;
}

Json chat_settings(const ChatOptions& options) {
  if (!options.folder.empty()) return {{"folder_hash", sha256_folder(options.folder)}, {"dtype", options.dtype}};
  return {{"model", options.endpoint.model},
          {"parameters", parse_json(options.endpoint.parameters, "--chat-parameters")}};
}

std::unique_ptr<CachedChatModel> open_chat_model(const ChatOptions& options, const fs::path& cache) {
  std::unique_ptr<ChatModel> inner;
  if (!options.folder.empty()) {
    ModelOptions model;
    model.folder = options.folder;
    model.dtype = options.dtype;
    const fs::path folder = fs::weakly_canonical(options.folder);
    Tokenizer tokenizer = Tokenizer::open(folder);
    std::vector<int64_t> stop = end_tokens(folder);
    if (stop.empty() && tokenizer.eos()) stop = {*tokenizer.eos()};
    inner = std::make_unique<LocalChatModel>(folder.filename().string(),
                                             fmt::format("{} {}", sha256_folder(folder), options.dtype),
                                             open_model(model), std::move(tokenizer), std::move(stop));
  } else {
    inner = std::make_unique<EndpointChatModel>(options.endpoint);
  }
  auto model = std::make_unique<CachedChatModel>(std::move(inner), cache);
  if (model->broken_lines() > 0) say(fmt::format("warning: a half-written line was cut off ({})", cache.string()));
  if (model->size() > 0) say(fmt::format("{} replies are remembered ({})", model->size(), cache.string()));
  return model;
}

std::optional<ChatPrices> prices_of(const ChatOptions& options) {
  if (options.prompt_price < 0) return std::nullopt;
  return ChatPrices{options.prompt_price, options.reply_price};
}

}  // namespace introspect
