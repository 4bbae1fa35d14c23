// The "pre_tokenizer" of tokenizer.json: cuts text into the pieces that the model encodes one by one.
#pragma once

#include "text/aligned_text.h"
#include "text/part.h"

#include <memory>
#include <vector>

namespace introspect::text {

// A text and the pieces it has been cut into so far, from left to right. Bytes between pieces were removed.
struct Pieces {
  AlignedText whole;
  std::vector<Range> ranges;
  bool at_start = false;  // the text is the beginning of what the user gave
};

class PreTokenizer {
 public:
  PreTokenizer() = default;  // one piece
  // Throws Error for a pre-tokenizer it does not know.
  explicit PreTokenizer(const Part& part);

  void apply(Pieces& pieces) const;

  // Whether the last step is ByteLevel. Its mapping of bytes to GPT-2's alphabet is then left to the model, which
  // takes the raw bytes; keep_alphabet(true) asks for the letters instead.
  bool ends_in_byte_level() const { return ends_in_byte_level_; }
  void keep_alphabet(bool keep) { keep_alphabet_ = keep; }

  struct Step {
    virtual ~Step() = default;
    virtual void apply(Pieces& pieces) const = 0;
  };

 private:
  void add(const Part& part);
  std::vector<std::shared_ptr<const Step>> steps_;
  bool ends_in_byte_level_ = false, keep_alphabet_ = false;
};

}  // namespace introspect::text
