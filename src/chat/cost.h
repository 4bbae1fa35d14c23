// What questions cost: an estimate before, a tally after.
#pragma once

#include "chat/chat_model.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

// In any currency, a million tokens.
struct ChatPrices {
  double prompt = 0, reply = 0;
};

struct ChatEstimate {
  int64_t questions = 0, remembered = 0;  // all, and those the cache answers
  int64_t prompt_tokens = 0;              // of what is to be asked, guessed from its length
  int64_t reply_tokens = 0;               // at most: every reply as long as it may be
  void add(const ChatModel& model, const ChatQuestion& question);
};

double chat_cost(int64_t prompt_tokens, int64_t reply_tokens, const ChatPrices& prices);

// "1,200 questions (300 remembered), about 512,000 prompt tokens and at most 90,000 reply tokens, at most 1.21";
// without prices the tokens alone.
std::string estimate_text(const ChatEstimate& estimate, const std::optional<ChatPrices>& prices);
// "900 answered, 300 remembered, 2 refused, 5 cut at the longest reply, 17 retries; 498,000 prompt and 31,000 reply
// tokens, 0.87"
std::string tally_text(const ChatTally& tally, const std::optional<ChatPrices>& prices);

}  // namespace introspect
