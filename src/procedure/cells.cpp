#include "procedure/cells.h"

#include "base/error.h"

#include <algorithm>

#include <fmt/format.h>

namespace introspect {

namespace {

size_t option_index(const std::vector<std::string>& options, const std::string& object) {
  const auto found = std::find(options.begin(), options.end(), object);
  if (found == options.end()) fail("cells", fmt::format("got options without \"{}\"", object));
  return static_cast<size_t>(found - options.begin());
}

}  // namespace

std::string visible_text(std::string_view text) {
  std::string visible = trimmed(text);
  if (!visible.empty()) return visible;
  for (const char letter : text) {
    switch (letter) {
      case '\n':
        visible += "\\n";
        break;
      case '\r':
        visible += "\\r";
        break;
      case '\t':
        visible += "\\t";
        break;
      case ' ':
        visible += "\\s";
        break;
      default:
        visible += fmt::format("\\x{:02x}", static_cast<unsigned char>(letter));
    }
  }
  return visible;
}

std::string token_text(const Tokenizer& tokenizer, int64_t id) {
  const std::string text = visible_text(tokenizer.decode({id}));
  return text.empty() ? tokenizer.token(id) : text;  // special tokens that decode to nothing
}

TokenizedPrompt tokenize_prompt(const Tokenizer& tokenizer, const TargetPrompt& prompt, bool add_special,
                                size_t original, size_t counterfactual) {
  const auto encoding = tokenizer.encode_with_offsets(prompt.text, add_special);
  TokenizedPrompt result;
  result.tokens = encoding.ids;
  for (const auto& [begin, end] : encoding.offsets) result.ranges.push_back({begin, end});

  const size_t count = result.tokens.size();
  result.types.resize(count);
  result.texts.resize(count);
  for (size_t t = 0; t < count; ++t) {
    const TextRange& range = result.ranges[t];
    if (range.begin >= range.end) continue;
    result.texts[t] = token_text(tokenizer, result.tokens[t]);
    if (range.overlaps(prompt.subject)) {
      result.types[t] = token_type::subject_other;
      result.subject_final = static_cast<int64_t>(t);
    } else if (range.overlaps(prompt.statement)) {
      result.types[t] = token_type::relation;
    } else {
      result.types[t] = result.texts[t];
    }
  }
  if (result.subject_final >= 0) result.types[static_cast<size_t>(result.subject_final)] = token_type::subject_final;
  for (size_t option = 0; option < prompt.options.size(); ++option) {
    std::string* last = nullptr;
    for (size_t t = 0; t < count; ++t) {
      if (!result.ranges[t].overlaps(prompt.options[option])) continue;
      last = &result.types[t];
      *last = token_type::option_part;
    }
    if (last == nullptr) continue;
    *last = option == original         ? token_type::original_option
            : option == counterfactual ? token_type::counterfactual_option
                                       : token_type::other_option;
  }
  return result;
}

Alignment align(const TokenizedPrompt& prompt, const TokenizedPrompt& counterfactual,
                const std::vector<std::string>& only_types) {
  Alignment cells;
  if (prompt.subject_final < 0 || counterfactual.subject_final < 0) {
    cells.problem = "subject not found in the tokens";
    return cells;
  }
  const int64_t final_x = prompt.subject_final, final_y = counterfactual.subject_final;
  const int64_t count_x = std::ssize(prompt.tokens), count_y = std::ssize(counterfactual.tokens);
  if (count_x - final_x != count_y - final_y || !std::equal(prompt.tokens.begin() + final_x + 1, prompt.tokens.end(),
                                                            counterfactual.tokens.begin() + final_y + 1)) {
    cells.problem = "tokens after the two subjects differ";
    return cells;
  }
  const auto is_subject = [](const TokenizedPrompt& of, int64_t t) {
    const std::string& type = of.types[static_cast<size_t>(t)];
    return type == token_type::subject_other || type == token_type::subject_final;
  };
  for (int64_t t = 0; t < count_x; ++t) {
    const std::string& type = prompt.types[static_cast<size_t>(t)];
    if (type.empty()) continue;
    if (!only_types.empty() && std::find(only_types.begin(), only_types.end(), type) == only_types.end()) continue;
    int64_t source = t;
    if (t > final_x || is_subject(prompt, t)) {
      source = t - final_x + final_y;  // from the subject's end is also from the prompt's end
      if (source < 0 || (t <= final_x && !is_subject(counterfactual, source))) continue;
    } else if (t >= count_y || prompt.tokens[static_cast<size_t>(t)] != counterfactual.tokens[static_cast<size_t>(t)]) {
      continue;  // the words before the subject were cut into other tokens
    }
    cells.positions.push_back(t);
    cells.sources.push_back(source);
  }
  if (cells.positions.empty()) cells.problem = "no position of the wanted token types";
  return cells;
}

PatchPrompt make_patch_prompt(const Tokenizer& tokenizer, const FactPair& pair, const PromptStyle& style,
                              const std::vector<std::string>& only_types) {
  PatchPrompt made;
  made.pair = pair;
  made.prompt = target_prompt(pair.template_text, pair.fact.subject, pair.options, style);
  made.counterfactual_prompt = target_prompt(pair.template_text, pair.counterfactual.subject, pair.options, style);
  const size_t original = option_index(pair.options, pair.fact.object);
  const size_t counterfactual = option_index(pair.options, pair.counterfactual.object);
  made.tokens = tokenize_prompt(tokenizer, made.prompt, style.add_special, original, counterfactual);
  made.counterfactual_tokens =
      tokenize_prompt(tokenizer, made.counterfactual_prompt, style.add_special, original, counterfactual);
  made.cells = align(made.tokens, made.counterfactual_tokens, only_types);

  // The answer's tokens are those that the tokenizer puts behind the prompt's, cut as one text: " Paris" alone may be
  // cut in another way (a Metaspace tokenizer adds a blank of its own).
  const std::vector<int64_t> ids =
      tokenizer.encode(made.prompt.text + option_answer(pair.fact.object), style.add_special);
  const size_t length = made.tokens.tokens.size();
  if (ids.size() <= length || !std::equal(made.tokens.tokens.begin(), made.tokens.tokens.end(), ids.begin())) {
    if (made.cells.problem.empty()) made.cells.problem = "answer does not begin a token of its own";
    return made;
  }
  made.answer.assign(ids.begin() + static_cast<std::ptrdiff_t>(length), ids.end());
  return made;
}

}  // namespace introspect
