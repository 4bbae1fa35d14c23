#include "procedure/questions.h"

#include "base/temporary_folder.h"
#include "goldens.h"

#include <cmath>
#include <iostream>
#include <map>
#include <set>

#include <gtest/gtest.h>

namespace introspect {
namespace {

std::vector<ChoiceQuestion> read(const fs::path& path) {
  DropReport dropped;
  return read_questions(path, {}, dropped);
}

std::string refusal(const fs::path& path) {
  return error_of([&] { read(path); });
}

FactTable capitals() {
  return {{{"country-capital",
            "",
            {"The capital of {subject} is", "{subject} has the capital"},
            {{"France", "Paris"}, {"Italy", "Rome"}, {"Norway", "Oslo"}, {"Egypt", "Cairo"}, {"Peru", "Lima"}}},
           {"two", "", {"{subject} is"}, {{"a", "x"}, {"b", "y"}}}}};
}

// `count` questions of each subject; `group_size` of them share a text.
std::vector<ChoiceQuestion> many(const std::map<std::string, int>& counts, int group_size = 1) {
  std::vector<ChoiceQuestion> questions;
  for (const auto& [subject, count] : counts) {
    for (int i = 0; i < count; ++i) {
      const std::string group = subject + std::to_string(i / group_size);
      questions.push_back({subject + "/" + std::to_string(i), subject, group, "q", {"a", "b"}, 0});
    }
  }
  return questions;
}

std::map<Split, double> shares(const std::vector<ChoiceQuestion>& questions, const std::vector<Split>& splits,
                               const std::string& subject = "") {
  std::map<Split, double> counts;
  for (size_t i = 0; i < questions.size(); ++i) {
    if (subject.empty() || questions[i].subject == subject) ++counts[splits[i]];
  }
  return counts;
}

TEST(Questions, PlainText) {
  EXPECT_EQ(plain_text("  The\tCAPITAL \n of\u00a0\u00c9ire "), "the capital of \u00e9ire");
  EXPECT_EQ(plain_text(" \n"), "");
}

TEST(Questions, OfFacts) {
  DropReport dropped;
  const auto questions = questions_of_facts(capitals(), {}, dropped);
  ASSERT_EQ(questions.size(), 5u);
  EXPECT_NE(dropped.text().find("2 x fact with fewer than 4 options (two/a"), std::string::npos) << dropped.text();
  EXPECT_EQ(questions[0].id, "country-capital/France");
  EXPECT_EQ(questions[0].subject, "country-capital");
  EXPECT_EQ(questions[0].group, "France");
  std::set<size_t> places;
  for (size_t i = 0; i < questions.size(); ++i) {
    const Fact fact = capitals().relations[0].facts[i];
    EXPECT_TRUE(questions[i].text == "The capital of " + fact.subject + " is" ||
                questions[i].text == fact.subject + " has the capital");
    EXPECT_EQ(questions[i].choices.size(), 4u);
    EXPECT_EQ(questions[i].choices[questions[i].answer], fact.object);
    places.insert(questions[i].answer);
  }
  EXPECT_GT(places.size(), 1u);  // the right one has no place of its own

  EXPECT_EQ(questions_of_facts(capitals(), {}, dropped), questions);
  EXPECT_NE(questions_of_facts(capitals(), {2, 4}, dropped), questions);
  FactTable alone = capitals();
  alone.relations.pop_back();
  EXPECT_EQ(questions_of_facts(alone, {}, dropped), questions);
  EXPECT_EQ(questions_of_facts(capitals(), {1, 2}, dropped).size(), 7u);
}

TEST(Questions, OfFactsWithSeveralObjects) {
  DropReport dropped;
  const FactTable table = {{{"speaks",
                             "",
                             {"{subject} speaks"},
                             {{"Belgium", "French"}, {"Belgium", "Dutch"}, {"Peru", "Spanish"}, {"Iran", "Persian"}}}}};
  const auto questions = questions_of_facts(table, {1, 3}, dropped);
  ASSERT_EQ(questions.size(), 4u);
  EXPECT_EQ(questions[0].id, "speaks/Belgium");
  EXPECT_EQ(questions[1].id, "speaks/Belgium/Dutch");
  for (const std::string& choice : questions[0].choices) EXPECT_NE(choice, "Dutch");  // it would be right as well
  EXPECT_TRUE(holds(error_of([&] { questions_of_facts(table, {1, 5}, dropped); }), "4 x fact with fewer than 5"));
  EXPECT_TRUE(holds(error_of([&] { questions_of_facts(table, {1, 1}, dropped); }), "expected 2 to 26"));
  EXPECT_TRUE(holds(error_of([&] { questions_of_facts(table, {1, 27}, dropped); }), "expected 2 to 26"));
}

TEST(Questions, CsvLayouts) {
  const TemporaryFolder folder;
  const ChoiceQuestion expected = {"anatomy_test/1",
                                   "anatomy",
                                   "what, say, is it?",
                                   "What, say,\nis it?",
                                   {"a leg", "an arm", "two feet", "None"},
                                   2};
  const std::string row = "\"What, say,\r\nis it?\", a leg,an arm,\"two\nfeet\",None,";
  const fs::path named =
      folder.write("anatomy_test.csv", "question,choice0,choice1,choice2,choice3,answer\r\n" + row + "2\r\n");
  EXPECT_EQ(read(named), std::vector<ChoiceQuestion>{expected});
  folder.write("anatomy_test.csv", "question,A,B,C,D,answer\n" + row + "C\n");
  EXPECT_EQ(read(named), std::vector<ChoiceQuestion>{expected});
  folder.write("anatomy_test.csv", row + "C\n\"second\",1,2,3,4,D\n");
  EXPECT_EQ(read(named)[0], expected);
  EXPECT_EQ(read(named)[1].id, "anatomy_test/2");
  EXPECT_EQ(read(named)[1].answer, 3u);

  const auto other = read(folder.write("all.csv", "subject,answer,question,choice0,choice1\nlaw,B,why,yes,no\n"));
  EXPECT_EQ(other, (std::vector<ChoiceQuestion>{{"all/1", "law", "why", "why", {"yes", "no"}, 1}}));
}

TEST(Questions, MmluFolders) {
  const TemporaryFolder folder;
  const std::string header = "question,choice0,choice1,choice2,choice3,answer\n";
  folder.write("mmlu/test/law_test.csv", header + "one,a,b,c,d,0\ntwo,a,b,a,d,0\nthree,a,b,c,d,3\n");
  folder.write("mmlu/dev/law_dev.csv", header + "four,a,b,c,d,1\n");
  folder.write("mmlu/val/law.csv", "five,a,b,c,d,C\n");
  folder.write("mmlu/notes.txt", "no questions");
  folder.write("mmlu/auxiliary_train/race.csv", "six,a,b,c,d,C\n");
  DropReport dropped;
  const auto questions = read_questions(folder / "mmlu", {}, dropped);
  std::vector<std::string> ids;
  for (const ChoiceQuestion& question : questions) {
    ids.push_back(question.id);
    EXPECT_EQ(question.subject, "law");
  }
  // the dropped second question keeps its number
  EXPECT_EQ(ids, (std::vector<std::string>{"law_test/1", "law_test/3", "law_dev/1", "law_val/1"}));
  EXPECT_TRUE(holds(dropped.text(), "1 x question with two equal choices (law_test/2)"));
  EXPECT_TRUE(holds(dropped.text(), "auxiliary_train"));
  EXPECT_EQ(read(folder / "mmlu/test").size(), 2u);

  folder.write("mmlu/val/law_test.csv", "six,a,b,c,d,C\n");
  EXPECT_TRUE(holds(refusal(folder / "mmlu"), "\"law_test/1\""));
}

TEST(Questions, FactFolder) {
  const auto questions = read(fs::path(INTROSPECT_SOURCE_DIR) / "facts");
  EXPECT_GT(questions.size(), 2000u);
}

TEST(Questions, CsvMistakes) {
  const TemporaryFolder folder;
  const auto csv = [&](const std::string& text) { return refusal(folder.write("q.csv", text)); };
  const std::string header = "question,choice0,choice1,choice2,choice3,answer\n";
  EXPECT_TRUE(holds(csv(""), "empty file"));
  EXPECT_TRUE(holds(csv("\n\n"), "empty file"));
  EXPECT_TRUE(holds(csv(header), "no row"));
  EXPECT_TRUE(holds(csv("text,choice0,choice1,answer\nq,a,b,0\n"), "no column \"question\""));
  EXPECT_TRUE(holds(csv("text,choice0,choice1,answer\nq,a,b,0\n"), "hint: "));
  EXPECT_TRUE(holds(csv("q,a,b,c,d,e,B\n"), "got 7 columns, expected 6: question, four choices, a letter"));
  EXPECT_TRUE(holds(csv("question,choice0,choice1\nq,a,b\n"), "no column \"answer\""));
  EXPECT_TRUE(holds(csv("question,choice1,choice2,answer\nq,a,b,0\n"), "no column \"choice0\""));
  EXPECT_TRUE(holds(csv("question,choice0,answer\nq,a,0\n"), "no column \"choice1\""));
  EXPECT_TRUE(holds(csv("question,A,C,answer\nq,a,b,A\n"), "no column \"B\""));
  EXPECT_TRUE(holds(csv("question,A,B,D,answer\nq,a,b,c,A\n"), "not known"));
  EXPECT_TRUE(holds(csv("question,A,B,answer,answer\nq,a,b,A,A\n"), "two columns"));
  EXPECT_TRUE(holds(csv(header + "q,a,b,c,d,0\nq,a,b,c,d,4\n"), "q.csv:3"));
  EXPECT_TRUE(holds(csv(header + "q,a,b,c,d,E\n"), "got \"E\", expected 0 to 3 or A to D"));
  EXPECT_TRUE(holds(csv(header + "q,a,b,c,d,-1\n"), "got \"-1\""));
  EXPECT_TRUE(holds(csv(header + "q,a,b,c,d,1.0\n"), "got \"1.0\""));
  EXPECT_TRUE(holds(csv(header + "q,a,b,c,d,\n"), "got \"\""));
  EXPECT_TRUE(holds(csv(header + " ,a,b,c,d,0\n"), "question: got nothing"));
  EXPECT_TRUE(holds(csv(header + "q,a,,c,d,0\n"), "choices: got nothing"));
  EXPECT_TRUE(holds(csv(header + "q,a,,,d,0\n"), "choices: got nothing"));
  EXPECT_TRUE(holds(csv(header + "q,a,b\xff,c,d,0\n"), "not UTF-8 (" + (folder / "q.csv").string() + ":2)"));
  EXPECT_TRUE(holds(csv(header + std::string("q,a,b\0,c,d,0\n", 13)), "NUL"));
  EXPECT_TRUE(holds(csv(header + "q,a,b\x07,c,d,0\n"), "code 7"));
  EXPECT_TRUE(holds(csv(header + "q,a,b,c,d,0,1\n"), "q.csv:2"));
  EXPECT_TRUE(holds(csv(header + "q,a,a,c,d,0\n"), "1 x question with two equal choices"));
  EXPECT_TRUE(holds(csv("q,a,b,c,d,E\n"), "q.csv:1"));
  EXPECT_TRUE(holds(refusal(folder / "missing.csv"), "missing.csv"));
  EXPECT_TRUE(holds(refusal(folder.write("q.txt", "")), ".txt"));
  fs::create_directories(folder / "empty/test");
  EXPECT_TRUE(holds(refusal(folder / "empty"), "no .csv file"));
}

TEST(Questions, Jsonl) {
  const TemporaryFolder folder;
  const auto questions = read(folder.write("trivia.jsonl", R"({"question": "Who?", "choices": ["I", "you"], "answer": 1}

{"question": "Who?", "choices": ["I", "you", "she"], "answer": "C", "subject": "people", "id": "x"}
{"question": "Which?", "choices": ["B", " C "], "answer": "C", "group": "g"}
)"));
  ASSERT_EQ(questions.size(), 3u);
  EXPECT_EQ(questions[0], (ChoiceQuestion{"trivia/1", "trivia", "who?", "Who?", {"I", "you"}, 1}));
  EXPECT_EQ(questions[1], (ChoiceQuestion{"x", "people", "who?", "Who?", {"I", "you", "she"}, 2}));
  EXPECT_EQ(questions[2], (ChoiceQuestion{"trivia/4", "trivia", "g", "Which?", {"B", "C"}, 1}));
}

TEST(Questions, JsonlMistakes) {
  const TemporaryFolder folder;
  const auto line = [&](const std::string& text) { return refusal(folder.write("q.jsonl", "\n" + text + "\n")); };
  EXPECT_TRUE(holds(line(""), "empty file"));
  for (const std::string bad : {R"([1])",
                                R"({"choices": ["a", "b"], "answer": 0})",
                                R"({"question": "q", "answer": 0})",
                                R"({"question": "q", "choices": ["a", "b"]})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": 2})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": -1})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": 1.0})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": null})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": "C"})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": "c"})",
                                R"({"question": "q", "choices": [], "answer": 0})",
                                R"({"question": "q", "choices": ["a"], "answer": 0})",
                                R"({"question": "q", "choices": ["a", 1], "answer": 0})",
                                R"({"question": "q", "choices": "ab", "answer": 0})",
                                R"({"question": "", "choices": ["a", "b"], "answer": 0})",
                                R"({"question": "q", "choices": ["a", " "], "answer": 0})",
                                R"({"question": "q", "choices": ["a", "a "], "answer": 0})",
                                R"({"question": "q", "choices": ["a", "b\u0000"], "answer": 0})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": 0, "subjct": "s"})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": 0, "subject": " "})",
                                R"({"question": "q", "choices": ["a", "b"], "answer": 0, "id": 7})",
                                R"({"question": "q",)"}) {
    EXPECT_TRUE(holds(line(bad), "q.jsonl:2")) << bad;
  }
  EXPECT_TRUE(holds(line("{\"question\": \"q\xff\", \"choices\": [\"a\", \"b\"], \"answer\": 0}"), "q.jsonl:2"));
  EXPECT_TRUE(holds(line(std::string("{\"question\": \"q\0\"}", 18)), "q.jsonl:2"));
  EXPECT_TRUE(holds(line(R"({"question": "q", "choices": ["B", "A"], "answer": "A"})"), "names choice 0"));
  const std::string twice = R"({"question": "q", "choices": ["a", "b"], "answer": 0, "id": "x"})";
  EXPECT_TRUE(holds(line(twice + "\n" + twice), "\"x\" for questions 1 and 2"));
  std::string choices;
  for (int i = 0; i < 26; ++i) choices += fmt::format("\"c{}\",", i);
  const std::string end = "\"z\"], \"answer\": \"Z\"}";
  EXPECT_TRUE(holds(line(R"({"question": "q", "choices": [)" + choices + end), "got 27"));
  choices.resize(choices.size() - 6);  // without "c25",
  EXPECT_EQ(read(folder.write("q.jsonl", R"({"question": "q", "choices": [)" + choices + end))[0].answer, 25u);
}

