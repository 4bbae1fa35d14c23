#include "evaluate/lenient.h"

#include "evaluate/plain_words.h"
#include "procedure/records.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace introspect {

namespace {

using Words = std::vector<PlainWord>;
using Pattern = std::vector<std::string>;  // plain words in a row

bool among(const std::string& word, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool is_apostrophe(const std::string& word) {
  return among(word, {"'", "\u2019"});
}

Pattern pattern_of(std::string_view words) {
  Pattern pattern;
  for (const PlainWord& word : plain_words(words)) pattern.push_back(word.plain);
  return pattern;
}

std::vector<Pattern> patterns_of(std::initializer_list<std::string_view> list) {
  std::vector<Pattern> patterns;
  for (const std::string_view words : list) patterns.push_back(pattern_of(words));
  return patterns;
}

// What says that the output stays as it is, and that it does not. "*" stands for any of "be", "have", "been", "the".
const std::vector<Pattern>& unchanged_words() {
  static const std::vector<Pattern> patterns = patterns_of(
      {"unchanged",     "unaffected",    "identical",       "same",          "remain",         "remains",
       "stay",          "stays",         "no change",       "no changes",    "no effect",      "no difference",
       "not * change",  "not * changed", "not * changing",  "not * affect",  "not * affected", "not * alter",
       "not * altered", "not * differ",  "not * different", "never * change"});
  return patterns;
}

const std::vector<Pattern>& changed_words() {
  static const std::vector<Pattern> patterns =
      patterns_of({"change to",    "changes to",      "changed to",     "changing to", "change from", "changes from",
                   "changed from", "would change",    "will change",    "does change", "switch",      "switches",
                   "become",       "becomes",         "different",      "no longer",   "not * same",  "not * remain",
                   "not * stay",   "not * unchanged", "not * identical"});
  return patterns;
}

// How many words of the text from `at` on fit the pattern; 0 if they do not. "not" also fits the t of "doesn't".
size_t fits(const Words& text, size_t at, const Pattern& pattern) {
  size_t place = at;
  for (const std::string& word : pattern) {
    if (word == "*") {
      while (place < text.size() && among(text[place].plain, {"be", "have", "been", "the"})) ++place;
      continue;
    }
    if (place >= text.size()) return 0;
    const bool short_not =
        word == "not" && text[place].plain == "t" && place > 0 && is_apostrophe(text[place - 1].plain);
    if (text[place].plain != word && !short_not) return 0;
    ++place;
  }
  return place - at;
}

size_t longest_fit(const Words& text, size_t at, const std::vector<Pattern>& patterns) {
  size_t longest = 0;
  for (const Pattern& pattern : patterns) longest = std::max(longest, fits(text, at, pattern));
  return longest;
}

// A content and the words by which it is known: without a leading "Answer:", without the dot or the like at its end.
struct Content {
  std::string text;
  Pattern words, raw;  // in lower case, and as they are written
  std::string letter;  // of a choice that is nothing but one letter: as it is written

  explicit Content(const std::string& content) : text(trimmed(content)) {
    Words all = plain_words(content);
    if (all.size() > 2 && all[0].plain == "answer" && all[1].plain == ":") all.erase(all.begin(), all.begin() + 2);
    while (all.size() > 1 && among(all.back().plain, {".", ",", ";", "!", "?"})) all.pop_back();
    for (const PlainWord& word : all) {
      words.push_back(word.plain);
      raw.push_back(word.raw);
    }
    if (all.size() == 1 && all[0].letters && all[0].raw.size() == 1 && !(all[0].raw >= "0" && all[0].raw <= "9")) {
      letter = all[0].raw;
    }
  }
};

// Whether the letter at `at` stands there as a choice, and not as a word ("A change") or in one ("don't").
bool letter_is_named(const Words& text, size_t at, const std::string& letter) {
  if (at >= 2 && text[at - 1].plain == ":" && text[at - 2].plain == "answer") return true;
  if (text[at].raw != letter || (at > 0 && is_apostrophe(text[at - 1].plain))) return false;
  if (at + 1 == text.size()) return true;
  const PlainWord& next = text[at + 1];
  if (is_apostrophe(next.plain)) return false;
  if (letter != "A" && letter != "I") return true;
  if (!next.letters || next.on_new_line || next.raw != next.plain) return true;
  return letter == "A" && among(next.plain, {"is", "would", "if", "instead"});
}

// Whether the choice's words stand at `at`, in lower case or as they are written.
bool stands_at(const Words& text, size_t at, const Pattern& words, std::string PlainWord::*form) {
  if (words.empty() || words.size() > text.size() - at) return false;
  for (size_t i = 0; i < words.size(); ++i) {
    if (text[at + i].*form != words[i]) return false;
  }
  return true;
}

// How many words from `at` on name the choice; 0 if they do not.
size_t names(const Words& text, size_t at, const Content& choice) {
  if (!stands_at(text, at, choice.words, &PlainWord::plain)) return 0;
  const size_t count = choice.words.size();
  if (!choice.letter.empty() && !letter_is_named(text, at, choice.letter)) return 0;
  // "No, the output would ..." answers the question, it names no choice
  const bool interjection =
      at == 0 && count == 1 && among(text[0].plain, {"yes", "no"}) && text.size() > 2 && text[1].plain == ",";
  return interjection ? 0 : count;
}

// Whether what stands at `at` is named as what the output is not: "from Rome", "instead of Rome".
bool put_aside(const Words& text, size_t at) {
  while (at > 0 && (!text[at - 1].letters || text[at - 1].plain == "the")) {
    if (among(text[at - 1].plain, {".", ",", ";"})) return false;
    --at;
  }
  if (at == 0) return false;
  const std::string& last = text[at - 1].plain;
  return among(last, {"from", "not", "than"}) || (last == "of" && at > 1 && text[at - 2].plain == "instead");
}

// "the hint (Rome)", "the hint says Rome": named, but not as an output.
bool is_hint(const Words& text, size_t at) {
  while (at > 0 &&
         (!text[at - 1].letters || among(text[at - 1].plain, {"says", "said", "is", "was", "names", "the"}))) {
    if (among(text[at - 1].plain, {".", ",", ";"})) return false;
    --at;
  }
  return at > 0 && text[at - 1].plain == "hint";
}

struct Mention {
  size_t at = 0, sentence = 0;
  const Content* choice = nullptr;
  bool aside = false;
};

struct Flag {
  size_t at = 0, sentence = 0;
  bool changed = false;
};

// The choices that a text names, in order, and its first flag. From left to right, the longest fit first: "no change"
// is a flag, unless it is a choice.
struct Reading {
  std::vector<Mention> mentions;
  std::optional<Flag> flag;

  Reading(const Words& text, const std::vector<Content>& choices) {
    size_t sentence = 0;
    bool begins = true;
    for (size_t at = 0; at < text.size();) {
      if (text[at].on_new_line && !begins) {
        ++sentence;
        begins = true;
      }
      size_t named = 0;
      const Content* choice = nullptr;
      for (const Content& each : choices) {
        const size_t count = names(text, at, each);
        // "AA" and "aa" may both be choices
        const bool closer = count > 0 && count == named && stands_at(text, at, each.raw, &PlainWord::raw) &&
                            !stands_at(text, at, choice->raw, &PlainWord::raw);
        if (count > named || closer) {
          named = count;
          choice = &each;
        }
      }
      const size_t unchanged = longest_fit(text, at, unchanged_words());
      const size_t changed = longest_fit(text, at, changed_words());
      if (choice && named >= std::max(changed, unchanged)) {
        if (!is_hint(text, at)) mentions.push_back({at, sentence, choice, put_aside(text, at)});
        at += named;
      } else if (changed + unchanged > 0) {
        if (!flag) flag = Flag{at, sentence, changed > unchanged};
        at += std::max(changed, unchanged);
      } else if (begins && among(text[at].plain, {"if", "when", "with", "without", "had", "given", "after"})) {
        at = behind_clause(text, at);
      } else if (among(text[at].plain, {".", "!", "?"})) {
        ++at;
        ++sentence;
        begins = true;
        continue;
      } else {
        ++at;
      }
      begins = false;
    }
  }

 private:
  // Behind the comma that ends the clause, or one word on if the sentence has none.
  static size_t behind_clause(const Words& text, size_t at) {
    for (size_t end = at + 1; end < text.size() && !text[end].on_new_line; ++end) {
      if (among(text[end].plain, {".", "!", "?"})) break;
      if (text[end].plain == ",") return end + 1;
    }
    return at + 1;
  }
};

// What stands in <<< >>>; it is taken out of the text.
std::vector<std::string> take_brackets(std::string& text) {
  std::vector<std::string> contents;
  size_t open = 0;
  while ((open = text.find("<<<", open)) != std::string::npos) {
    size_t close = text.find(">>>", open + 3);
    if (close == std::string::npos) break;
    while (close + 3 < text.size() && text[close + 3] == '>') ++close;
    std::string content = trimmed(std::string_view(text).substr(open + 3, close - open - 3));
    if (!content.empty()) contents.push_back(std::move(content));
    text.replace(open, close + 3 - open, " ");
  }
  return contents;
}

// What the output changes to: the first that is named and not the old one, else the first.
std::optional<Content> changed_content(const std::vector<Content>& named, const Content& before) {
  for (const Content& content : named) {
    if (content.text != before.text) return content;
  }
  if (named.empty()) return std::nullopt;
  return named[0];
}

std::string read_answer(const Example& example, const std::string& text) {
  const Content before(example.before);
  std::vector<Content> choices;
  for (const std::string& choice : choices_of(example)) choices.emplace_back(choice);
  if (!before.words.empty()) choices.push_back(before);
  const auto known = [&](const std::string& content) {  // as the example writes it
    const Content result(content);
    const Content* nearest = nullptr;
    for (const Content& choice : choices) {
      if (choice.text == result.text) return choice;
      if (choice.words != result.words) continue;
      if (!nearest || (choice.raw == result.raw && nearest->raw != result.raw)) nearest = &choice;
    }
    return nearest ? *nearest : result;
  };
  if (const auto parsed = parse_answer(text)) return answer_words(parsed->changed, known(parsed->content).text);

  std::string outside = text;
  const std::vector<std::string> brackets = take_brackets(outside);
  const Words words = plain_words(outside);
  Reading reading(words, choices);
  const std::optional<Flag>& flag = reading.flag;
  if (flag) {  // first what follows the flag, then the rest of its sentence, then the others
    std::stable_sort(reading.mentions.begin(), reading.mentions.end(), [&](const Mention& a, const Mention& b) {
      const auto rank = [&](const Mention& mention) {
        if (mention.sentence != flag->sentence) return 2;
        return mention.at > flag->at ? 0 : 1;
      };
      return rank(a) < rank(b);
    });
  }
  const bool unchanged = flag && !flag->changed;
  std::vector<Content> named;
  for (const std::string& content : brackets) named.push_back(known(content));
  if (brackets.empty()) {
    for (const Mention& mention : reading.mentions) {
      if (unchanged || !mention.aside) named.push_back(known(mention.choice->text));
    }
  }

  if (unchanged) return answer_words(false, named.empty() ? before.text : named[0].text);
  if (named.empty()) return text;
  if (flag) return answer_words(true, changed_content(named, before)->text);
  return answer_words(named[0].text != before.text, named[0].text);
}

}  // namespace

std::vector<Answer> read_leniently(const Dataset& dataset, const std::vector<Answer>& answers, Split split) {
  std::unordered_map<std::string, const Example*> examples;
  for (const Example* example : dataset.of(split)) examples.emplace(example->id, example);
  std::vector<Answer> read = answers;
  for (Answer& answer : read) {
    const auto found = examples.find(answer.id);
    if (found != examples.end()) answer.text = read_answer(*found->second, answer.text);
  }
  return read;
}

}  // namespace introspect
