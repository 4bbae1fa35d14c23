// WordNet's glosses as general English text: definitions with their words and example sentences, for a machine that
// has no other text.
#include "base/error.h"
#include "text/wordnet.h"
#include "train/corpus.h"

#include <algorithm>

namespace introspect {

namespace {

constexpr size_t held_out_stride = 64;

// "dog, domestic dog: a member of the genus Canis. The dog barked all night." of a synset's lemmas and its gloss
// `a member of the genus Canis; "the dog barked all night"`.
std::string gloss_text(const Synset& synset) {
  std::string text;
  for (const std::string& lemma : synset.lemmas) text += (text.empty() ? "" : ", ") + lemma;
  std::replace(text.begin(), text.end(), '_', ' ');
  text += ": ";
  std::string_view rest = synset.gloss;
  const auto end_sentence = [&] {
    while (!text.empty() && (text.back() == ' ' || text.back() == ';')) text.pop_back();
    if (!text.empty() && std::string_view(".!?").find(text.back()) == std::string_view::npos) text += '.';
  };
  while (!rest.empty()) {
    const size_t open = std::min(rest.find('"'), rest.size());
    const std::string_view plain = rest.substr(0, open);
    const size_t first = plain.find_first_not_of("; ");  // what parts two examples is no text
    if (first != std::string_view::npos) {
      text += plain.substr(first);
      end_sentence();
    }
    if (open == rest.size()) break;
    rest.remove_prefix(open + 1);
    const size_t close = std::min(rest.find('"'), rest.size());
    std::string example(rest.substr(0, close));
    rest.remove_prefix(std::min(close + 1, rest.size()));
    if (example.empty()) continue;
    if (example[0] >= 'a' && example[0] <= 'z') example[0] = static_cast<char>(example[0] - 'a' + 'A');
    text += " " + example;
    end_sentence();
  }
  return text;
}

class GlossSource : public TextSource {
 public:
  GlossSource(const fs::path& folder, const Tokenizer& tokenizer, int64_t context)
      : tokenizer_(tokenizer), context_(context) {
    const WordNet net = WordNet::open(folder);
    size_t index = 0;
    for (const Synset& synset : net.synsets()) {
      if (!synset.gloss.empty()) (index++ % held_out_stride == 0 ? held_out_ : texts_).push_back(gloss_text(synset));
    }
    if (texts_.empty()) fail("corpus", fmt::format("no glosses ({})", folder.string()));
  }

  Document next(Random& random) override {
    return make([&]() -> const std::string& { return texts_[random.below(texts_.size())]; });
  }
  std::vector<Document> held_out(size_t count) const override {
    std::vector<Document> documents;
    size_t index = 0;
    while (documents.size() < count && index < held_out_.size()) {
      documents.push_back(make([&]() -> const std::string& { return held_out_[index++ % held_out_.size()]; }));
    }
    return documents;
  }
  std::string describe() const override {
    return fmt::format("{} glosses of WordNet", texts_.size() + held_out_.size());
  }

 private:
  // Glosses one behind the other, each on a line, up to the context.
  template <class NextText>
  Document make(const NextText& next_text) const {
    Document document;
    if (tokenizer_.bos()) document.tokens.push_back(*tokenizer_.bos());
    while (std::ssize(document.tokens) < context_) {
      for (const int64_t id : tokenizer_.encode_plain(next_text() + "\n")) document.tokens.push_back(id);
    }
    document.tokens.resize(static_cast<size_t>(context_));
    document.weights.assign(document.tokens.size(), 1.0f);
    document.weights[0] = 0;
    return document;
  }

  Tokenizer tokenizer_;
  int64_t context_;
  std::vector<std::string> texts_, held_out_;
};

}  // namespace

std::unique_ptr<TextSource> gloss_source(const fs::path& folder, const Tokenizer& tokenizer, int64_t context) {
  return std::make_unique<GlossSource>(folder, tokenizer, context);
}

}  // namespace introspect
