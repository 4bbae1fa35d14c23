// A pair of prompts as tokens: what each position is, and which position of x' stands for which of x.
#pragma once

#include "procedure/options.h"
#include "procedure/pairs.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

// The types that are not a template token's own text.
namespace token_type {
inline constexpr char subject_final[] = "subject final";
inline constexpr char subject_other[] = "subject";                   // subject tokens before its last
inline constexpr char relation[] = "relation";                       // statement tokens that are not the subject
inline constexpr char original_option[] = "original answer option";  // the last token of an option
inline constexpr char counterfactual_option[] = "counterfactual answer option";
inline constexpr char other_option[] = "other answer option";
inline constexpr char option_part[] = "option part";  // tokens of an option before its last
}  // namespace token_type

// One prompt as the target reads it.
struct TokenizedPrompt {
  std::vector<int64_t> tokens;
  std::vector<TextRange> ranges;   // bytes of the prompt's text; empty for BOS and its like
  std::vector<std::string> types;  // "" for tokens that no text stands behind
  std::vector<std::string> texts;  // token_text of each
  int64_t subject_final = -1;      // position; -1: no token overlaps the subject
};
// `original`, `counterfactual`: which of prompt.options the two objects are.
TokenizedPrompt tokenize_prompt(const Tokenizer& tokenizer, const TargetPrompt& prompt, bool add_special,
                                size_t original, size_t counterfactual);

// How a token is shown and compared: without blanks at its ends; one that is nothing but blanks as escapes ("\n\n").
std::string visible_text(std::string_view text);
// The same of a token by itself; bytes that are part of a character show as U+FFFD.
std::string token_text(const Tokenizer& tokenizer, int64_t id);

// A cell's positions: t of x, t' of x'.
struct Alignment {
  std::vector<int64_t> positions, sources;
  std::string problem;  // why there is none: the reason to count; empty: all is well
};
// Tokens before the subject are counted from the beginning, subject tokens from the subject's end (where both prompts
// have one), tokens after it from the end of the prompt: there the two prompts must be the same, token by token. BOS
// and other tokens without text are left out. `only_types` not empty: positions of these types alone.
Alignment align(const TokenizedPrompt& prompt, const TokenizedPrompt& counterfactual,
                const std::vector<std::string>& only_types = {});

// What a pair becomes: both prompts, their tokens, the answer's tokens, the cells.
struct PatchPrompt {
  FactPair pair;
  TargetPrompt prompt, counterfactual_prompt;
  TokenizedPrompt tokens, counterfactual_tokens;
  std::vector<int64_t> answer;  // tokens that continue the prompt with " <object>"
  Alignment cells;
};
PatchPrompt make_patch_prompt(const Tokenizer& tokenizer, const FactPair& pair, const PromptStyle& style,
                              const std::vector<std::string>& only_types = {});

}  // namespace introspect
