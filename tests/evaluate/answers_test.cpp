#include "explainer/answers.h"

#include "base/temporary_folder.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

TEST(Answers, WordsOfThePaper) {
  EXPECT_EQ(answer_words(true, " Paris"), "The most likely output would change to <<<Paris>>>.");
  EXPECT_EQ(answer_words(false, "Rome"), "The output would remain unchanged from <<<Rome>>>.");
}

TEST(Answers, ParsingUndoesTheWords) {
  for (const bool changed : {true, false}) {
    for (const std::string content : {"Paris", "", ">", ">>", "<", "a > b", "a >>> ", "<<", "New\nYork", "é", "."}) {
      const auto parsed = parse_answer(answer_words(changed, content));
      ASSERT_TRUE(parsed) << content;
      EXPECT_EQ(parsed->changed, changed);
      EXPECT_EQ(parsed->content, content == "a >>> " ? "a >>>" : content);
    }
  }
}

TEST(Answers, LenientAboutCaseBlanksAndWhatFollows) {
  const auto parsed = parse_answer("  the MOST likely output\n would  Change\tto<<< Rome >>> and so on <<<x>>>");
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->changed);
  EXPECT_EQ(parsed->content, "Rome");
  EXPECT_TRUE(parse_answer("It would remain unchanged from <<<a>>>"));
  EXPECT_FALSE(parse_answer("It would remain unchanged from <<<a>>>")->changed);
}

TEST(Answers, UnparsableOnes) {
  for (const std::string text :
       {"", "Paris", "<<<", ">>>", ">>> would change to <<<", "would change to <<<Paris", "would change to <<<Paris>>",
        "would change to Paris>>>", "would change <<<Paris>>>", "remains unchanged from <<<Paris>>>", "<<<Paris>>>",
        "would not change to <<<Paris>>>", "would change to the word <<<Paris>>>"}) {
    EXPECT_FALSE(parse_answer(text)) << text;
  }
}

TEST(Answers, FileRoundTripAndBrokenLines) {
  TemporaryFolder folder;
  const std::vector<Answer> answers = {{"a", "The \"x\"\n<<<ü>>>"}, {"b", ""}, {"c", "half \xf0\x9f"}};
  save_answers(answers, folder / "answers.jsonl");
  const std::vector<Answer> loaded = load_answers(folder / "answers.jsonl");
  ASSERT_EQ(loaded.size(), 3u);
  EXPECT_EQ(loaded[0].text, answers[0].text);
  EXPECT_EQ(loaded[1].text, "");
  EXPECT_EQ(loaded[2].text, "half \xef\xbf\xbd");  // what is no UTF-8 is said so, not lost with the whole file
  folder.write("twice.jsonl", "{\"id\":\"a\",\"text\":\"\"}\n\n{\"id\":\"a\",\"text\":\"\"}\n");
  EXPECT_TRUE(holds(error_of([&] { load_answers(folder / "twice.jsonl"); }), "twice.jsonl:3"));
  folder.write("bad.jsonl", "{\"id\":\"a\",\"text\":\"\"}\n{\"id\":\"b\"}\n");
  EXPECT_TRUE(holds(error_of([&] { load_answers(folder / "bad.jsonl"); }), "bad.jsonl:2: key 'text' is missing"));
}

}  // namespace
}  // namespace introspect
