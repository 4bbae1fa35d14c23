#include "feature/library_sets.h"

#include "base/error.h"
#include "feature/library_lists.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <unordered_set>

namespace introspect {

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::istringstream stream{std::string(text)};
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::string plural(const std::string& noun) {
  if (noun == "person") return "people";
  if (noun == "child") return "children";
  if (noun.ends_with("y") && noun.size() > 1 && std::string_view("aeiou").find(noun[noun.size() - 2]) == std::string_view::npos) {
    return noun.substr(0, noun.size() - 1) + "ies";
  }
  for (const std::string_view ending : {"s", "x", "ch", "sh"}) {
    if (noun.ends_with(ending)) return noun + "es";
  }
  return noun + "s";
}

// Of the relation "body-part-place": what its subjects and its objects are called, "body part" and "place".
std::pair<std::string, std::string> parts_of(const std::string& relation) {
  const size_t hyphen = relation.rfind('-');
  if (hyphen == std::string::npos) return {};
  std::string subject = relation.substr(0, hyphen), object = relation.substr(hyphen + 1);
  std::replace(subject.begin(), subject.end(), '-', ' ');
  return {subject, object};
}

void sort_unique(std::vector<uint32_t>& sets) {
  std::sort(sets.begin(), sets.end());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
}

}  // namespace

WordSets::WordSets(const WordNet& wordnet, const FactTable& facts, const WordSetSettings& settings)
    : wordnet_(wordnet), settings_(settings) {
  add_closed_classes();
  add_looks();
  add_facts(facts);
  add_wordnet();
}

uint32_t WordSets::add_set(const std::string& phrase, const std::string& kind, bool of_signs) {
  const auto [place, is_new] = by_phrase_.emplace(phrase, static_cast<uint32_t>(sets_.size()));
  if (is_new) sets_.push_back({phrase, kind, of_signs});
  return place->second;
}

void WordSets::add_word(const std::string& word, uint32_t set) { listed_[word].push_back(set); }

void WordSets::add_closed_classes() {
  for (const WordList& list : closed_classes()) {
    const uint32_t set = add_set(std::string(list.phrase), "category");
    for (const std::string& word : words_of(list.words)) {
      add_word(word, set);
      if (list.closed) closed_[word] = true;
    }
  }
}

void WordSets::add_looks() {
  for (const char* phrase :
       {"words", "capitalised words", "lower-case words", "words in capitals", "single letters", "long words",
        "words not in a dictionary", "names", "plural nouns", "verbs in the past tense", "verb forms in -ing"}) {
    looks_[phrase] = add_set(phrase, "morphology");
  }
  for (const char* phrase :
       {"numbers", "years", "single digits", "punctuation", "commas", "full stops", "question marks",
        "exclamation marks", "sentence-ending punctuation", "colons", "semicolons", "quotation marks", "apostrophes",
        "hyphens and dashes", "brackets", "punctuation with quotation marks", "line breaks", "blank lines"}) {
    looks_[phrase] = add_set(phrase, "morphology", true);
  }
}

void WordSets::add_name(const std::string& name, uint32_t set) {
  const std::vector<std::string> words = words_of(name);
  if (words.empty()) return;
  const std::string first = lower(words[0]);
  if (is_capital(name[0]) && words.size() == 1) capitalised_.emplace(first, name);
  if (words.size() == 1) {
    add_word(first, set);
    return;
  }
  std::vector<std::string> parts;
  for (const std::string& word : words) parts.push_back(lower(word));
  for (Name& known : names_[first]) {
    if (known.words == parts) {
      known.sets.push_back(set);
      return;
    }
  }
  names_[first].push_back({parts, {set}});
}

void WordSets::add_facts(const FactTable& facts) {
  std::unordered_set<std::string> subjects;
  for (const Relation& relation : facts.relations) subjects.insert(parts_of(relation.name).first);
  for (const Relation& relation : facts.relations) {
    const auto [subject, object] = parts_of(relation.name);
    // A thing that other relations are about has one name, wherever it stands: cities, countries, planets.
    const std::string of_subjects = subject.empty() ? "subjects of " + relation.name : "names of " + plural(subject);
    const std::string of_objects = object.empty()             ? "objects of " + relation.name
                                   : subjects.contains(object) ? "names of " + plural(object)
                                                               : subject + " " + plural(object);
    const uint32_t subject_set = add_set(of_subjects, "category"), object_set = add_set(of_objects, "category");
    for (const Fact& fact : relation.facts) {
      add_name(fact.subject, subject_set);
      add_name(fact.object, object_set);
    }
  }
}

