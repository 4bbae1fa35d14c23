#include "feature/marked_text.h"

#include "base/error.h"
#include "text/utf8.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

namespace introspect {

namespace {

// Dark to bright orange of the 256 colours of terminals.
constexpr int shades[] = {94, 130, 166, 202};

std::string opening(double strength, Marks marks) {
  if (marks == Marks::guillemets) return "«";
  const int shade = std::clamp(static_cast<int>(std::ceil(4 * strength)) - 1, 0, 3);
  return fmt::format("\033[1;97;48;5;{}m", shades[shade]);
}

std::string closing(Marks marks) {
  return marks == Marks::guillemets ? "»" : "\033[0m";
}

std::string shown(std::string_view character) {
  if (character == "\n") return "⏎";
  if (character == "\t") return " ";
  const auto first = static_cast<unsigned char>(character[0]);
  return first < 0x20 || first == 0x7f ? "�" : std::string(character);
}

}  // namespace

std::string marked_text(const Tokenizer& tokenizer, const at::Tensor& tokens, const at::Tensor& activations,
                        double maximum, Marks marks) {
  if (tokens.dim() != 1 || tokens.sizes() != activations.sizes()) {
    fail("contexts", "marked_text: tokens and activations must have one shape [T]");
  }
  const at::Tensor token = tokens.to(at::kCPU, at::kLong).contiguous();
  const at::Tensor activation = activations.to(at::kCPU, at::kFloat).contiguous();
  const int64_t* ids = token.data_ptr<int64_t>();
  const float* values = activation.data_ptr<float>();

  std::string bytes;
  std::vector<int64_t> from;  // the firing token of each byte, or -1
  for (int64_t t = 0; t < token.numel() && ids[t] >= 0; ++t) {
    if (tokenizer.is_special(ids[t])) continue;
    bytes += tokenizer.piece(ids[t]);
    from.resize(bytes.size(), values[t] > 0 ? t : -1);
  }

  std::string line;
  int64_t open = -1;
  for (size_t begin = 0; begin < bytes.size();) {
    const text::Character character = text::first_character(std::string_view(bytes).substr(begin));
    const size_t end = begin + character.length;
    int64_t owner = -1;
    for (size_t i = begin; i < end && owner < 0; ++i) owner = from[i];
    if (owner != open) {
      if (open >= 0) line += closing(marks);
      if (owner >= 0) line += opening(maximum > 0 ? values[owner] / maximum : 1, marks);
      open = owner;
    }
    line += character.valid ? shown(std::string_view(bytes).substr(begin, character.length)) : "�";
    begin = end;
  }
  if (open >= 0) line += closing(marks);
  return line;
}

}  // namespace introspect
