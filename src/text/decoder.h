// The "decoder" of tokenizer.json: token texts back to text.
#pragma once

#include "text/part.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace introspect::text {

class Decoder {
 public:
  Decoder() = default;  // joins the tokens with blanks between them, as Hugging Face does
  // Throws Error for a decoder it does not know.
  explicit Decoder(const Part& part);

  std::string decode(std::vector<std::string> tokens) const;
  // The bytes one token stands for inside a text; they may be a part of a character.
  std::string piece(std::string_view token) const;

  struct Step {
    virtual ~Step() = default;
    virtual void apply(std::vector<std::string>& tokens) const = 0;
    virtual void piece(std::string& token) const = 0;
  };

 private:
  void add(const Part& part);
  std::vector<std::shared_ptr<const Step>> steps_;
  bool given_ = false;
};

}  // namespace introspect::text
