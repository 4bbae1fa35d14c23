#include "train/corpus.h"

#include "base/error.h"
#include "base/files.h"
#include "procedure/options.h"
#include "procedure/records.h"
#include "procedure/render.h"
#include "text/wordnet.h"
#include "train/fact_drawer.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr size_t held_out_stride = 64;

// BOS, if the tokenizer has one.
std::vector<int64_t> beginning(const Tokenizer& tokenizer) {
  const std::optional<int64_t> bos = tokenizer.bos();
  return bos ? std::vector<int64_t>{*bos} : std::vector<int64_t>{};
}

// Nothing predicts the first token of a document: its weight is 0.
void append(Document& document, const std::vector<int64_t>& tokens, double weight) {
  document.tokens.insert(document.tokens.end(), tokens.begin(), tokens.end());
  document.weights.resize(document.tokens.size(), static_cast<float>(weight));
  if (!document.weights.empty()) document.weights[0] = 0;
}

void shorten(Document& document, int64_t context) {
  if (std::ssize(document.tokens) <= context) return;
  document.tokens.resize(context);
  document.weights.resize(context);
}

class FileSource : public TextSource {
 public:
  FileSource(const std::vector<fs::path>& files, const Tokenizer& tokenizer, int64_t context, int64_t max_bytes)
      : beginning_(beginning(tokenizer)), length_(context - std::ssize(beginning_)) {
    int64_t bytes = 0;
    for (const fs::path& file : files) {
      std::string text = read_text(file);
      // the limit is shared by the files evenly, so that the end of the list is not what is lost
      const size_t share = static_cast<size_t>(max_bytes / std::ssize(files));
      if (text.size() > share) text.resize(share);
      bytes += std::ssize(text);
      for (int64_t id : tokenizer.encode_plain(text)) tokens_.push_back(static_cast<int32_t>(id));
    }
    if (pieces() < 2 * held_out_stride) {
      fail("corpus", fmt::format("{} bytes of text are too little to cut into pieces of {} tokens", bytes, context));
    }
    files_ = files.size();
  }

  Document next(Random& random) override {
    size_t piece = random.below(pieces());
    if (piece % held_out_stride == 0) ++piece;
    return cut(std::min(piece, pieces() - 1));
  }
  std::vector<Document> held_out(size_t count) const override {
    std::vector<Document> documents;
    const size_t available = pieces() / held_out_stride;
    const size_t step = std::max<size_t>(1, available / count);
    for (size_t i = 0; i < available && documents.size() < count; i += step) {
      documents.push_back(cut(i * held_out_stride));
    }
    return documents;
  }
  std::string describe() const override {
    return fmt::format("{} files, {:.1f} million tokens", files_, static_cast<double>(tokens_.size()) / 1e6);
  }

 private:
  size_t pieces() const { return tokens_.size() / static_cast<size_t>(length_); }
  Document cut(size_t piece) const {
    Document document;
    append(document, beginning_, 0);
    const auto first = tokens_.begin() + static_cast<int64_t>(piece) * length_;
    append(document, std::vector<int64_t>(first, first + length_), 1);
    return document;
  }

  std::vector<int64_t> beginning_;
  int64_t length_;  // of a piece of text
  size_t files_ = 0;
  std::vector<int32_t> tokens_;
};

// Documents drawn from the facts. Facts are taught whole: what is held out is an order and choice of documents, not
// facts.
class FactSource : public TextSource {
 public:
  Document next(Random& random) override { return make(random); }
  std::vector<Document> held_out(size_t count) const override {
    Random random(0, held_out_name_);
    std::vector<Document> documents;
    while (documents.size() < count) documents.push_back(make(random));
    return documents;
  }
  std::string describe() const override { return facts_.describe(); }

 protected:
  FactSource(const fs::path& facts, const Tokenizer& tokenizer, int64_t context, std::string held_out_name)
      : facts_(facts), tokenizer_(tokenizer), context_(context), held_out_name_(std::move(held_out_name)) {}
  virtual Document make(Random& random) const = 0;

  FactDrawer facts_;
  Tokenizer tokenizer_;
  int64_t context_;

 private:
  std::string held_out_name_;
};

class StatementSource : public FactSource {
 public:
  StatementSource(const fs::path& facts, const Tokenizer& tokenizer, int64_t context, double object_weight)
      : FactSource(facts, tokenizer, context, "held-out statements"), object_weight_(object_weight) {}

