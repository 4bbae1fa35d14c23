// Text to train on: a mixture of kinds of text, each with its weight, cut into documents of tokens.
#pragma once

#include "base/json.h"
#include "base/random.h"
#include "base/run_record.h"
#include "procedure/choice_prompt.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace introspect {

// weights[i] is how much predicting tokens[i] from those before it counts; weights[0] is 0.
struct Document {
  std::vector<int64_t> tokens;
  std::vector<float> weights;
};

// One kind of text: an endless stream of documents, the same for the same random stream.
class TextSource {
 public:
  virtual ~TextSource() = default;
  virtual Document next(Random& random) = 0;
  // Documents that next() never gives, for the held-out loss.
  virtual std::vector<Document> held_out(size_t count) const = 0;
  virtual std::string describe() const = 0;
};

// Files of plain text, cut into pieces of `context` tokens, each begun with BOS if the tokenizer has one; every 64th piece is held out.
// Throws Error if no file matches or a file cannot be read. Memory: 4 bytes a token.
std::unique_ptr<TextSource> file_source(const std::vector<fs::path>& files, const Tokenizer& tokenizer, int64_t context,
                                        int64_t max_bytes);

// A fact table as plain statements, one to four of them a document. `object_weight` is the loss weight of the object.
std::unique_ptr<TextSource> statement_source(const fs::path& facts, const Tokenizer& tokenizer, int64_t context,
                                             double object_weight);

// The option prompts of activation patching with their answers; only `prompt_weight` of the loss falls on the prompt.
std::unique_ptr<TextSource> option_source(const fs::path& facts, const Tokenizer& tokenizer, int64_t context,
                                          double answer_weight, double prompt_weight);

// Multiple-choice questions of a fact table, some with a hint. A wrong hint is followed as often as its wording says,
// else the right answer is given; only the answer is learnt.
struct ChoiceTextSettings {
  ChoicePromptStyle style;
  std::vector<HintWording> hints;
  double hinted_share = 0.4, hint_right_share = 0.4;
  int64_t choices = 4;
};
ChoiceTextSettings parse_choice_text(const Json& table, const std::string& label);
std::unique_ptr<TextSource> choice_source(const fs::path& facts, const Tokenizer& tokenizer, int64_t context,
                                          const ChoiceTextSettings& settings);

// The glosses of WordNet with their words and example sentences (text/wordnet.h): 2 million tokens of general English on
// a machine that has no other text.
std::unique_ptr<TextSource> gloss_source(const fs::path& folder, const Tokenizer& tokenizer, int64_t context);

// Throws Error for a table of an unknown kind or with an unknown key; reads no file.
void check_text_tables(const Json& tables, const std::string& label);

// The files and folders that the tables read, for a step's run.json: other text is other work. Throws Error for a path
// that is not there.
std::vector<RunInput> text_inputs(const Json& tables, const fs::path& base);

// The [[text]] tables of a recipe: kind ("files", "wordnet", "statements", "options", "choices"), weight, and what each kind
// needs. Relative paths are taken from `base`.
class Mixture {
 public:
  Mixture(const Json& tables, const Tokenizer& tokenizer, int64_t context, const fs::path& base, uint64_t seed);

  // Documents with at least `tokens` tokens together, each kind by its share of tokens (weights sum to the whole).
  std::vector<Document> next(int64_t tokens);
  std::vector<std::pair<std::string, std::vector<Document>>> held_out(size_t count) const;
  std::vector<std::string> describe() const;

  // For exact resume.
  Json state() const;
  void restore(const Json& state);

 private:
  struct Kind {
    std::string name;
    double weight;
    std::unique_ptr<TextSource> source;
    Random random;
    int64_t given = 0;  // tokens so far
  };
  std::vector<Kind> kinds_;
};

}  // namespace introspect
