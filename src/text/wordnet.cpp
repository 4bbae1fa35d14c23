#include "text/wordnet.h"

#include "base/error.h"
#include "base/files.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <span>

namespace introspect {

namespace {

constexpr std::array<std::string_view, wordnet_category_count> category_names = {
    "adj.all",         "adj.pert",       "adv.all",           "noun.Tops",       "noun.act",
    "noun.animal",     "noun.artifact",  "noun.attribute",    "noun.body",       "noun.cognition",
    "noun.communication", "noun.event",  "noun.feeling",      "noun.food",       "noun.group",
    "noun.location",   "noun.motive",    "noun.object",       "noun.person",     "noun.phenomenon",
    "noun.plant",      "noun.possession", "noun.process",     "noun.quantity",   "noun.relation",
    "noun.shape",      "noun.state",     "noun.substance",    "noun.time",       "verb.body",
    "verb.change",     "verb.cognition", "verb.communication", "verb.competition", "verb.consumption",
    "verb.contact",    "verb.creation",  "verb.emotion",      "verb.motion",     "verb.perception",
    "verb.possession", "verb.social",    "verb.stative",      "verb.weather",    "adj.ppl"};

constexpr std::array<std::string_view, 4> file_endings = {"noun", "verb", "adj", "adv"};

struct Rule {
  std::string_view ending, replacement;
};
// The table of morphy(7).
constexpr Rule noun_rules[] = {{"s", ""},     {"ses", "s"},   {"xes", "x"},   {"zes", "z"},
                               {"ches", "ch"}, {"shes", "sh"}, {"men", "man"}, {"ies", "y"}};
constexpr Rule verb_rules[] = {{"s", ""},   {"ies", "y"}, {"es", "e"},  {"es", ""},
                               {"ed", "e"}, {"ed", ""},   {"ing", "e"}, {"ing", ""}};
constexpr Rule adjective_rules[] = {{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"}};

std::span<const Rule> rules_of(WordClass word_class) {
  switch (word_class) {
    case WordClass::noun: return noun_rules;
    case WordClass::verb: return verb_rules;
    case WordClass::adjective: return adjective_rules;
    case WordClass::adverb: break;
  }
  return {};
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// One line of a file, taken apart at blanks; errors name the line.
class Line {
 public:
  Line(std::string_view text, const fs::path& file, size_t number) : rest_(text), file_(file), number_(number) {}

  std::optional<std::string_view> next_if_any() {
    const size_t first = rest_.find_first_not_of(' ');
    if (first == std::string_view::npos) return std::nullopt;
    const size_t end = std::min(rest_.find(' ', first), rest_.size());
    const std::string_view field = rest_.substr(first, end - first);
    rest_.remove_prefix(end);
    return field;
  }
  std::string_view next(const char* what) {
    const std::optional<std::string_view> field = next_if_any();
    if (!field) broken(fmt::format("the line ends before its {}", what));
    return *field;
  }
  uint64_t number(const char* what, int base = 10) {
    const std::string_view field = next(what);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, base);
    if (error != std::errc{} || end != field.data() + field.size()) {
      broken(fmt::format("{}: got '{}', expected a number", what, field));
    }
    return value;
  }
  std::string_view rest() const { return rest_; }
  [[noreturn]] void broken(const std::string& message) const {
    fail("wordnet", fmt::format("{} ({}:{})", message, file_.string(), number_));
  }

 private:
  std::string_view rest_;
  const fs::path& file_;
  size_t number_;
};

WordClass class_of(std::string_view letter, const Line& line) {
  if (letter == "n") return WordClass::noun;
  if (letter == "v") return WordClass::verb;
  if (letter == "a" || letter == "s") return WordClass::adjective;
  if (letter == "r") return WordClass::adverb;
  line.broken(fmt::format("word class: got '{}', expected n, v, a, s or r", letter));
}

void for_each_line(const fs::path& file, const std::function<void(Line&)>& visit) {
  const std::string text = read_text(file);
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content(text.data() + begin, end - begin);
    ++number;
    begin = end + 1;
    if (content.empty() || content[0] == ' ') continue;  // the licence stands indented at the top
    Line line(content, file, number);
    visit(line);
  }
}

}  // namespace

std::string_view wordnet_category_name(int category) { return category_names.at(static_cast<size_t>(category)); }

class WordNetReader {
 public:
  explicit WordNetReader(const fs::path& folder) : folder_(folder) {
    if (!fs::exists(folder / "data.noun")) {
      fail("wordnet", fmt::format("no WordNet database (data.noun) in {}", folder.string()),
           "install the Debian package wordnet-base, or name the folder of WordNet 3.0's files");
    }
    for (const WordClass word_class : word_classes) read_data(word_class);
    resolve_hypernyms();
    for (const WordClass word_class : word_classes) read_index(word_class);
    read_counts();
    for (const WordClass word_class : word_classes) read_exceptions(word_class);
  }
  WordNet take() { return std::move(net_); }