 private:
  Document make(Random& random) const override {
    Document document;
    append(document, beginning(tokenizer_), 0);
    const uint64_t count = 1 + random.below(4);
    for (uint64_t i = 0; i < count; ++i) {
      const DrawnFact drawn = facts_.draw(random);
      const std::string statement =
          statement_text(drawn.relation->templates[drawn.template_index], drawn.fact->subject);
      append(document, tokenizer_.encode_plain((i ? " " : "") + statement), 1);
      append(document, tokenizer_.encode_plain(option_answer(drawn.fact->object)), object_weight_);
      append(document, tokenizer_.encode_plain("."), 1);
    }
    shorten(document, context_);
    return document;
  }

  double object_weight_;
};

class OptionSource : public FactSource {
 public:
  OptionSource(const fs::path& facts, const Tokenizer& tokenizer, int64_t context, double answer_weight,
               double prompt_weight)
      : FactSource(facts, tokenizer, context, "held-out options"),
        answer_weight_(answer_weight),
        prompt_weight_(prompt_weight) {}

 private:
  Document make(Random& random) const override {
    const DrawnFact drawn = facts_.draw(random);
    const std::vector<std::string> options = choose_options(*drawn.relation, *drawn.fact, nullptr, 5, random);
    const OptionPrompt prompt = option_prompt(*drawn.relation, *drawn.fact, drawn.template_index, options);
    Document document;
    append(document, beginning(tokenizer_), 0);
    append(document, tokenizer_.encode_plain(prompt.prompt), prompt_weight_);
    append(document, tokenizer_.encode_plain(prompt.answer), answer_weight_);
    if (std::ssize(document.tokens) > context_) {
      fail("corpus",
           fmt::format("an option prompt of {} tokens, expected at most {}", document.tokens.size(), context_),
           "raise the context");
    }
    return document;
  }

  double answer_weight_, prompt_weight_;
};

// Files named outright, and the .txt and .tokens files below folders, sorted.
std::vector<fs::path> expand_paths(const std::vector<std::string>& names, const fs::path& base) {
  std::vector<fs::path> files;
  for (const std::string& name : names) {
    const fs::path path = fs::path(name).is_absolute() ? fs::path(name) : base / name;
    if (fs::is_directory(path)) {
      std::vector<fs::path> found;
      for (const auto& entry : fs::recursive_directory_iterator(path)) {
        const std::string extension = entry.path().extension().string();
        if (entry.is_regular_file() && (extension == ".txt" || extension == ".tokens")) found.push_back(entry.path());
      }
      std::sort(found.begin(), found.end());
      files.insert(files.end(), found.begin(), found.end());
    } else if (fs::exists(path)) {
      files.push_back(path);
    } else {
      fail("corpus", fmt::format("no file or folder '{}'", path.string()),
           "paths in a recipe are taken from the recipe's folder");
    }
  }
  if (files.empty()) fail("corpus", "a table of kind 'files' names no text files");
  return files;
}

fs::path wordnet_folder(const Json& table, const fs::path& base) {
  return base / json_get_or<std::string>(table, "folder", WordNet::default_folder, "recipe [[text]]");
}

}  // namespace

std::unique_ptr<TextSource> file_source(const std::vector<fs::path>& files, const Tokenizer& tokenizer, int64_t context,
                                        int64_t max_bytes) {
  return std::make_unique<FileSource>(files, tokenizer, context, max_bytes);
}
std::unique_ptr<TextSource> statement_source(const fs::path& facts, const Tokenizer& tokenizer, int64_t context,
                                             double object_weight) {
  return std::make_unique<StatementSource>(facts, tokenizer, context, object_weight);
}
std::unique_ptr<TextSource> option_source(const fs::path& facts, const Tokenizer& tokenizer, int64_t context,
                                          double answer_weight, double prompt_weight) {
  return std::make_unique<OptionSource>(facts, tokenizer, context, answer_weight, prompt_weight);
}

void check_text_tables(const Json& tables, const std::string& label) {
  static const std::map<std::string, std::set<std::string>> known = {
      {"files", {"paths", "max_bytes"}},
      {"wordnet", {"folder"}},
      {"statements", {"facts", "object_weight"}},
      {"options", {"facts", "answer_weight", "prompt_weight"}},
      {"choices", {"facts", "prompt", "hint", "hinted_share", "hint_right_share", "choices"}}};
  if (!tables.is_array()) fail_usage("corpus", fmt::format("[[text]] is no list of tables ({})", label));
  for (const Json& table : tables) {
    const std::string kind = json_get<std::string>(table, "kind", label);
    const auto keys = known.find(kind);
    if (keys == known.end()) {
      fail_usage("corpus", fmt::format("kind: got '{}', expected files, wordnet, statements, options or choices ({})",
                                       kind, label));
    }
    if (kind == "choices") parse_choice_text(table, label);
    for (const auto& [key, value] : table.items()) {
      if (key != "kind" && key != "name" && key != "weight" && !keys->second.contains(key)) {
        fail_usage("corpus", fmt::format("unknown key '{}' in a [[text]] table of kind '{}' ({})", key, kind, label));
      }
    }
  }
}

