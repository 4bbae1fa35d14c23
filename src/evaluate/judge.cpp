#include "evaluate/judge.h"

#include "base/error.h"
#include "base/random.h"
#include "evaluate/plain_words.h"
#include "evaluate/statistics.h"
#include "procedure/records.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string_view>

namespace introspect {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Scale and closing sentence as published (App. A.1); the examples are ours.
constexpr const char* kScale =
    "Does this feature description accurately describe when this feature activates?\n"
    "Rate on a scale of:\n"
    "- 1 = completely unrelated to expected\n"
    "- 2 = mostly unrelated\n"
    "- 3 = somewhat related\n"
    "- 4 = related and fairly similar\n"
    "- 5 = same as expected, or highly similar (treat this as a correct match)\n"
    "If unsure between 4 and 5, choose 5.";
struct WorkedExample {
  const char *expected, *predicted;
  int rating;
};
constexpr WorkedExample kExamples[] = {
    {"names of rivers and lakes", "closing brackets in source code", 1},
    {"words about cooking and recipes", "verbs in the past tense, often of household work", 2},
    {"dates of battles", "years in the nineteenth century", 3},
    {"legal terms in contracts", "formal language of agreements and laws", 4},
    {"mentions of dogs and their breeds", "references to dogs", 5},
};
constexpr const char* kClosing = "Return a number from 1 to 5 and nothing else.";

// Words that say nothing about what a feature fires on.
const std::set<std::string, std::less<>>& stop_words() {
  static const std::set<std::string, std::less<>> words = {
      "a",     "about", "an",   "and",  "any",   "are", "as",   "at",    "be",    "by",   "for",  "from",
      "in",    "into",  "is",   "it",   "its",   "of",  "on",   "or",    "other", "such", "that", "the",
      "their", "these", "they", "this", "those", "to",  "when", "where", "which", "with", "s"};
  return words;
}

// The words of a description, each with its weight; quoted units carry a quote in front, which no word has.
struct Units {
  std::map<std::string, double> weights;
  double total = 0;
  void add(const std::string& unit, double weight) {
    if (weights.emplace(unit, weight).second) total += weight;
  }
};

constexpr double kQuotedWeight = 3;

std::string joined(const std::vector<PlainWord>& words) {
  std::string text;
  for (const PlainWord& word : words) text += (text.empty() ? "" : " ") + word.plain;
  return text;
}

// Splits what is quoted off; a quote that is not closed is a character like any other.
Units units_of(std::string_view text) {
  struct Quotes {
    std::string_view open, close;
  };
  constexpr Quotes kQuotes[] = {{"\"", "\""}, {"“", "”"}, {"`", "`"}};
  Units units;
  std::string plain;  // outside of quotes
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    const Quotes* quotes =
        std::find_if(std::begin(kQuotes), std::end(kQuotes), [&](const Quotes& q) { return rest.starts_with(q.open); });
    const size_t close =
        quotes == std::end(kQuotes) ? std::string_view::npos : rest.find(quotes->close, quotes->open.size());
    if (close == std::string_view::npos) {
      plain += text[at++];
      continue;
    }
    const std::string unit = joined(plain_words(rest.substr(quotes->open.size(), close - quotes->open.size())));
    if (!unit.empty()) units.add('"' + unit, kQuotedWeight);
    plain += ' ';
    at += close + quotes->close.size();
  }
  const std::vector<PlainWord> words = plain_words(plain);
  for (const PlainWord& word : words) {
    if (word.letters && !stop_words().contains(word.plain)) units.add(word.plain, 1);
  }
  if (units.weights.empty()) {
    for (const PlainWord& word : words) units.add(word.plain, 1);
  }
  return units;
}

void check_items(const std::vector<JudgeItem>& items) {
  for (const JudgeItem& item : items) {
    if (item.references.empty()) fail("judge", fmt::format("item '{}' has no true description", item.id));
  }
}

bool says_nothing(const JudgeItem& item) {
  return trimmed(item.predicted).empty();
}

}  // namespace

ChatQuestion judge_question(const std::string& predicted, const std::string& reference) {
  const auto pair = [](std::string_view expected, std::string_view said) {
    return fmt::format("Expected: {}\nDescription: {}\n", expected, said);
  };
  std::string text = std::string(kScale) + "\n\nExamples:\n\n";
  for (const WorkedExample& example : kExamples) {
    text += fmt::format("{}Rating: {}\n\n", pair(example.expected, example.predicted), example.rating);
  }
  text += fmt::format("Now this one:\n\n{}\n{}", pair(reference, predicted), kClosing);
  ChatQuestion question;
  question.messages = {{"user", text}};
  question.max_tokens = 10;
  return question;
}

