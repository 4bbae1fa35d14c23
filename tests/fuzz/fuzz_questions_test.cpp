// Files of questions: JSONL and CSV. Whatever is taken comes back the same when it is written and read again.
#include "base/files.h"
#include "base/temporary_folder.h"
#include "fuzz/fuzz.h"
#include "procedure/questions.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

void fuzz_questions(const std::string& extension, const std::vector<std::string>& seeds) {
  const TemporaryFolder folder;
  const fs::path given = folder / ("subject_test." + extension), written = folder / "written.jsonl";
  const auto read = [&](std::string_view text) {
    write_text(given, std::string(text));
    DropReport dropped;
    const std::vector<ChoiceQuestion> questions = read_questions(given, {}, dropped);
    for (const ChoiceQuestion& question : questions) {
      if (question.answer >= question.choices.size()) throw std::logic_error("an answer that is no choice");
    }
    save_questions(questions, written);
    DropReport none;
    if (read_questions(written, {}, none) != questions) throw std::logic_error("comes back as something else");
  };
  const FuzzResult result = run_fuzzer("questions_" + extension, seeds, fuzz_seconds(), read);
  EXPECT_EQ(result.failure, "") << "after " << result.runs << " runs";
  EXPECT_GE(result.accepted, std::ssize(seeds)) << "the seeds themselves are taken";
}

TEST(FuzzQuestions, JsonLines) {
  fuzz_questions("jsonl",
                 {"{\"question\": \"Which is a mammal?\", \"choices\": [\"trout\", \"bat\"], \"answer\": 1}\n",
                  "{\"id\": \"a/1\", \"subject\": \"zoology\", \"question\": \"Où?\", \"choices\": [\"x\", \"y\", "
                  "\"z\"], \"answer\": \"B\", \"group\": \"g\"}\n{\"question\": \"Who?\", \"choices\": [\"I\", "
                  "\"you\"], \"answer\": \"you\"}\n"});
}

TEST(FuzzQuestions, Csv) {
  fuzz_questions("csv",
                 {"question,choice0,choice1,choice2,choice3,answer\n\"Which, of these?\",a,\"b \"\"b\"\"\",c,d,2\n",
                  "Which is it?,one,two,three,four,C\n\"Two\nlines?\",1,2,3,4,A\n"});
}

}  // namespace
}  // namespace introspect
