#include "explainer/answers.h"

#include "base/error.h"
#include "base/json.h"
#include "procedure/wording.h"

#include <string_view>
#include <unordered_map>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::string_view kChanged = "would change to";
constexpr std::string_view kUnchanged = "would remain unchanged from";

bool blank(char letter) {
  return letter == ' ' || letter == '\t' || letter == '\n' || letter == '\r';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// Lower case, every run of blanks one blank, none at the ends.
std::string plain(std::string_view text) {
  std::string result;
  for (const char letter : trimmed(text)) {
    if (!blank(letter)) {
      result += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
    } else if (result.back() != ' ') {
      result += ' ';
    }
  }
  return result;
}

}  // namespace

std::optional<ParsedAnswer> parse_answer(const std::string& text) {
  const size_t open = text.find("<<<");
  if (open == std::string::npos) return std::nullopt;
  size_t close = text.find(">>>", open + 3);
  if (close == std::string::npos) return std::nullopt;
  // A content that ends in '>' makes a longer run; the last three close.
  while (close + 3 < text.size() && text[close + 3] == '>') ++close;

  ParsedAnswer answer;
  const std::string words = plain(std::string_view(text).substr(0, open));
  if (words.ends_with(kChanged)) {
    answer.changed = true;
  } else if (!words.ends_with(kUnchanged)) {
    return std::nullopt;
  }
  answer.content = trimmed(std::string_view(text).substr(open + 3, close - open - 3));
  return answer;
}

std::string answer_words(bool changed, const std::string& content) {
  return answer_sentence(changed, std::string(trimmed(content)));
}

void save_answers(const std::vector<Answer>& answers, const fs::path& file) {
  std::vector<Json> lines;
  lines.reserve(answers.size());
  for (const Answer& answer : answers) lines.push_back({{"id", answer.id}, {"text", answer.text}});
  write_json_lines(file, lines);
}

std::vector<Answer> load_answers(const fs::path& file) {
  std::vector<Answer> answers;
  std::unordered_map<std::string, size_t> seen;
  for_each_json_line(file, [&](size_t number, const Json& line) {
    const std::string label = fmt::format("{}:{}", file.string(), number);
    Answer answer{json_get<std::string>(line, "id", label), json_get<std::string>(line, "text", label)};
    const auto [entry, fresh] = seen.emplace(answer.id, number);
    if (!fresh) {
      fail("answers", fmt::format("id '{}' stands in line {} already ({})", answer.id, entry->second, label));
    }
    answers.push_back(std::move(answer));
  });
  return answers;
}

}  // namespace introspect