TEST(Questions, SavedAndReadBack) {
  const TemporaryFolder folder;
  DropReport dropped;
  std::vector<ChoiceQuestion> questions = questions_of_facts(capitals(), {1, 2}, dropped);
  questions.push_back({"m/1", "m", "two lines \u00e9", "Two\nlines \u00c9", {"\"B\"", "A", "\u2028"}, 1});
  save_questions(questions, folder / "q.jsonl");
  EXPECT_EQ(read(folder / "q.jsonl"), questions);

  const auto refused = [&](const ChoiceQuestion& question) {
    return error_of([&] { save_questions({question}, folder / "r.jsonl"); });
  };
  EXPECT_TRUE(holds(refused({"a", "s", "q", "q ", {"a", "b"}, 0}), "untrimmed"));
  EXPECT_TRUE(holds(refused({"a", "s", "", "q", {"a", "b"}, 0}), "no group"));
  EXPECT_TRUE(holds(refused({"a", "s", "q", "q", {"a", "b"}, 2}), "index 2, expected 0 to 1"));
  EXPECT_TRUE(holds(refused({"a", "s", "q", "q", {"a", "a"}, 0}), "twice"));
  EXPECT_FALSE(fs::exists(folder / "r.jsonl"));
}

TEST(QuestionSplits, SharesAsAWholeAndInEachSubject) {
  std::map<std::string, int> counts;
  for (int i = 0; i < 40; ++i) counts["s" + std::to_string(i)] = 1 + i * 3;
  for (const int group_size : {1, 3}) {
    const auto questions = many(counts, group_size);
    const QuestionSplit settings;
    const auto splits = split_questions(questions, settings, 5);
    ASSERT_EQ(splits.size(), questions.size());
    std::map<std::string, std::set<Split>> of_group;
    for (size_t i = 0; i < questions.size(); ++i) of_group[questions[i].group].insert(splits[i]);
    for (const auto& [group, used] : of_group) EXPECT_EQ(used.size(), 1u) << group;
    const auto near = [&](double count, const std::string& subject) {
      auto found = shares(questions, splits, subject);
      EXPECT_NEAR(found[Split::train], 0.7 * count, 1.5 * group_size) << subject;
      EXPECT_NEAR(found[Split::validation], 0.1 * count, 1.5 * group_size) << subject;
      EXPECT_NEAR(found[Split::test], 0.2 * count, 1.5 * group_size) << subject;
    };
    near(static_cast<double>(questions.size()), "");
    for (const auto& [subject, count] : counts) near(count, subject);

    EXPECT_EQ(split_questions(questions, settings, 5), splits);
    EXPECT_NE(split_questions(questions, settings, 6), splits);
    std::vector<ChoiceQuestion> reversed(questions.rbegin(), questions.rend());
    EXPECT_EQ(split_questions(reversed, settings, 5), std::vector<Split>(splits.rbegin(), splits.rend()));
  }
}

