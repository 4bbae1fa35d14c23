// Questions from facts, and their splits. The files: questions_files.cpp.
#include "procedure/questions.h"

#include "base/error.h"
#include "base/random.h"
#include "procedure/options.h"
#include "text/utf8.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <unordered_set>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr std::array<Split, 3> all_splits = {Split::train, Split::validation, Split::test};
using Shares = std::array<double, 3>;

void check_text(const std::string& text, std::string_view name, std::string_view where) {
  if (text.empty()) {
    fail("questions", fmt::format("{}: got nothing, expected text ({})", name, where),
         "every question needs its text, and every choice its words");
  }
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if ((code < 0x20 && letter != '\n' && letter != '\t') || code == 0x7f) {
      fail("questions", fmt::format("{}: got a control character (code {}), expected text ({})", name, code, where),
           "is the file text, and not cut or compressed?");
    }
  }
  if (!text::is_valid_utf8(text)) {
    fail("questions", fmt::format("{}: got bytes that are not UTF-8 ({})", name, where), "save the file as UTF-8");
  }
}

std::string with_line_ends(const std::string& raw) {
  std::string result;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\r') {
      result += raw[i];
    } else if (i + 1 == raw.size() || raw[i + 1] != '\n') {
      result += '\n';
    }
  }
  return result;
}

// Every run of blanks that holds a line break becomes one blank: choices are kept as lists of lines.
std::string one_line(const std::string& raw) {
  constexpr std::string_view blanks = " \t\r\n";
  std::string result;
  for (size_t i = 0; i < raw.size();) {
    const size_t end = std::min(raw.find_first_not_of(blanks, i), raw.size());
    const std::string run = raw.substr(i, end - i);
    if (run.empty()) {
      result += raw[i++];
      continue;
    }
    result += run.find_first_of("\r\n") == std::string::npos ? run : " ";
    i = end;
  }
  return result;
}

void check(const QuestionSplit& settings) {
  const auto refuse = [](const std::string& message) { fail_usage("questions", message); };
  if (settings.by != "question" && settings.by != "subject")
    refuse(fmt::format("split by: got \"{}\", expected \"question\" or \"subject\"", settings.by));
  if (!(settings.train_share > 0) || !(settings.validation_share >= 0) ||
      !(settings.train_share + settings.validation_share < 1)) {
    refuse(fmt::format("split shares: got {} train and {} validation, expected shares that leave some for test",
                       settings.train_share, settings.validation_share));
  }
}

// How far a set of questions is from its shares, kept while they are given out.
struct Balance {
  double seen = 0;
  Shares given{};

  // How many each split would lack once `more` questions are seen.
  double lack(const Shares& share, size_t split, double more) const {
    return share[split] * (seen + more) - given[split];
  }
  void give(size_t split, double count) {
    seen += count;
    given[split] += count;
  }
};

// What gets its split as a whole.
struct Unit {
  double size = 0;
  std::map<std::string, double> strata;  // its questions by subject; empty if only the whole counts
  size_t split = 0;
};

// Gives every unit the split that lacks most: added up over its strata, and as much again over all questions, so that
// neither many small subjects nor one large one bend the whole.
void give_out(const std::vector<Unit*>& units, const Shares& share) {
  Balance whole;
  std::map<std::string, Balance> strata;
  for (Unit* unit : units) {
    size_t best = 0;
    double most = 0;
    for (size_t split = 0; split < 3; ++split) {
      if (share[split] <= 0) continue;
      double lack = whole.lack(share, split, unit->size) * unit->size /
                    static_cast<double>(std::max<size_t>(unit->strata.size(), 1));
      for (const auto& [name, count] : unit->strata) lack += strata[name].lack(share, split, count) * count;
      // of two that lack the same, the one that has nothing yet
      const bool tie = std::abs(lack - most) < 1e-9 * (1 + std::abs(most));
      if (split == 0 || (tie ? whole.given[split] < whole.given[best] : lack > most)) {
        best = split;
        most = lack;
      }
    }
    unit->split = best;
    whole.give(best, unit->size);
    for (const auto& [name, count] : unit->strata) strata[name].give(best, count);
  }
}

// Cuts the order at the shares: a unit belongs where its middle lies. Returns the squared distance from the shares.
double cut(const std::vector<Unit*>& order, const Shares& share) {
  double total = 0, before = 0;
  for (const Unit* unit : order) total += unit->size;
  Shares given{};
  for (Unit* unit : order) {
    const double middle = (before + unit->size / 2) / total;
    // validation last: of two units, train and test get one each
    unit->split = middle < share[0] ? 0 : middle < share[0] + share[2] || share[1] <= 0 ? 2 : 1;
    given[unit->split] += unit->size / total;
    before += unit->size;
  }
  double sum = 0;
  for (size_t i = 0; i < 3; ++i) sum += (given[i] - share[i]) * (given[i] - share[i]);
  return sum;
}

}  // namespace

std::string plain_text(std::string_view text) {
  std::string result;
  bool blank = false;
  while (!text.empty()) {
    const text::Character letter = text::first_character(text);
    if (letter.valid && text::is_white_space(letter.code_point)) {
      blank = true;
    } else {
      if (blank && !result.empty()) result += ' ';
      blank = false;
      result += letter.valid ? text::lower_case(letter.code_point) : std::string(text.substr(0, letter.length));
    }
    text.remove_prefix(letter.length);
  }
  return result;
}

