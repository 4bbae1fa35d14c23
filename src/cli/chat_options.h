// What the commands that ask a chat model have in common.
#pragma once

#include "base/json.h"
#include "chat/cache.h"
#include "chat/cost.h"
#include "chat/endpoint.h"

#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace introspect {

struct ChatOptions {
  EndpointSettings endpoint;
  std::string folder, dtype = "fp32";          // in this process
  double prompt_price = -1, reply_price = -1;  // a million tokens; below 0: not given
  bool estimate = false;                       // say what asking would cost, and stop
};

void add_chat_options(CLI::App& command, ChatOptions& options);

// Throws Error(usage) unless exactly one of --endpoint and --chat-folder is given, or none with `optional`.
bool asks_chat_model(const ChatOptions& options, bool optional = false);

// What decides the replies, for a run record: neither address nor key.
Json chat_settings(const ChatOptions& options);

// The model with its memory in `cache`; says on standard error how much it remembers.
std::unique_ptr<CachedChatModel> open_chat_model(const ChatOptions& options, const fs::path& cache);

std::optional<ChatPrices> prices_of(const ChatOptions& options);

}  // namespace introspect
