#include "chat/cost.h"

#include <fmt/format.h>

namespace introspect {

namespace {

std::string grouped(int64_t number) {
  std::string digits = fmt::to_string(number);
  for (int64_t at = std::ssize(digits) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string cost_text(int64_t prompt_tokens, int64_t reply_tokens, const std::optional<ChatPrices>& prices) {
  return prices ? fmt::format("{:.2f}", chat_cost(prompt_tokens, reply_tokens, *prices)) : "";
}

}  // namespace

void ChatEstimate::add(const ChatModel& model, const ChatQuestion& question) {
  ++questions;
  if (model.remembers(question)) {
    ++remembered;
    return;
  }
  prompt_tokens += estimated_prompt_tokens(question);
  reply_tokens += question.max_tokens;
}

double chat_cost(int64_t prompt_tokens, int64_t reply_tokens, const ChatPrices& prices) {
  return (static_cast<double>(prompt_tokens) * prices.prompt + static_cast<double>(reply_tokens) * prices.reply) / 1e6;
}

std::string estimate_text(const ChatEstimate& estimate, const std::optional<ChatPrices>& prices) {
  std::string text = grouped(estimate.questions) + " questions";
  if (estimate.remembered > 0) text += fmt::format(" ({} remembered)", grouped(estimate.remembered));
  text += fmt::format(", about {} prompt tokens and at most {} reply tokens", grouped(estimate.prompt_tokens),
                      grouped(estimate.reply_tokens));
  const std::string cost = cost_text(estimate.prompt_tokens, estimate.reply_tokens, prices);
  return cost.empty() ? text : fmt::format("{}, at most about {}", text, cost);
}

std::string tally_text(const ChatTally& tally, const std::optional<ChatPrices>& prices) {
  std::string text = grouped(tally.answered) + " answered";
  const auto add = [&](int64_t count, const char* what) {
    if (count > 0) text += fmt::format(", {} {}", grouped(count), what);
  };
  add(tally.remembered, "remembered");
  add(tally.refused, "refused");
  add(tally.cut, "cut at the longest reply");
  add(tally.retries, "retries");
  text += fmt::format("; {} prompt and {} reply tokens", grouped(tally.prompt_tokens), grouped(tally.reply_tokens));
  add(tally.estimated, "replies with a guessed count");
  const std::string cost = cost_text(tally.prompt_tokens, tally.reply_tokens, prices);
  return cost.empty() ? text : fmt::format("{}, {}", text, cost);
}

}  // namespace introspect