// Subjects of one question each must not all become train, nor may a group that goes through all subjects be torn.
TEST(QuestionSplits, SmallSubjectsAndGroupsAcrossThem) {
  std::map<std::string, int> counts;
  for (int i = 0; i < 100; ++i) counts["s" + std::to_string(i)] = 1;
  auto questions = many(counts);
  auto found = shares(questions, split_questions(questions, {}, 1));
  EXPECT_NEAR(found[Split::train], 70, 1.5);
  EXPECT_NEAR(found[Split::validation], 10, 1.5);

  for (size_t i = 0; i < 30; ++i) questions[i].group = "shared";
  const auto splits = split_questions(questions, {}, 1);
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(splits[i], splits[0]);
  found = shares(questions, splits);
  EXPECT_NEAR(found[Split::train], 70, 1.5);
  EXPECT_NEAR(found[Split::test], 20, 1.5);
}

TEST(QuestionSplits, WholeSubjects) {
  std::map<std::string, int> counts;
  for (int i = 0; i < 57; ++i) counts["s" + std::to_string(i)] = i == 0 ? 1500 : 100 + 10 * (i % 30);
  const auto questions = many(counts);
  const auto count = static_cast<double>(questions.size());
  std::set<Split> of_the_largest;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const auto splits = split_questions(questions, {"subject", 0.7, 0.1}, seed);
    std::map<std::string, std::set<Split>> used;
    for (size_t i = 0; i < questions.size(); ++i) used[questions[i].subject].insert(splits[i]);
    for (const auto& [subject, split] : used) EXPECT_EQ(split.size(), 1u) << subject;
    auto found = shares(questions, splits);
    EXPECT_NEAR(found[Split::train] / count, 0.7, 0.02) << seed;
    EXPECT_NEAR(found[Split::validation] / count, 0.1, 0.02) << seed;
    of_the_largest.insert(*used["s0"].begin());
  }
  EXPECT_GT(of_the_largest.size(), 1u);
  const auto two = split_questions(many({{"a", 10}, {"b", 10}}), {"subject", 0.7, 0.1}, 1);
  EXPECT_NE(two.front(), two.back());  // both train and test get something
}

