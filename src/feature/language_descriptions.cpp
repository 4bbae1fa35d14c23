#include "feature/language_descriptions.h"

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "feature/detection.h"
#include "procedure/records.h"
#include "text/utf8.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr const char* kInstructions =
    "You study one feature of a language model: what makes it fire. You are shown pieces of text in which it fires. "
    "The "
    "tokens on which it fires stand between << and >>, neighbouring ones together. Under each piece these tokens are "
    "listed with the strength of the firing, from 0 to 10.\n\n"
    "Find what the marked tokens have in common: their meaning, their form, their part in the sentence, or what stands "
    "around them.\n"
    "- Describe the pattern in one short phrase of at most 15 words, as specific as the pieces allow.\n"
    "- If it is always the same token or word, name it between double quotes.\n"
    "- Do not list the pieces, do not offer alternatives, and do not speak of the marks.\n"
    "End your reply with one line of this form:\nDESCRIPTION: the phrase";

// Made up for this prompt.
constexpr const char* kFirstExample =
    "Piece 1: we took the <<ferry>> across and then a <<bus>> into town\n"
    "Firing: \" ferry\" 9, \" bus\" 8\n"
    "Piece 2: the last <<train>> leaves before midnight\n"
    "Firing: \" train\" 10\n"
    "Piece 3: he parked his <<bicycle>> against the wall\n"
    "Firing: \" bicycle\" 6";
constexpr const char* kSecondExample =
    "Piece 1: the coldest<<,>> darkest night\n"
    "Firing: \",\" 7\n"
    "Piece 2: a small<<,>> quiet, friendly dog\n"
    "Firing: \",\" 9";

int rounded_strength(double activation, double maximum) {
  return static_cast<int>(std::lround(std::clamp(10 * activation / maximum, 0.0, 10.0)));
}

// A token as the list shows it: between quotes, on one line.
std::string shown_token(const Tokenizer& tokenizer, int64_t token) {
  return Json(text::replace_invalid_utf8(tokenizer.piece(token))).dump();
}

struct Exemplar {
  int64_t row;
  double strength;
};

std::vector<Exemplar> exemplars_of(const FeatureContexts& contexts, const at::Tensor& activations, int64_t count) {
  std::vector<Exemplar> exemplars;
  for (int64_t row = 0; row < std::ssize(contexts.kinds); row += 2) {
    const double strength = activations.size(1) == 0 ? 0 : activations[row].max().item<double>();
    if (strength > 0) exemplars.push_back({row, strength});
  }
  std::stable_sort(exemplars.begin(), exemplars.end(),
                   [](const Exemplar& a, const Exemplar& b) { return a.strength > b.strength; });
  if (std::ssize(exemplars) > count) exemplars.resize(static_cast<size_t>(count));
  return exemplars;
}

std::string lower(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const text::Character letter = text::first_character(text.substr(at));
    result += letter.valid ? text::lower_case(letter.code_point) : std::string(text.substr(at, letter.length));
    at += letter.length;
  }
  return result;
}

void check_settings(const LanguageDescriptionSettings& settings) {
  const auto expect = [](bool good, const char* name, const std::string& got, const char* expected) {
    if (!good) fail_usage("descriptions", fmt::format("{}: got {}, expected {}", name, got, expected));
  };
  expect(settings.exemplars >= 1, "exemplars", fmt::to_string(settings.exemplars), "1 or more");
  expect(settings.candidates >= 1, "candidates", fmt::to_string(settings.candidates), "1 or more");
  expect(settings.candidates == 1 || (settings.temperature > 0 && std::isfinite(settings.temperature)), "temperature",
         fmt::to_string(settings.temperature), "more than 0 for several candidates");
  expect(settings.mark_above >= 0 && settings.mark_above < 1, "mark_above", fmt::to_string(settings.mark_above),
         "0 or more, below 1");
  expect(settings.max_tokens >= 1, "max_tokens", fmt::to_string(settings.max_tokens), "1 or more");
}

}  // namespace

