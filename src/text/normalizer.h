// The "normalizer" of tokenizer.json: changes to the text before it is cut into pieces.
#pragma once

#include "text/aligned_text.h"
#include "text/part.h"

#include <memory>
#include <optional>
#include <vector>

namespace introspect::text {

class Normalizer {
 public:
  Normalizer() = default;  // changes nothing
  // Throws Error for a normalizer it does not know.
  explicit Normalizer(const Part& part);

  bool empty() const { return steps_.empty(); }
  void apply(AlignedText& text) const;

  struct Step {
    virtual ~Step() = default;
    virtual void apply(AlignedText& text) const = 0;
  };

 private:
  void add(const Part& part);
  std::vector<std::shared_ptr<const Step>> steps_;
};

}  // namespace introspect::text