 private:
  static size_t index_of(WordClass word_class) { return static_cast<size_t>(word_class); }
  fs::path file(const std::string& beginning, WordClass word_class) const {
    return folder_ / fmt::format("{}{}", beginning, file_endings[index_of(word_class)]);
  }

  void read_data(WordClass word_class) {
    for_each_line(file("data.", word_class), [&](Line& line) {
      const uint64_t offset = line.number("offset");
      Synset synset;
      synset.category = static_cast<int>(line.number("category"));
      if (synset.category >= wordnet_category_count) {
        line.broken(fmt::format("category: got {}, expected 0 to {}", synset.category, wordnet_category_count - 1));
      }
      synset.word_class = class_of(line.next("word class"), line);
      if (synset.word_class != word_class) line.broken("a synset of another word class than the file's");
      const uint64_t words = line.number("number of words", 16);
      for (uint64_t i = 0; i < words; ++i) {
        std::string_view word = line.next("word");
        line.next("sense identifier");
        synset.lemmas.emplace_back(word.substr(0, word.find('(')));  // "afraid(p)": where an adjective may stand
      }
      const uint64_t pointers = line.number("number of pointers");
      for (uint64_t i = 0; i < pointers; ++i) {
        const std::string_view symbol = line.next("pointer");
        const uint64_t target = line.number("pointer's offset");
        const WordClass target_class = class_of(line.next("pointer's word class"), line);
        line.next("pointer's words");
        if (symbol == "@" || symbol == "@i") {
          synset.instance |= symbol == "@i";
          hypernyms_.push_back({static_cast<uint32_t>(net_.synsets_.size()), target_class, target});
        }
      }
      const size_t bar = line.rest().find("| ");
      if (bar != std::string_view::npos) {
        std::string_view gloss = line.rest().substr(bar + 2);
        while (!gloss.empty() && gloss.back() == ' ') gloss.remove_suffix(1);
        synset.gloss = gloss;
      }
      if (!offsets_[index_of(word_class)].emplace(offset, net_.synsets_.size()).second) {
        line.broken(fmt::format("offset {} stands there twice", offset));
      }
      net_.synsets_.push_back(std::move(synset));
    });
  }

  void resolve_hypernyms() {
    for (const Pointer& pointer : hypernyms_) {
      const auto& offsets = offsets_[index_of(pointer.target_class)];
      const auto target = offsets.find(pointer.target);
      if (target == offsets.end()) {
        fail("wordnet", fmt::format("'{}' points to a synset {:08} that is not there ({})",
                                    net_.synsets_[pointer.from].lemmas.at(0), pointer.target, folder_.string()));
      }
      net_.synsets_[pointer.from].hypernyms.push_back(target->second);
    }
  }

  void read_index(WordClass word_class) {
    for_each_line(file("index.", word_class), [&](Line& line) {
      const std::string lemma(line.next("lemma"));
      line.next("word class");
      const uint64_t count = line.number("number of synsets");
      const uint64_t symbols = line.number("number of pointers");
      for (uint64_t i = 0; i < symbols; ++i) line.next("pointer");
      line.number("number of senses");
      line.number("number of tagged senses");
      std::vector<WordSense> senses;
      const auto& offsets = offsets_[index_of(word_class)];
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t offset = line.number("synset");
        const auto found = offsets.find(offset);
        if (found == offsets.end()) line.broken(fmt::format("a synset {:08} that is not there", offset));
        senses.push_back({found->second, 0});
      }
      net_.lemmas_[index_of(word_class)][lemma] = std::move(senses);
    });
  }