std::vector<ChatQuestion> description_questions(const FeatureContexts& contexts,
                                                const std::vector<std::string>& promoted, const Tokenizer& tokenizer,
                                                const LanguageDescriptionSettings& settings) {
  check_settings(settings);
  if (contexts.kinds.empty()) return {};
  const at::Tensor activations = contexts.activations.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor tokens = contexts.tokens.to(at::kCPU, at::kInt).contiguous();
  if (activations.dim() != 2 || tokens.sizes() != activations.sizes() ||
      activations.size(0) != std::ssize(contexts.kinds)) {
    fail("descriptions",
         fmt::format("contexts of latent {} in layer {} do not fit each other", contexts.latent, contexts.layer));
  }
  const std::vector<Exemplar> exemplars = exemplars_of(contexts, activations, settings.exemplars);
  if (exemplars.empty()) return {};

  std::string shown;
  for (size_t i = 0; i < exemplars.size(); ++i) {
    const auto [row, strength] = exemplars[i];
    const float* values = activations.data_ptr<float>() + row * activations.size(1);
    const int32_t* ids = tokens.data_ptr<int32_t>() + row * tokens.size(1);
    JudgedItem item{row, true, {}};
    std::string firing;
    for (int64_t t = 0; t < activations.size(1); ++t) {
      if (ids[t] < 0 || values[t] <= settings.mark_above * strength) continue;
      item.marked.push_back(t);
      firing += fmt::format("{}{} {}", firing.empty() ? "" : ", ", shown_token(tokenizer, ids[t]),
                            rounded_strength(values[t], exemplars.front().strength));
    }
    shown += fmt::format("{}Piece {}: {}\nFiring: {}", i == 0 ? "" : "\n", i + 1,
                         text::replace_invalid_utf8(item_text(tokenizer, contexts, item)), firing);
  }
  if (!promoted.empty()) {
    shown += "\nTokens that the feature makes likelier: ";
    for (size_t i = 0; i < promoted.size(); ++i) {
      shown += (i == 0 ? "" : ", ") + Json(text::replace_invalid_utf8(promoted[i])).dump();
    }
  }

  ChatQuestion question;
  question.max_tokens = settings.max_tokens;
  question.messages = {{"system", kInstructions},
                       {"user", kFirstExample},
                       {"assistant", "DESCRIPTION: means of transport"},
                       {"user", kSecondExample},
                       {"assistant", "DESCRIPTION: \",\" between two adjectives"},
                       {"user", shown}};
  std::vector<ChatQuestion> questions(static_cast<size_t>(settings.candidates), question);
  for (size_t i = 1; i < questions.size(); ++i) {
    questions[i].candidate = static_cast<int64_t>(i);
    questions[i].temperature = settings.temperature;
  }
  return questions;
}

std::optional<std::string> parse_description(const std::string& reply) {
  constexpr std::string_view kMark = "description";
  const std::string said = without_thinking(reply);
  // The last mark that begins its line, whatever brackets, stars or hashes a model decorates it with.
  std::optional<std::string> found;
  for (size_t begin = 0; begin <= said.size();) {
    const size_t end = std::min(said.find('\n', begin), said.size());
    std::string_view line(said.data() + begin, end - begin);
    begin = end + 1;
    line.remove_prefix(std::min(line.find_first_not_of(" \t*#[>-"), line.size()));
    if (line.size() < kMark.size() || !std::equal(kMark.begin(), kMark.end(), line.begin(), [](char a, char b) {
          return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
        })) {
      continue;
    }
    line.remove_prefix(kMark.size());
    const size_t colon = line.find_first_not_of(" *]");
    if (colon == std::string_view::npos || line[colon] != ':') continue;
    line.remove_prefix(colon + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" *\t"), line.size()));
    found = trimmed(line);
  }
  if (!found) return std::nullopt;
  std::string text = *found;
  while (text.ends_with("**")) text = trimmed(std::string_view(text).substr(0, text.size() - 2));
  // Quotes around the whole, not those around its first and last word.
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"' && std::count(text.begin(), text.end(), '"') == 2 &&
      text.find(' ') != std::string::npos) {
    text = trimmed(std::string_view(text).substr(1, text.size() - 2));
  }
  for (const char* mark : {"<<", ">>"}) {
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark)) text.erase(at, 2);
  }
  if (text.ends_with('.') && !text.ends_with("..")) text.pop_back();
  text = trimmed(text);
  if (text.empty() || text.size() > 300) return std::nullopt;
  return text;
}

