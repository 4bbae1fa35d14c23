#include "evaluate/text_classifier.h"

#include "base/random.h"
#include "base/temporary_folder.h"

#include <chrono>
#include <iostream>

#include <gtest/gtest.h>

namespace introspect {
namespace {

Example item(const std::string& id, Split split, const std::string& input, const std::string& hint,
             const std::string& before, const std::string& after) {
  Example example;
  example.id = id;
  example.split = split;
  example.input = input;
  example.before = before;
  example.after = after;
  example.answer = answer_words(before != after, after);
  example.attributes = {{"hint", hint}, {"choices", "Paris\nRome\nOslo\nBern"}};
  return example;
}

std::string noise(Random& random, size_t words) {
  std::string text;
  for (size_t i = 0; i < words; ++i) text += (i ? " w" : "w") + std::to_string(random.below(3000));
  return text;
}

// `changes` tells from the input's key word and the hint whether an item changes.
template <class Changes>
Dataset made(size_t count, size_t words, const Changes& changes) {
  Dataset dataset;
  Random random(3, "text classifier test");
  for (size_t i = 0; i < count; ++i) {
    const bool capital = random.below(2), strong = random.below(2);
    const std::string input = noise(random, words / 2) + (capital ? " capital " : " river ") + noise(random, words / 2);
    const Split split = i % 4 == 3 ? Split::test : Split::train;
    dataset.examples.push_back(item(std::to_string(i), split, input, strong ? "surely it is" : "maybe it is", "Paris",
                                    changes(capital, strong, random) ? (i % 3 ? "Rome" : "Oslo") : "Paris"));
  }
  return dataset;
}

// The share of right flags of test items, the mean over both classes.
double balanced_accuracy(const Dataset& dataset, const std::vector<std::string>& attributes) {
  const auto answers = text_classifier_floor(dataset, attributes);
  const auto test = dataset.of(Split::test);
  double right[2] = {0, 0}, count[2] = {0, 0};
  for (size_t i = 0; i < test.size(); ++i) {
    ++count[test[i]->changed()];
    right[test[i]->changed()] += parse_answer(answers[i].text)->changed == test[i]->changed();
  }
  return (right[0] / count[0] + right[1] / count[1]) / 2;
}

TEST(TextClassifier, FindsTheWordThatTells) {
  const Dataset by_word = made(1200, 40, [](bool capital, bool, Random&) { return capital; });
  EXPECT_GT(balanced_accuracy(by_word, {"hint"}), 0.97);
  EXPECT_GT(balanced_accuracy(by_word, {}), 0.97);
  const Dataset by_hint = made(1200, 40, [](bool, bool strong, Random&) { return strong; });
  EXPECT_GT(balanced_accuracy(by_hint, {"hint"}), 0.97);
  EXPECT_LT(balanced_accuracy(by_hint, {}), 0.6);  // the hint does not stand in the input
  const Dataset by_both = made(1200, 40, [](bool capital, bool strong, Random&) { return capital && strong; });
  EXPECT_GT(balanced_accuracy(by_both, {"hint"}), 0.9);
  const Dataset by_chance = made(1200, 40, [](bool, bool, Random& random) { return random.below(2) == 0; });
  EXPECT_NEAR(balanced_accuracy(by_chance, {"hint"}), 0.5, 0.1);
}

// One item in twenty changes; unweighted, "unchanged" everywhere would be nearly right.
TEST(TextClassifier, RareClassesCountAlike) {
  const Dataset rare = made(
      4000, 20, [](bool capital, bool strong, Random& random) { return capital && strong && random.below(5) == 0; });
  EXPECT_GT(balanced_accuracy(rare, {"hint"}), 0.75);
}

TEST(TextClassifier, ContentIsTheOtherChoiceThatTrainChangesToMost) {
  Dataset dataset;
  const Split train = Split::train, test = Split::test;
  for (int i = 0; i < 20; ++i) {
    const std::string id = std::to_string(i);
    dataset.examples.push_back(item("c" + id, train, "capital", "x", "Paris", i < 12 ? "Rome" : "Oslo"));
    dataset.examples.push_back(item("u" + id, train, "river", "x", "Bern", "Bern"));
  }
  dataset.examples.push_back(item("a", test, "capital", "x", "Paris", "Paris"));
  dataset.examples.push_back(item("b", test, "capital", "x", "Rome", "Rome"));
  dataset.examples.push_back(item("c", test, "river", "x", "Oslo", "Rome"));
  dataset.examples.push_back(item("d", test, "capital", "x", "Wien", "Wien"));
  dataset.examples.back().attributes["choices"] = "Wien\n Ulm \nBonn";  // train knows neither: the alphabet
  dataset.examples.push_back(item("e", test, "capital", "x", "Wien", "Bonn"));
  dataset.examples.back().attributes["choices"] = "Wien";
  dataset.examples.push_back(item("v", Split::validation, "river", "x", "Oslo", "Rome"));
  const auto answers = text_classifier_floor(dataset, {"hint"});
  ASSERT_EQ(answers.size(), 5u);
  EXPECT_EQ(answers[0].id, "a");
  EXPECT_EQ(answers[0].text, answer_words(true, "Rome"));
  EXPECT_EQ(answers[1].text, answer_words(true, "Oslo"));
  EXPECT_EQ(answers[2].text, answer_words(false, "Oslo"));
  EXPECT_EQ(answers[3].text, answer_words(true, "Bonn"));
  EXPECT_EQ(answers[4].text, answer_words(false, "Wien"));
  EXPECT_EQ(text_classifier_floor(dataset, {}, Split::validation).size(), 1u);
}

TEST(TextClassifier, NothingLeaksFromTheTestSplit) {
  const Dataset dataset = made(400, 10, [](bool capital, bool, Random&) { return capital; });
  Dataset other = dataset;
  for (Example& example : other.examples) {
    if (example.split == Split::train) continue;
    example.after = example.changed() ? example.before : "Bern";
    example.answer = answer_words(example.changed(), example.after);
  }
  const auto before = text_classifier_floor(dataset, {"hint"}), after = text_classifier_floor(other, {"hint"});
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i].text, after[i].text);
}

TEST(TextClassifier, OneClassNoTrainAndMissingAttributes) {
  Dataset dataset;
  dataset.examples = {item("a", Split::test, "", "x", "Paris", "Rome")};
  EXPECT_EQ(text_classifier_floor(dataset, {"hint"})[0].text, answer_words(false, "Paris"));
  dataset.examples.push_back(item("b", Split::train, "", "x", "Paris", "Oslo"));
  EXPECT_EQ(text_classifier_floor(dataset, {"hint"})[0].text, answer_words(true, "Oslo"));
  dataset.examples[1].after = "Paris";
  EXPECT_EQ(text_classifier_floor(dataset, {"hint"})[0].text, answer_words(false, "Paris"));
  EXPECT_TRUE(holds(error_of([&] { text_classifier_floor(dataset, {"colour"}); }), "has no attribute 'colour'"));
  dataset.examples[0].attributes.erase("choices");
  EXPECT_TRUE(holds(error_of([&] { text_classifier_floor(dataset, {}); }), "'a' has no attribute 'choices'"));
}

// Speed is shown, not asserted.
TEST(TextClassifier, ManyExamples) {
  const Dataset dataset = made(10000, 60, [](bool capital, bool strong, Random&) { return capital != strong; });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(text_classifier_floor(dataset, {"hint"}).size(), 2500u);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << "10,000 examples: " << seconds.count() << " s\n";
}

}  // namespace
}  // namespace introspect
