// Text cut into pieces of a number of tokens, each with BOS in front where the tokenizer has one.
#pragma once

#include "base/json.h"
#include "feature/context_set.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// A stream of pieces, the same each time it is made.
class TextPieces {
 public:
  virtual ~TextPieces() = default;
  virtual std::optional<Piece> next() = 0;  // empty at the end of the text
  // Tokens of rests too short to be pieces (less than 4 tokens at the end of a file or document).
  virtual int64_t left_out() const = 0;
};

// Plain text, one file after the other. A piece does not reach over the end of a file. Memory: a few MB. Throws Error
// if a file cannot be read.
std::unique_ptr<TextPieces> file_pieces(const std::vector<fs::path>& files, const Tokenizer& tokenizer, int64_t length);

// Documents of the [[text]] tables of a recipe (train/corpus.h), of up to `context` tokens, without end; paths are
// taken from `base`. Memory: as Mixture, 4 bytes a token of its files.
std::unique_ptr<TextPieces> mixture_pieces(const Json& tables, const Tokenizer& tokenizer, int64_t length,
                                           int64_t context, const fs::path& base, uint64_t seed);

}  // namespace introspect
