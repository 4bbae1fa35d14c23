// Input ablation in its general form: what a target answers to a text, and to the text without a part of it.
#pragma once

#include "model/model.h"
#include "procedure/options.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

namespace introspect {

struct LeaveOutPrompt {
  std::string text;
  std::vector<TextRange> spans;  // what is taken away, one at a time: a run of the target for each
  // First tokens of the valid answers, all different: the answer is the likeliest of them. Empty: any token.
  std::vector<int64_t> valid;
};

struct LeaveOutAnswer {
  int64_t token = -1;      // the likeliest valid token behind the text
  int64_t choice = -1;     // which of `valid` that is; -1 if any token is
  int64_t likeliest = -1;  // the likeliest of the whole vocabulary
  double probability = 0;  // of `token`
};
struct LeaveOutResult {
  LeaveOutAnswer whole;
  std::vector<LeaveOutAnswer> without;  // one a span
};

struct LeaveOutSettings {
  bool add_special = true;         // the tokenizer's BOS in front; false where a chat template wrote its own
  int64_t tokens_per_pass = 4096;  // prompts go in groups of about so many tokens
  bool share_prefix = true;        // what an ablated text has in common with the whole one is computed once
  at::ScalarType compute = at::kFloat;
};

// Results in the order of the prompts; with and without share_prefix they are the same but for rounding. Texts are
// tokenised anew without the span, as if it had never been there. Throws Error for a span outside its text or one that
// leaves nothing, and a text that is longer than the model's positions.
std::vector<LeaveOutResult> leave_out(const Model& model, const Tokenizer& tokenizer,
                                      const std::vector<LeaveOutPrompt>& prompts, const LeaveOutSettings& settings);

// The text without the span.
std::string without_span(const std::string& text, const TextRange& span);

// Stretches that follow each other and cover the text but for blanks around it: sentences end behind . ! ? or a line
// end that blanks follow, words at blanks. Each holds the blanks behind it, the last one those in front, so that what
// is left is well formed.
std::vector<TextRange> sentence_spans(const std::string& text);
std::vector<TextRange> word_spans(const std::string& text);

}  // namespace introspect
