// Multiple-choice questions: MMLU's CSV folders, JSONL, and questions made from a fact table.
#pragma once

#include "dataset/example.h"
#include "procedure/pairs.h"
#include "procedure/records.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

constexpr size_t most_choices = 26;  // as many as there are letters

struct ChoiceQuestion {
  std::string id;                    // unique: "anatomy_test/17", "country-capital/France"
  std::string subject;               // MMLU's ("anatomy"); of a fact's question its relation
  std::string group;                 // what must not stand in two splits: plain_text(text); of a fact its subject
  std::string text;                  // "The capital of France is"
  std::vector<std::string> choices;  // 2 to 26, all different, each one line, in the order in which they are shown
  size_t answer = 0;                 // index of the right one

  bool operator==(const ChoiceQuestion&) const = default;
};

// Lower case, every run of white space one blank, none at the ends.
std::string plain_text(std::string_view text);

// Trims all text, makes every line break inside a choice or a name a blank and "\r\n" in the text "\n", puts an empty
// group to plain_text(text). Throws Error naming `where` ("file.jsonl:17") for empty fields, fewer than 2 or more than
// 26 choices, two equal ones, an answer that is none of them, control characters, and text that is not UTF-8.
ChoiceQuestion checked_question(ChoiceQuestion question, std::string_view where);

// Whether two are the same once checked_question has trimmed them.
bool has_equal_choices(const std::vector<std::string>& choices);

struct FactQuestionSettings {
  uint64_t seed = 1;
  int64_t choices = 4;  // of each question, 2 to 26
};

// One question a fact: a template drawn from the relation's, the options by choose_options(). Its id is
// "relation/subject", and "relation/subject/object" from the subject's second fact on. No question depends on other
// relations. Facts with fewer than `choices` options are left out and counted. Throws Error if none remains.
std::vector<ChoiceQuestion> questions_of_facts(const FactTable& table, const FactQuestionSettings& settings,
                                               DropReport& dropped);

// Chosen by looking at the path:
//   a folder with .toml files   a fact table (records.h), asked about by questions_of_facts
//   another folder              MMLU: its *.csv and those of its folders test/, dev/ and val/
//   *.csv                       a header with the columns question, choice0, choice1, ... (or A, B, ...), answer, and
//                               subject if there is one; or MMLU's own layout without header: question, four choices,
//                               letter
//   *.jsonl                     a line each: {"question", "choices": [...], "answer"}, and if there are "subject",
//                               "id", "group"; no other keys
// An answer is an index counted from 0 or a capital letter; in JSONL also the choice's text. The subject is the file's
// name without _test, _dev, _val unless a column or key says it; the id "<file>/<row>", rows counted from 1 without
// the header (of JSONL: lines), and test/anatomy.csv counts as anatomy_test.csv. A CSV question with two equal choices
// is left out and counted (MMLU has some); in JSONL it is an Error.
// Throws Error naming file and line for whatever does not fit, and for a folder or file without questions.
std::vector<ChoiceQuestion> read_questions(const fs::path& path, const FactQuestionSettings& settings,
                                           DropReport& dropped);

// JSONL, a line each: {"id", "subject", "question", "choices", "answer"}, and "group" where it is not the question's
// text in plain form. Reading it gives the same questions; throws Error for one that reading would change or refuse.
void save_questions(const std::vector<ChoiceQuestion>& questions, const fs::path& jsonl);

struct QuestionSplit {
  std::string by = "question";                       // or "subject": whole subjects
  double train_share = 0.7, validation_share = 0.1;  // of the questions; the rest is test
};

// A split for each question, in their order; all questions of one group share it (by subject: all of one subject,
// and an equal question of another subject may stand elsewhere). The order of the questions does not matter. The
// shares are kept as near as groups allow, by question also within each subject; with very few groups a small share
// may get none.
std::vector<Split> split_questions(const std::vector<ChoiceQuestion>& questions, const QuestionSplit& settings,
                                   uint64_t seed);

}  // namespace introspect