  // "dog%1:05:00:: 1 42": sense key, number of the sense as the index counts, times it was tagged.
  void read_counts() {
    for_each_line(folder_ / "cntlist.rev", [&](Line& line) {
      const std::string_view key = line.next("sense key");
      const size_t percent = key.rfind('%');
      if (percent == std::string_view::npos || percent + 1 >= key.size()) line.broken("a sense key without '%'");
      const char type = key[percent + 1];
      const uint64_t sense = line.number("sense number"), count = line.number("count");
      if (type < '1' || type > '5') line.broken(fmt::format("word class: got '{}', expected 1 to 5", type));
      const size_t word_class = type == '5' ? index_of(WordClass::adjective) : static_cast<size_t>(type - '1');
      const auto found = net_.lemmas_[word_class].find(std::string(key.substr(0, percent)));
      if (found == net_.lemmas_[word_class].end() || sense == 0 || sense > found->second.size()) return;
      found->second[sense - 1].count = static_cast<int64_t>(count);
    });
  }

  void read_exceptions(WordClass word_class) {
    const fs::path path = folder_ / fmt::format("{}.exc", file_endings[index_of(word_class)]);
    for_each_line(path, [&](Line& line) {
      auto& bases = net_.exceptions_[index_of(word_class)][std::string(line.next("form"))];
      bases.emplace_back(line.next("base form"));
      while (const auto more = line.next_if_any()) bases.emplace_back(*more);
    });
  }

  struct Pointer {
    uint32_t from;
    WordClass target_class;
    uint64_t target;
  };
  fs::path folder_;
  WordNet net_;
  std::array<std::unordered_map<uint64_t, uint32_t>, 4> offsets_;
  std::vector<Pointer> hypernyms_;
};

WordNet WordNet::open(const fs::path& folder) { return WordNetReader(folder).take(); }

const std::vector<WordSense>& WordNet::senses(std::string_view lemma, WordClass word_class) const {
  static const std::vector<WordSense> none;
  const Lemmas& lemmas = lemmas_[static_cast<size_t>(word_class)];
  const auto found = lemmas.find(std::string(lemma));
  return found == lemmas.end() ? none : found->second;
}

std::vector<std::string> WordNet::base_forms(std::string_view form, WordClass word_class) const {
  std::vector<std::string> bases;
  const auto add = [&](std::string base) {
    if (!senses(base, word_class).empty() && std::find(bases.begin(), bases.end(), base) == bases.end()) {
      bases.push_back(std::move(base));
    }
  };
  const std::string word = lower(form);
  add(word);
  const Exceptions& exceptions = exceptions_[static_cast<size_t>(word_class)];
  if (const auto found = exceptions.find(word); found != exceptions.end()) {
    for (const std::string& base : found->second) add(base);
    return bases;  // the rules do not hold for it
  }
  for (const Rule& rule : rules_of(word_class)) {
    if (word.size() <= rule.ending.size() + 1 || !word.ends_with(rule.ending)) continue;
    if (word_class == WordClass::noun && rule.ending == "s" && word.ends_with("ss")) continue;
    std::string base = word.substr(0, word.size() - rule.ending.size()) + std::string(rule.replacement);
    // "running": morphy leaves doubled letters to its exceptions, which do not have them all
    if (senses(base, word_class).empty() && (rule.ending == "ing" || rule.ending == "ed") && base.size() > 3 &&
        base[base.size() - 1] == base[base.size() - 2]) {
      base.pop_back();
    }
    add(std::move(base));
  }
  return bases;
}

std::vector<uint32_t> WordNet::with_hypernyms(uint32_t synset) const {
  std::vector<uint32_t> all = {synset};
  for (size_t i = 0; i < all.size(); ++i) {
    for (const uint32_t above : synsets_.at(all[i]).hypernyms) {
      if (std::find(all.begin(), all.end(), above) == all.end()) all.push_back(above);
    }
  }
  return all;
}

}  // namespace introspect
