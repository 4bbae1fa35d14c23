// A context as a line of text with the tokens marked on which a latent fires.
#pragma once

#include "text/tokenizer.h"

#include <string>

#include <ATen/core/Tensor.h>

namespace introspect {

enum class Marks {
  guillemets,  // «each» « firing» token
  colours      // on a terminal: the stronger the activation, the stronger the colour
};

// tokens [T] (-1 behind the end; special tokens are left out), activations [T] float32; `maximum` is the latent's, for
// colours. Line breaks and control characters come out as ⏎ and �. A character that several tokens make belongs to the
// first of them that fires.
std::string marked_text(const Tokenizer& tokenizer, const at::Tensor& tokens, const at::Tensor& activations,
                        double maximum, Marks marks);

}  // namespace introspect