std::optional<int> parse_rating(const std::string& reply) {
  const std::string text = without_thinking(reply);
  const auto digit = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };
  std::optional<int> rating;
  for (size_t at = 0; at < text.size();) {
    if (!digit(at)) {
      ++at;
      continue;
    }
    const size_t begin = at;
    while (digit(at) || ((text[at] == '.' || text[at] == ',') && digit(at + 1))) ++at;
    const std::string_view number = std::string_view(text).substr(begin, at - begin);
    const std::string_view before = std::string_view(text).substr(0, begin);
    if (number == "5" && rating && (before.ends_with("/") || before.ends_with("/ ") || before.ends_with("out of "))) {
      continue;  // "4/5" has one number that is a rating
    }
    const bool negative = before.ends_with('-') || before.ends_with("−");
    if (rating || negative || number.size() != 1 || number[0] < '1' || number[0] > '5') return std::nullopt;
    rating = number[0] - '0';
  }
  return rating;
}

Judgements judge_with_model(ChatModel& model, const std::vector<JudgeItem>& items) {
  check_items(items);
  Judgements result;
  std::vector<ChatQuestion> questions;
  std::vector<std::pair<size_t, size_t>> places;  // item, reference
  for (size_t i = 0; i < items.size(); ++i) {
    result.items.push_back({items[i].id, items[i].cluster, kNone, ""});
    if (says_nothing(items[i])) {
      ++result.empty;
      result.items.back().score = 0;
      continue;
    }
    for (size_t r = 0; r < items[i].references.size(); ++r) {
      questions.push_back(judge_question(items[i].predicted, items[i].references[r]));
      places.emplace_back(i, r);
    }
  }
  const std::vector<ChatReply> replies = ask_all(model, questions, "judge");
  for (size_t q = 0; q < replies.size(); ++q) {
    ++result.asked;
    const auto [item, reference] = places[q];
    if (!replies[q].refusal.empty()) {
      ++result.refused;
      continue;
    }
    const std::optional<int> rating = parse_rating(replies[q].text);
    if (!rating) {
      ++result.unparsable;
      continue;
    }
    Judgement& judgement = result.items[item];
    const double score = (*rating - 1) / 4.0;
    if (std::isnan(judgement.score) || score > judgement.score) {
      judgement.score = score;
      judgement.reference = items[item].references[reference];
    }
  }
  for (const Judgement& judgement : result.items) result.unjudged += std::isnan(judgement.score);
  return result;
}

Judgements judge_by_words(const std::vector<JudgeItem>& items) {
  check_items(items);
  Judgements result;
  for (const JudgeItem& item : items) {
    Judgement judgement{item.id, item.cluster, 0, ""};
    if (says_nothing(item)) {
      ++result.empty;
    } else {
      for (const std::string& reference : item.references) {
        const double score = word_overlap(item.predicted, reference);
        if (!judgement.reference.empty() && score <= judgement.score) continue;
        judgement.score = score;
        judgement.reference = reference;
      }
      result.asked += std::ssize(item.references);
    }
    result.items.push_back(std::move(judgement));
  }
  return result;
}

double word_overlap(const std::string& first, const std::string& second) {
  if (first == second) return 1;
  const Units a = units_of(first), b = units_of(second);
  if (a.total + b.total == 0) return 1;  // blanks against blanks
  double shared = 0;
  for (const auto& [unit, weight] : a.weights) shared += b.weights.contains(unit) ? weight : 0;
  return 2 * shared / (a.total + b.total);
}

std::vector<JudgeItem> with_other_references(const std::vector<JudgeItem>& items, uint64_t seed) {
  Random random(seed, "other references");
  std::vector<JudgeItem> others = items;
  for (size_t i = 0; i < items.size(); ++i) {
    // Of the items in a ring behind a random one the first with other references.
    const size_t start = random.below(items.size());
    for (size_t step = 0; step < items.size(); ++step) {
      const JudgeItem& other = items[(start + step) % items.size()];
      if (other.references == items[i].references) continue;
      others[i].references = other.references;
      break;
    }
  }
  return others;
}

JudgeSummary summarise(const Judgements& judgements, uint64_t seed) {
  // The mean is a share of items like content_match, whose counts may be fractions: what makes intervals of shares
  // makes these.
  std::map<std::string, Counts> clusters;
  for (const Judgement& judgement : judgements.items) {
    if (std::isnan(judgement.score)) continue;
    Counts& counts = clusters[judgement.cluster];
    counts[Counts::items] += 1;
    counts[Counts::changed] += 1;
    counts[Counts::content_changed] += judgement.score;
  }
  std::vector<Counts> list;
  for (const auto& [name, counts] : clusters) list.push_back(counts);
  StatisticsOptions options;
  options.seed = seed;
  const Estimates estimates = estimate(list, options);
  const Estimate& mean = estimates[static_cast<size_t>(
      std::find(kMetrics.begin(), kMetrics.end(), Metric::content_match) - kMetrics.begin())];
  return {mean.value, mean.low, mean.high, static_cast<int64_t>(mean.items), mean.clusters};
}

}  // namespace introspect