TEST(QuestionSplits, Settings) {
  const auto questions = many({{"a", 20}});
  const auto refused = [&](const QuestionSplit& settings) {
    return error_of([&] { split_questions(questions, settings, 1); });
  };
  EXPECT_TRUE(holds(refused({"group", 0.7, 0.1}), "got \"group\""));
  EXPECT_TRUE(holds(refused({"question", 0, 0.1}), "split shares"));
  EXPECT_TRUE(holds(refused({"question", 0.9, 0.1}), "split shares"));
  EXPECT_TRUE(holds(refused({"question", 0.9, -0.1}), "split shares"));
  EXPECT_TRUE(holds(refused({"question", NAN, 0.1}), "split shares"));
  auto found = shares(questions, split_questions(questions, {"question", 0.5, 0}, 1));
  EXPECT_EQ(found[Split::train], 10);
  EXPECT_EQ(found[Split::validation], 0);
  EXPECT_TRUE(split_questions({}, {}, 1).empty());
}

TEST(Questions, AllOfMmlu) {
  const fs::path folder = test::golden_folder("../data/mmlu");
  if (!fs::exists(folder)) GTEST_SKIP() << "no MMLU at " << folder.string();
  DropReport dropped;
  const auto questions = read_questions(folder, {}, dropped);
  std::cout << "left out: " << dropped.text() << "\n";
  std::map<std::string, double> subjects;
  for (const ChoiceQuestion& question : questions) ++subjects[question.subject];
  EXPECT_EQ(subjects.size(), 57u);
  EXPECT_TRUE(
      holds(dropped.text(), fmt::format("{} x question with two equal choices", 14042 + 285 - questions.size())));
  EXPECT_GT(questions.size(), 14300u);

  const auto splits = split_questions(questions, {}, 1);
  std::map<std::string, std::set<Split>> used;
  for (size_t i = 0; i < questions.size(); ++i) used[questions[i].group].insert(splits[i]);
  for (const auto& [group, split] : used) EXPECT_EQ(split.size(), 1u) << group;
  for (const auto& [subject, count] : subjects) {
    auto found = shares(questions, splits, subject);
    EXPECT_NEAR(found[Split::train], 0.7 * count, 5) << subject;
    EXPECT_NEAR(found[Split::validation], 0.1 * count, 5) << subject;
  }
  const TemporaryFolder saved;
  save_questions(questions, saved / "mmlu.jsonl");
  EXPECT_EQ(read(saved / "mmlu.jsonl"), questions);
}

}  // namespace
}  // namespace introspect
