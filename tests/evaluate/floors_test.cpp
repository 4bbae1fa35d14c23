#include "evaluate/floors.h"

#include "base/temporary_folder.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

Example item(const std::string& id, Split split, const std::string& relation, const std::string& block,
             const std::string& before, const std::string& after) {
  Example example;
  example.id = id;
  example.split = split;
  example.before = before;
  example.after = after;
  example.answer = answer_words(before != after, after);
  example.attributes = {{"relation", relation}, {"block", block}, {"token_type", "subject final"}};
  return example;
}

// Capital: mostly changed (to Rome twice, Bonn once). Language: mostly unchanged. Continent: half, so "unchanged".
Dataset small() {
  Dataset dataset;
  dataset.task = "patching";
  const Split train = Split::train;
  dataset.examples = {item("1", train, "capital", "0", "Oslo", "Rome"),
                      item("2", train, "capital", "0", "Bern", "Rome"),
                      item("3", train, "capital", "0", "Bern", "Bonn"),
                      item("4", train, "capital", "1", "Bern", "Bern"),
                      item("5", train, "language", "1", "Thai", "Thai"),
                      item("6", train, "language", "1", "Thai", "Thai"),
                      item("7", train, "language", "1", "Thai", "Lao"),
                      item("8", train, "continent", "1", "Asia", "Africa"),
                      item("9", train, "continent", "1", "Asia", "Asia"),
                      item("a", Split::test, "capital", "0", "Wien", "Paris"),
                      item("b", Split::test, "language", "1", "Malay", "Dutch"),
                      item("c", Split::test, "continent", "1", "Asia", "Europe"),
                      item("d", Split::test, "animal", "3", "bear", "bear"),
                      item("v", Split::validation, "language", "1", "Czech", "Czech")};
  return dataset;
}

std::string text(const std::vector<Answer>& answers, const std::string& id) {
  for (const Answer& answer : answers) {
    if (answer.id == id) return answer.text;
  }
  return "none";
}

TEST(Floors, MajorityByRelation) {
  const auto answers = majority_relation_floor(small());
  ASSERT_EQ(answers.size(), 4u);
  EXPECT_EQ(text(answers, "a"), answer_words(true, "Rome"));
  EXPECT_EQ(text(answers, "b"), answer_words(false, "Malay"));
  EXPECT_EQ(text(answers, "c"), answer_words(false, "Asia"));  // a tie
  // train does not know animals: of all train items five changed and four did not
  EXPECT_EQ(text(answers, "d"), answer_words(true, "Rome"));
}

TEST(Floors, MajorityByCell) {
  const auto answers = majority_cell_floor(small());
  EXPECT_EQ(text(answers, "a"), answer_words(true, "Rome"));
  EXPECT_EQ(text(answers, "b"), answer_words(false, "Malay"));
  EXPECT_EQ(text(answers, "c"), answer_words(false, "Asia"));
}

TEST(Floors, TheConstantOnes) {
  EXPECT_EQ(text(always_unchanged_floor(small()), "a"), answer_words(false, "Wien"));
  EXPECT_EQ(text(always_changed_floor(small()), "b"), answer_words(true, "Lao"));
  EXPECT_EQ(text(always_changed_floor(small()), "d"), answer_words(true, "Rome"));
  for (const Answer& answer : most_frequent_floor(small())) {
    // Rome and Thai stand in train twice each; the alphabet decides
    EXPECT_EQ(answer.text, answer_words(true, "Rome"));
  }
  EXPECT_EQ(always_unchanged_floor(small(), Split::validation).size(), 1u);
}

// Whatever the truth of the test and validation splits, the floors say the same.
TEST(Floors, NothingLeaksFromTheTestSplit) {
  const Dataset dataset = small();
  Dataset other = dataset;
  for (Example& example : other.examples) {
    if (example.split == Split::train) continue;
    example.after = example.changed() ? example.before : "Zanzibar";
    example.answer = answer_words(example.changed(), example.after);
  }
  // five more test items would turn every majority if they were looked at
  for (int i = 0; i < 5; ++i) {
    other.examples.push_back(item("x" + std::to_string(i), Split::test, "language", "1", "Thai", "Khmer"));
  }
  using Floor = std::vector<Answer> (*)(const Dataset&, Split);
  for (const Floor floor :
       {Floor(majority_cell_floor), Floor(majority_relation_floor),
        Floor([](const Dataset&data, Split split) { return always_changed_floor(data, "relation", split); }),
        Floor(always_unchanged_floor), Floor(most_frequent_floor)}) {
    const auto before = floor(dataset, Split::test), after = floor(other, Split::test);
    for (const Answer& answer : before) EXPECT_EQ(answer.text, text(after, answer.id));
  }
  // but what train holds does count
  Dataset taught = dataset;
  for (int i = 0; i < 5; ++i) {
    taught.examples.push_back(item("y" + std::to_string(i), Split::train, "language", "1", "Thai", "Khmer"));
  }
  EXPECT_EQ(text(majority_relation_floor(taught), "b"), answer_words(true, "Khmer"));
}

TEST(Floors, EmptyTrainAndMissingAttributes) {
  Dataset dataset = small();
  std::erase_if(dataset.examples, [](const Example& example) { return example.split == Split::train; });
  EXPECT_EQ(text(majority_relation_floor(dataset), "a"), answer_words(false, "Wien"));
  EXPECT_EQ(text(always_changed_floor(dataset), "a"), answer_words(false, "Wien"));
  EXPECT_EQ(text(most_frequent_floor(dataset), "a"), "");
  EXPECT_TRUE(holds(error_of([&] { majority_floor(dataset, {"colour"}); }), "example 'a' has no attribute 'colour'"));
}

}  // namespace
}  // namespace introspect