std::vector<std::string> promoted_tokens(const Model& model, const Tokenizer& tokenizer, const at::Tensor& direction,
                                         int64_t count) {
  const at::Tensor scaled = direction.to(at::kFloat) * model.final_norm.detach().to(at::kFloat);
  const at::Tensor raised = at::mv(model.head.detach(), scaled.to(model.head.scalar_type())).to(at::kFloat);
  const int64_t known = std::min(raised.size(0), tokenizer.vocab_size());
  const at::Tensor best = std::get<1>(raised.slice(0, 0, known).topk(std::min(count, known)));
  std::vector<std::string> tokens;
  for (int64_t i = 0; i < best.size(0); ++i) tokens.push_back(tokenizer.piece(best[i].item<int64_t>()));
  return tokens;
}

ChatEstimate estimate_descriptions(const ChatModel& model, const LanguageDescriptionTask& task) {
  ChatEstimate estimate;
  for (const auto& [layer, latent] : task.features) {
    for (const ChatQuestion& question : task.questions(layer, latent)) estimate.add(model, question);
  }
  return estimate;
}

std::vector<DescribedFeature> describe_with_model(ChatModel& model, const LanguageDescriptionTask& task,
                                                  LanguageDescriptionReport& report) {
  constexpr double kNotSimulated = std::numeric_limits<double>::quiet_NaN();
  constexpr size_t kGroup = 64;  // features whose prompts are in memory
  report = {};
  std::vector<DescribedFeature> described;
  Progress progress("describe", std::ssize(task.features), "features");
  for (size_t first = 0; first < task.features.size(); first += kGroup) {
    check_interrupt("descriptions");
    const size_t last = std::min(first + kGroup, task.features.size());
    std::vector<ChatQuestion> questions;
    std::vector<size_t> ends;  // of each feature's questions
    for (size_t i = first; i < last; ++i) {
      const auto& [layer, latent] = task.features[i];
      for (ChatQuestion& question : task.questions(layer, latent)) questions.push_back(std::move(question));
      ends.push_back(questions.size());
    }
    std::vector<ChatReply> replies(questions.size());
    model.ask_all(questions, [&](size_t question, const ChatReply& reply) { replies[question] = reply; });
    for (size_t i = first, question = 0; i < last; ++i) {
      DescribedFeature feature{task.features[i].first, task.features[i].second, {}};
      const size_t asked = ends[i - first] - question;
      std::set<std::string> seen;
      for (; question < ends[i - first]; ++question) {
        ++report.questions;
        if (!replies[question].refusal.empty()) {
          ++report.refused;
          continue;
        }
        const std::optional<std::string> text = parse_description(replies[question].text);
        if (!text) {
          ++report.unparsable;
        } else if (!seen.insert(lower(*text)).second) {
          ++report.duplicates;
        } else {
          feature.descriptions.push_back({*text, "", model.name(), kNotSimulated, kNotSimulated});
        }
      }
      ++report.features;
      report.silent += asked == 0;
      report.undescribed += asked > 0 && feature.descriptions.empty();
      described.push_back(std::move(feature));
    }
    const ChatTally tally = model.tally();
    progress.note(fmt::format("{} tokens | {} unparsable | {} refused", tally.prompt_tokens + tally.reply_tokens,
                              report.unparsable, report.refused));
    progress.advance(static_cast<int64_t>(last - first));
  }
  progress.finish();
  return described;
}

}  // namespace introspect