void WordSets::add_wordnet() {
  for (int category = 0; category < wordnet_category_count; ++category) {
    const std::string phrase(category_phrase(wordnet_category_name(category)));
    of_category_.push_back(phrase.empty() ? UINT32_MAX : add_set(phrase, "category"));
  }
  for (const char* phrase : {"nouns", "verbs", "adjectives", "adverbs"}) of_class_.push_back(add_set(phrase, "category"));

  // How many words of one part each meaning has below it.
  std::unordered_set<std::string> words;
  for (const Synset& synset : wordnet_.synsets()) {
    for (const std::string& lemma : synset.lemmas) {
      if (lemma.find('_') == std::string::npos) words.insert(lemma);
    }
  }
  std::vector<int64_t> below(wordnet_.synsets().size(), 0);
  for (const std::string& word : words) {
    std::map<uint32_t, double> shares;
    const Meaning means = meaning(lower(word), is_capital(word[0]));
    for (const auto& [synset, share] : means.synsets) {
      for (const uint32_t above : wordnet_.with_hypernyms(synset)) shares[above] += share;
    }
    for (const auto& [synset, share] : shares) below[synset] += share >= settings_.least_share * means.total;
  }
  std::vector<uint32_t> order;
  for (uint32_t synset = 0; synset < below.size(); ++synset) {
    if (below[synset] >= settings_.least_hyponyms && below[synset] <= settings_.most_hyponyms) order.push_back(synset);
  }
  // Of meanings with the same word the one with the most words below it has the name.
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return below[a] > below[b]; });
  for (const uint32_t index : order) {
    const Synset& synset = wordnet_.synsets()[index];
    if (synset.word_class != WordClass::noun && synset.word_class != WordClass::verb) continue;
    for (std::string lemma : synset.lemmas) {
      std::replace(lemma.begin(), lemma.end(), '_', ' ');
      const std::string phrase = (synset.word_class == WordClass::noun ? "kinds of " : "ways to ") + lemma;
      if (by_phrase_.contains(phrase)) continue;
      of_synset_[index] = add_set(phrase, "category");
      break;
    }
  }
}

std::optional<uint32_t> WordSets::find(std::string_view phrase) const {
  const auto found = by_phrase_.find(std::string(phrase));
  if (found == by_phrase_.end()) return std::nullopt;
  return found->second;
}

WordSets::Meaning WordSets::meaning(const std::string& word, bool capital) const {
  struct Use {
    uint32_t synset;
    double weight;
    bool name;  // WordNet writes it with a capital
  };
  std::vector<Use> uses;
  bool any_name = false;
  for (const WordClass word_class : word_classes) {
    for (const std::string& base : wordnet_.base_forms(word, word_class)) {
      bool first = true;
      for (const WordSense& sense : wordnet_.senses(base, word_class)) {
        const Synset& synset = wordnet_.synsets()[sense.synset];
        const bool name = std::any_of(synset.lemmas.begin(), synset.lemmas.end(), [&](const std::string& lemma) {
          return is_capital(lemma[0]) && lower(lemma) == base;
        });
        if (name && !capital) continue;
        any_name |= name;
        // words that the tagged texts do not have mean what stands first
        uses.push_back({sense.synset, static_cast<double>(sense.count) + (first ? 0.5 : 0.1), name});
        first = false;
      }
    }
  }
  Meaning result;
  for (const Use& use : uses) {
    if (any_name && !use.name) continue;
    result.synsets.emplace_back(use.synset, use.weight);
    result.total += use.weight;
  }
  return result;
}

void WordSets::add_look_of(const Word& word, std::vector<uint32_t>& sets) const {
  const auto add = [&](const char* phrase, bool belongs = true) {
    if (belongs) sets.push_back(looks_.at(phrase));
  };
  const std::string& text = word.text;
  switch (word.kind) {
    case WordKind::letters: {
      const bool one = text.size() == 1, capital = is_capital(text[0]);
      add("words");
      add("capitalised words", capital);
      add("lower-case words", !capital && text[0] >= 'a' && text[0] <= 'z');
      add("words in capitals", !one && std::all_of(text.begin(), text.end(), is_capital));
      add("single letters", one);
      add("long words", text.size() >= 9);
      break;
    }
    case WordKind::digits:
      add("numbers");
      add("single digits", text.size() == 1);
      add("years", text.size() == 4 && (text[0] == '1' || text.starts_with("20")));
      break;
    case WordKind::punctuation: {
      const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };
      const bool ends = has(".") || has("?") || has("!");
      const bool quote = has("\"") || has("\u201c") || has("\u201d");
      add("punctuation");
      add("commas", has(","));
      add("full stops", has("."));
      add("question marks", has("?"));
      add("exclamation marks", has("!"));
      add("sentence-ending punctuation", ends);
      add("colons", has(":"));
      add("semicolons", has(";"));
      add("quotation marks", quote);
      add("punctuation with quotation marks", quote && text.size() > 1 && (ends || has(",")));
      add("apostrophes", has("'") || has("\u2019"));
      add("hyphens and dashes", has("-") || has("\u2013") || has("\u2014"));
      add("brackets", text.find_first_of("()[]{}") != std::string::npos);
      break;
    }
    case WordKind::blank:
      break;
  }
}