std::vector<RunInput> text_inputs(const Json& tables, const fs::path& base) {
  std::vector<RunInput> inputs;
  for (const Json& table : tables) {
    const std::string label = "recipe [[text]]", kind = json_get<std::string>(table, "kind", label);
    if (kind == "files") {
      for (const fs::path& path : expand_paths(json_get<std::vector<std::string>>(table, "paths", label), base)) {
        inputs.push_back({"text " + path.filename().string(), path});
      }
    } else if (kind == "wordnet") {
      inputs.push_back({kind, wordnet_folder(table, base) / "data.noun"});
    } else {
      inputs.push_back({kind, base / json_get<std::string>(table, "facts", label)});
    }
  }
  return inputs;
}

Mixture::Mixture(const Json& tables, const Tokenizer& tokenizer, int64_t context, const fs::path& base, uint64_t seed) {
  const std::string label = "recipe [[text]]";
  check_text_tables(tables, label);
  for (const Json& table : tables) {
    const std::string kind = json_get<std::string>(table, "kind", label);
    const double weight = json_get_or<double>(table, "weight", 1.0, label);
    if (!(weight > 0)) fail_usage("corpus", fmt::format("weight of '{}': got {}, expected more than 0", kind, weight));
    std::unique_ptr<TextSource> source;
    if (kind == "files") {
      const auto paths = json_get<std::vector<std::string>>(table, "paths", label);
      const int64_t max_bytes = json_get_or<int64_t>(table, "max_bytes", int64_t{1} << 40, label);
      source = file_source(expand_paths(paths, base), tokenizer, context, max_bytes);
    } else if (kind == "wordnet") {
      source = gloss_source(wordnet_folder(table, base), tokenizer, context);
    } else if (kind == "statements") {
      const fs::path facts = base / json_get<std::string>(table, "facts", label);
      source = statement_source(facts, tokenizer, context, json_get_or<double>(table, "object_weight", 1.0, label));
    } else if (kind == "choices") {
      const fs::path facts = base / json_get<std::string>(table, "facts", label);
      source = choice_source(facts, tokenizer, context, parse_choice_text(table, label));
    } else {
      const fs::path facts = base / json_get<std::string>(table, "facts", label);
      source = option_source(facts, tokenizer, context, json_get_or<double>(table, "answer_weight", 1.0, label),
                             json_get_or<double>(table, "prompt_weight", 1.0, label));
    }
    const std::string name = json_get_or<std::string>(table, "name", fmt::format("{} {}", kind, kinds_.size()), label);
    kinds_.push_back({name, weight, std::move(source), Random(seed, "text " + name), 0});
  }
  if (kinds_.empty()) fail_usage("corpus", "the recipe has no [[text]] table");
}

std::vector<Document> Mixture::next(int64_t tokens) {
  std::vector<Document> documents;
  for (int64_t total = 0; total < tokens;) {
    // the kind that is furthest behind its share
    Kind& kind = *std::min_element(kinds_.begin(), kinds_.end(), [](const Kind& a, const Kind& b) {
      return static_cast<double>(a.given) / a.weight < static_cast<double>(b.given) / b.weight;
    });
    documents.push_back(kind.source->next(kind.random));
    kind.given += std::ssize(documents.back().tokens);
    total += std::ssize(documents.back().tokens);
  }
  return documents;
}

std::vector<std::pair<std::string, std::vector<Document>>> Mixture::held_out(size_t count) const {
  std::vector<std::pair<std::string, std::vector<Document>>> sets;
  for (const Kind& kind : kinds_) sets.emplace_back(kind.name, kind.source->held_out(count));
  return sets;
}

std::vector<std::string> Mixture::describe() const {
  double sum = 0;
  for (const Kind& kind : kinds_) sum += kind.weight;
  std::vector<std::string> lines;
  for (const Kind& kind : kinds_) {
    lines.push_back(fmt::format("{:4.0f}%  {} ({})", 100 * kind.weight / sum, kind.name, kind.source->describe()));
  }
  return lines;
}

Json Mixture::state() const {
  Json state = Json::array();
  for (const Kind& kind : kinds_) {
    state.push_back({{"name", kind.name}, {"given", kind.given}, {"random", kind.random.state()}});
  }
  return state;
}

void Mixture::restore(const Json& state) {
  if (state.size() != kinds_.size()) fail("corpus", "the checkpoint was made with other [[text]] tables");
  for (size_t i = 0; i < kinds_.size(); ++i) {
    kinds_[i].given = json_get<int64_t>(state[i], "given", "checkpoint");
    kinds_[i].random.restore(json_get<std::string>(state[i], "random", "checkpoint"));
  }
}

}  // namespace introspect
