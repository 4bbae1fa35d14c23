// What an explainer said to each question of a data set: answers.jsonl, one line an example.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

struct Answer {
  std::string id;    // the Example's
  std::string text;  // as generated, trimmed
};

// The answer's parts (paper, App. H): "The most likely output would change to <<<new>>>." or
// "The output would remain unchanged from <<<old>>>.". Lenient about case (ASCII), blanks and what follows; the words
// right before <<< must be "would change to" or "would remain unchanged from", and >>> must be there.
struct ParsedAnswer {
  bool changed = false;
  std::string content;  // between <<< and >>>, trimmed
};
std::optional<ParsedAnswer> parse_answer(const std::string& text);

// The ground truth in words; content is trimmed.
std::string answer_words(bool changed, const std::string& content);

void save_answers(const std::vector<Answer>& answers, const fs::path& file);
// Throws Error naming file and line for a broken line or an id that stands there twice.
std::vector<Answer> load_answers(const fs::path& file);

}  // namespace introspect
