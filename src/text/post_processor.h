// The "post_processor" of tokenizer.json: special tokens put around the text.
#pragma once

#include "text/part.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace introspect::text {

struct PostProcessor {
  std::vector<int64_t> before, after;

  PostProcessor() = default;  // adds nothing
  // Throws Error for a post-processor it does not know, and for ids of which `known` says no.
  PostProcessor(const Part& part, const std::function<bool(int64_t)>& known);

 private:
  void add(const Part& part, const std::function<bool(int64_t)>& known);
};

}  // namespace introspect::text