void WordSets::add_meaning_of(const Word& word, std::vector<uint32_t>& sets) const {
  const Meaning means = meaning(word.lower, is_capital(word.text[0]));
  if (means.total <= 0) {
    sets.push_back(looks_.at("words not in a dictionary"));
    if (is_capital(word.text[0])) sets.push_back(looks_.at("names"));
    return;
  }
  std::map<uint32_t, double> of_set;
  std::array<double, 4> of_class{};
  bool name = true;
  for (const auto& [index, weight] : means.synsets) {
    const Synset& synset = wordnet_.synsets()[index];
    name &= is_capital(word.text[0]) && std::any_of(synset.lemmas.begin(), synset.lemmas.end(), [&](const auto& lemma) {
      return is_capital(lemma[0]) && lower(lemma) == word.lower;
    });
    of_class[static_cast<size_t>(synset.word_class)] += weight;
    if (const uint32_t set = of_category_[static_cast<size_t>(synset.category)]; set != UINT32_MAX) of_set[set] += weight;
    for (const uint32_t above : wordnet_.with_hypernyms(index)) {
      if (const auto found = of_synset_.find(above); found != of_synset_.end()) of_set[found->second] += weight;
    }
  }
  for (const auto& [set, weight] : of_set) {
    if (weight >= settings_.least_share * means.total) sets.push_back(set);
  }
  for (size_t i = 0; i < of_class.size(); ++i) {
    if (of_class[i] >= 0.5 * means.total) sets.push_back(of_class_[i]);
  }
  if (name) sets.push_back(looks_.at("names"));
  const auto is_form = [&](WordClass word_class) {
    const auto bases = wordnet_.base_forms(word.lower, word_class);
    return std::any_of(bases.begin(), bases.end(), [&](const std::string& base) { return base != word.lower; });
  };
  const bool verb = of_class[static_cast<size_t>(WordClass::verb)] >= 0.5 * means.total;
  if (verb && word.lower.ends_with("ing") && is_form(WordClass::verb)) sets.push_back(looks_.at("verb forms in -ing"));
  if (verb && !word.lower.ends_with("ing") && !word.lower.ends_with("s") && is_form(WordClass::verb)) {
    sets.push_back(looks_.at("verbs in the past tense"));
  }
  if (of_class[static_cast<size_t>(WordClass::noun)] >= 0.5 * means.total && is_form(WordClass::noun)) {
    sets.push_back(looks_.at("plural nouns"));
  }
}

std::vector<uint32_t> WordSets::compute(const Word& word) const {
  std::vector<uint32_t> sets;
  add_look_of(word, sets);
  if (word.kind == WordKind::blank) {
    const size_t breaks = static_cast<size_t>(std::count(word.text.begin(), word.text.end(), '\n'));
    if (breaks > 0) sets.push_back(looks_.at("line breaks"));
    if (breaks > 1) sets.push_back(looks_.at("blank lines"));
  }
  if (const auto found = listed_.find(word.lower); found != listed_.end()) {
    sets.insert(sets.end(), found->second.begin(), found->second.end());
  }
  if (word.kind == WordKind::letters && !closed_.contains(word.lower)) add_meaning_of(word, sets);
  sort_unique(sets);
  return sets;
}

const std::vector<uint32_t>& WordSets::of_word(const Word& word) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = known_.find(word.text);
  if (found != known_.end()) return found->second;
  return known_.emplace(word.text, compute(word)).first->second;
}

std::vector<std::vector<uint32_t>> WordSets::of_text(const TextWords& text) const {
  std::vector<std::vector<uint32_t>> sets;
  for (const Word& word : text.words) sets.push_back(of_word(word));
  for (size_t w = 0; w < text.words.size(); ++w) {
    const auto found = names_.find(text.words[w].lower);
    if (found == names_.end()) continue;
    for (const Name& name : found->second) {
      const bool fits = w + name.words.size() <= text.words.size() &&
                        std::equal(name.words.begin(), name.words.end(), text.words.begin() + static_cast<long>(w),
                                   [](const std::string& part, const Word& word) { return part == word.lower; });
      if (!fits) continue;
      for (size_t i = 0; i < name.words.size(); ++i) {
        sets[w + i].insert(sets[w + i].end(), name.sets.begin(), name.sets.end());
        sort_unique(sets[w + i]);
      }
    }
  }
  return sets;
}

std::string WordSets::written(const std::string& word) const {
  if (closed_.contains(word)) return word;
  if (const auto fact = capitalised_.find(word); fact != capitalised_.end()) return fact->second;
  if (meaning(word, false).total > 0) return word;
  for (const WordClass word_class : word_classes) {
    for (const WordSense& sense : wordnet_.senses(word, word_class)) {
      for (const std::string& lemma : wordnet_.synsets()[sense.synset].lemmas) {
        if (lower(lemma) == word) return lemma;
      }
    }
  }
  return word;
}

}  // namespace introspect