bool has_equal_choices(const std::vector<std::string>& choices) {
  std::set<std::string> different;
  for (const std::string& choice : choices) different.insert(one_line(trimmed(choice)));
  return different.size() < choices.size();
}

ChoiceQuestion checked_question(ChoiceQuestion question, std::string_view where) {
  for (std::string* name : {&question.id, &question.subject, &question.group}) *name = one_line(trimmed(*name));
  question.text = trimmed(with_line_ends(question.text));
  check_text(question.id, "id", where);
  check_text(question.subject, "subject", where);
  check_text(question.text, "question", where);
  if (question.choices.size() < 2 || question.choices.size() > most_choices) {
    fail("questions",
         fmt::format("choices: got {}, expected 2 to {} ({})", question.choices.size(), most_choices, where));
  }
  for (std::string& choice : question.choices) {
    choice = one_line(trimmed(choice));
    check_text(choice, "choices", where);
  }
  if (has_equal_choices(question.choices)) {
    fail("questions", fmt::format("choices: got the same words twice, expected different ones ({})", where),
         "take the question out: more than one answer, or none, would be right");
  }
  if (question.answer >= question.choices.size()) {
    fail(
        "questions",
        fmt::format("answer: got index {}, expected 0 to {} ({})", question.answer, question.choices.size() - 1, where),
        "answers are counted from 0");
  }
  if (question.group.empty()) question.group = plain_text(question.text);
  check_text(question.group, "group", where);
  return question;
}

std::vector<ChoiceQuestion> questions_of_facts(const FactTable& table, const FactQuestionSettings& settings,
                                               DropReport& dropped) {
  if (settings.choices < 2 || settings.choices > static_cast<int64_t>(most_choices)) {
    fail_usage("questions", fmt::format("choices: got {}, expected 2 to {}", settings.choices, most_choices));
  }
  const auto wanted = static_cast<size_t>(settings.choices);
  std::vector<ChoiceQuestion> questions;
  for (const Relation& relation : table.relations) {
    std::unordered_set<std::string> subjects;
    for (const Fact& fact : relation.facts) {
      const bool first = subjects.insert(fact.subject).second;
      Random random(settings.seed, fmt::format("questions/{}/{}/{}", relation.name, fact.subject, fact.object));
      const std::string& words = relation.templates[random.below(relation.templates.size())];
      ChoiceQuestion question;
      question.id = relation.name + "/" + fact.subject + (first ? "" : "/" + fact.object);
      question.subject = relation.name;
      question.group = fact.subject;
      question.text = statement_text(words, fact.subject);
      question.choices = choose_options(relation, fact, nullptr, wanted, random);
      if (question.choices.size() < wanted) {
        dropped.add(fmt::format("fact with fewer than {} options", wanted), question.id);
        continue;
      }
      const auto right = std::find(question.choices.begin(), question.choices.end(), fact.object);
      question.answer = static_cast<size_t>(right - question.choices.begin());
      const std::string where = fmt::format("fact {}", question.id);
      questions.push_back(checked_question(std::move(question), where));
    }
  }
  if (questions.empty()) {
    fail("questions", fmt::format("got no question, left out: {}", dropped.text()),
         "a relation needs at least as many different objects as a question has choices");
  }
  return questions;
}

std::vector<Split> split_questions(const std::vector<ChoiceQuestion>& questions, const QuestionSplit& settings,
                                   uint64_t seed) {
  check(settings);
  const bool by_subject = settings.by == "subject";
  const auto name_of = [&](const ChoiceQuestion& question) { return by_subject ? question.subject : question.group; };
  const Shares share = {settings.train_share, settings.validation_share,
                        1 - settings.train_share - settings.validation_share};
  std::map<std::string, Unit> units;
  for (const ChoiceQuestion& question : questions) {
    Unit& unit = units[name_of(question)];
    unit.size += 1;
    if (!by_subject) unit.strata[question.subject] += 1;
  }
  std::vector<Unit*> order;
  for (auto& [name, unit] : units) order.push_back(&unit);

  Random random(seed, "questions/split");
  if (!by_subject) {
    random.shuffle(order);
    // large groups first: the small ones behind them even out what they bend
    std::stable_sort(order.begin(), order.end(), [](const Unit* a, const Unit* b) { return a->size > b->size; });
    give_out(order, share);
  } else {
    // Subjects are few and large. Given out one by one the largest would always be train, so random orders are cut
    // at the shares, and the nearest to them is taken.
    constexpr int tries = 64;
    std::vector<Unit*> best;
    double nearest = 0;
    for (int i = 0; i < tries; ++i) {
      random.shuffle(order);
      const double distance = cut(order, share);
      if (best.empty() || distance < nearest) {
        best = order;
        nearest = distance;
      }
    }
    cut(best, share);
  }
  std::vector<Split> splits;
  splits.reserve(questions.size());
  for (const ChoiceQuestion& question : questions) splits.push_back(all_splits[units.at(name_of(question)).split]);
  return splits;
}

}  // namespace introspect
