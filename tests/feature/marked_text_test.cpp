#include "feature/marked_text.h"

#include "base/temporary_folder.h"
#include "model/tiny_model.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

using test::tiny_tokenizer;

struct Line {
  at::Tensor tokens, activations;
};

// The tokens of a text behind BOS, of which those in `firing` are active.
Line line_of(const std::string& text, const std::vector<int64_t>& firing) {
  std::vector<int64_t> ids{*tiny_tokenizer().bos()};
  for (const int64_t id : tiny_tokenizer().encode_plain(text)) ids.push_back(id);
  ids.push_back(-1);
  Line line{at::tensor(ids, at::kInt), at::zeros({std::ssize(ids)})};
  for (const int64_t t : firing) line.activations[t] = 2;
  return line;
}

std::string marked(const Line& line, Marks marks = Marks::guillemets) {
  return marked_text(tiny_tokenizer(), line.tokens, line.activations, 2, marks);
}

TEST(MarkedText, MarksEachFiringTokenAndNothingElse) {
  EXPECT_EQ(marked(line_of("a b\nc", {})), "a b⏎c");
  ASSERT_EQ(tiny_tokenizer().encode_plain("x%y").size(), 3u);
  EXPECT_EQ(marked(line_of("x%y", {2})), "x«%»y");
  EXPECT_EQ(marked(line_of("x%y", {2, 3})), "x«%»«y»");
  EXPECT_EQ(marked(line_of("x%y", {1}), Marks::colours), "\033[1;97;48;5;202mx\033[0m%y");
}

TEST(MarkedText, CharactersOfSeveralTokensStayWhole) {
  ASSERT_EQ(tiny_tokenizer().encode_plain("€").size(), 3u);
  EXPECT_EQ(marked(line_of("€x", {2})), "«€»x");
  EXPECT_EQ(marked(line_of("x\x80y", {3})), tiny_tokenizer().encode_plain("\x80").size() == 3 ? "x«�»y" : "x�«y»");
  Line half = line_of("€", {});
  half.tokens[3] = -1;
  EXPECT_EQ(marked(half), "�");
}

TEST(MarkedText, RefusesOtherShapes) {
  EXPECT_TRUE(holds(error_of([&] { marked_text(tiny_tokenizer(), at::zeros({2}), at::zeros({3}), 1, Marks::colours); }),
                    "one shape"));
}

}  // namespace
}  // namespace introspect
