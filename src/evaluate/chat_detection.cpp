#include "evaluate/chat_detection.h"

#include "base/error.h"
#include "procedure/records.h"
#include "text/utf8.h"

#include <algorithm>

namespace introspect {

namespace {

constexpr const char* kDetection =
    "A feature of a language model fires on some texts and not on others. You get a description of when it fires, and "
    "numbered pieces of text. Say for each piece whether the feature fires anywhere in it, going by the description "
    "alone: 1 if it does, 0 if not. Any number of them may be 1.";
constexpr const char* kFuzzing =
    "A feature of a language model fires on some tokens of a text. You get a description of when it fires, and "
    "numbered "
    "pieces of text in which tokens are marked with << and >>. In some the marks are on the tokens on which the "
    "feature "
    "fires, in others they are on wrong ones. Say for each piece whether the marked tokens fit the description: 1 if "
    "they do, 0 if not. Any number of them may be 1.";
constexpr const char* kForm = "Reply with a list of zeros and ones in brackets, one for each piece, and nothing else.";

std::string numbered(const std::string& description, const std::vector<std::string>& pieces) {
  std::string text = "Description: " + description + "\n";
  for (size_t i = 0; i < pieces.size(); ++i) {
    text += fmt::format("\nPiece {}: {}", i + 1, text::replace_invalid_utf8(pieces[i]));
  }
  return text;
}

}  // namespace

ChatQuestion detection_question(const std::string& description, const std::vector<std::string>& pieces,
                                DetectionQuestion kind, int64_t max_tokens) {
  // Made up; the pieces of the second differ only in what is marked.
  static const std::vector<std::string> kExample = {"the ferry was late again", "she wrote a long letter",
                                                    "two buses in a row"};
  static const std::vector<std::string> kMarkedExample = {"the <<ferry>> was late again",
                                                          "the ferry was <<late>> again", "two <<buses>> in a row"};
  const bool marked = kind == DetectionQuestion::fuzzing;
  ChatQuestion question;
  question.max_tokens = max_tokens;
  question.messages = {{"system", fmt::format("{}\n{}", marked ? kFuzzing : kDetection, kForm)},
                       {"user", numbered("means of transport", marked ? kMarkedExample : kExample)},
                       {"assistant", "[1, 0, 1]"},
                       {"user", numbered(description, pieces)}};
  return question;
}

std::optional<std::vector<bool>> parse_verdicts(const std::string& reply, size_t count) {
  const std::string said = without_thinking(reply);
  std::string_view list = said;
  if (const size_t open = list.rfind('['); open != std::string_view::npos) {
    const size_t close = list.find(']', open);
    if (close == std::string_view::npos) return std::nullopt;
    list = list.substr(open + 1, close - open - 1);
  }
  std::vector<bool> verdicts;
  bool apart = true;  // something stands between this digit and the one before
  for (const char letter : list) {
    const bool digit = letter == '0' || letter == '1';
    if (!digit && letter != ' ' && letter != ',' && letter != '\n' && letter != '\r' && letter != '\t') {
      return std::nullopt;
    }
    if (digit && !apart) return std::nullopt;
    if (digit) verdicts.push_back(letter == '1');
    apart = !digit;
  }
  if (verdicts.size() != count) return std::nullopt;
  return verdicts;
}

std::vector<DetectionScore> chat_detection(ChatModel& model, const Tokenizer& tokenizer,
                                           const std::vector<DescribedContexts>& features, DetectionQuestion kind,
                                           const ChatDetectionSettings& settings, int64_t& refused) {
  if (settings.pieces_a_question < 1) {
    fail_usage("detection", fmt::format("pieces_a_question: got {}, expected 1 or more", settings.pieces_a_question));
  }
  const auto group = static_cast<size_t>(settings.pieces_a_question);
  std::vector<std::vector<JudgedItem>> items;  // of each feature
  std::vector<std::vector<Verdict>> verdicts;
  std::vector<ChatQuestion> questions;
  std::vector<std::pair<size_t, size_t>> places;  // feature, first item
  for (size_t f = 0; f < features.size(); ++f) {
    const auto& [description, contexts] = features[f];
    items.push_back(kind == DetectionQuestion::fuzzing ? fuzzing_items(contexts, settings.items)
                                                       : detection_items(contexts, settings.items));
    verdicts.emplace_back(items.back().size(), Verdict{false, false, 0});
    if (trimmed(description).empty()) continue;
    for (size_t first = 0; first < items.back().size(); first += group) {
      std::vector<std::string> pieces;
      for (size_t i = first; i < std::min(first + group, items.back().size()); ++i) {
        pieces.push_back(item_text(tokenizer, contexts, items.back()[i]));
      }
      questions.push_back(detection_question(description, pieces, kind, settings.max_tokens));
      places.emplace_back(f, first);
    }
  }
  const std::vector<ChatReply> replies =
      ask_all(model, questions, kind == DetectionQuestion::fuzzing ? "fuzzing" : "detection");
  refused = 0;
  for (size_t q = 0; q < replies.size(); ++q) {
    const auto [feature, first] = places[q];
    const size_t count = std::min(group, items[feature].size() - first);
    refused += !replies[q].refusal.empty();
    const std::optional<std::vector<bool>> said = parse_verdicts(replies[q].text, count);
    if (!said || !replies[q].refusal.empty()) continue;
    for (size_t i = 0; i < count; ++i) verdicts[feature][first + i] = {true, (*said)[i], (*said)[i] ? 1.0 : 0.0};
  }
  std::vector<DetectionScore> scores;
  for (size_t f = 0; f < features.size(); ++f) scores.push_back(score_verdicts(items[f], verdicts[f]));
  return scores;
}

}  // namespace introspect
