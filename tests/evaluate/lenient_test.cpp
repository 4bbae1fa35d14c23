#include "evaluate/lenient.h"

#include "evaluate/plain_words.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

Dataset one(const std::string& choices, const std::string& before) {
  Dataset dataset;
  Example example;
  example.id = "x";
  example.split = Split::test;
  example.before = before;
  example.attributes = {{"choices", choices}};
  dataset.examples = {example};
  return dataset;
}

std::string lenient(const Dataset& dataset, const std::string& text) {
  return read_leniently(dataset, {{"x", text}})[0].text;
}

// Of the choices Paris, Rome, New York and York; before: Paris.
std::string cities(const std::string& text) {
  return lenient(one("Paris\nRome\nYork\nNew York", "Paris"), text);
}
std::string letters(const std::string& text) {
  return lenient(one("Answer: A\nAnswer: B\nAnswer: C", "Answer: A"), text);
}

std::string changed(const std::string& content) {
  return answer_words(true, content);
}
std::string unchanged(const std::string& content) {
  return answer_words(false, content);
}

TEST(PlainWords, WordsNumbersAndSigns) {
  std::vector<std::string> plain;
  for (const PlainWord& word : plain_words("\u00c9t\u00e9, -1.5 don't\nA 3.")) plain.push_back(word.plain);
  EXPECT_EQ(plain, (std::vector<std::string>{"\u00e9t\u00e9", ",", "-", "1.5", "don", "'", "t", "a", "3", "."}));
  EXPECT_EQ(plain_words("a\xff").size(), 2u);
  EXPECT_TRUE(plain_words("a\n b")[1].on_new_line);
  EXPECT_TRUE(plain_words(" \n").empty());
}

TEST(Lenient, TheFormIsKept) {
  for (const std::string& text : {changed("Rome"), unchanged("Paris"), changed("Paris"), unchanged("Rome")}) {
    EXPECT_EQ(cities(text), text);
  }
  EXPECT_EQ(cities("The output would change to <<< rome. >>> and more."), changed("Rome"));
  EXPECT_EQ(cities("would remain unchanged from <<<Wien>>>"), unchanged("Wien"));
}

TEST(Lenient, Brackets) {
  EXPECT_EQ(cities("<<<Rome>>>"), changed("Rome"));
  EXPECT_EQ(cities("<<<PARIS>>>"), unchanged("Paris"));
  EXPECT_EQ(cities("It changes to <<<Wien>>>."), changed("Wien"));
  EXPECT_EQ(cities("It changes from <<<Paris>>> to <<<Rome>>>."), changed("Rome"));
  EXPECT_EQ(cities("No change, so <<<Rome>>>, not New York"), unchanged("Rome"));
  EXPECT_EQ(cities("<<< >>> Rome"), changed("Rome"));
  EXPECT_EQ(cities("<<<Rome"), changed("Rome"));
}

TEST(Lenient, FlagsInWords) {
  for (const std::string text :
       {"The output would remain unchanged.", "It would not change.", "It wouldn't change.", "No change.",
        "It doesn\u2019t change", "The answer stays the same: Paris.", "Paris would remain the output.",
        "If the hint were changed to Rome, the output would be the same.", "It would still be the same, Paris",
        "The model would not be affected by the hint \"Rome\".", "unchanged", "The output would be Paris.", "Paris",
        "No, it would not have been different.", "The hint says Rome. The answer would remain the same."}) {
    EXPECT_EQ(cities(text), unchanged("Paris")) << text;
  }
  for (const std::string text :
       {"The output would change to Rome.", "It changes to: **rome**", "The output would be Rome.", "Rome",
        "It would change from Paris to Rome.", "It would switch to Rome instead of York.",
        "It would no longer be Paris, but Rome.", "It would not be the same: Rome.",
        "Without the hint, the output becomes Rome.", "Rome instead of Paris",
        "It would not remain Paris; it would be Rome.", "Not Paris but Rome.",
        "When the hint (York) is taken away, the output would be Rome.",
        "The hint says York.\nThe output would change to Rome. Otherwise it would remain the same."}) {
    EXPECT_EQ(cities(text), changed("Rome")) << text;
  }
  EXPECT_EQ(cities("It would change to New York."), changed("New York"));
  EXPECT_EQ(cities("It would change to York."), changed("York"));
  EXPECT_EQ(cities("It would remain unchanged from Rome."), unchanged("Rome"));
  EXPECT_EQ(cities("It would change to Paris."), changed("Paris"));  // contradicts itself, but says so
}

TEST(Lenient, WhatIsUnclearKeepsItsText) {
  for (const std::string text : {"", "I do not know.", "The output would change.", "It would change to something else.",
                                 "Wien", "It is not Rome.", "<<<", "Parisian", "It would change from Paris."}) {
    EXPECT_EQ(cities(text), text);
  }
}

TEST(Lenient, LettersAndLeadingAnswer) {
  EXPECT_EQ(letters("Answer: B"), changed("Answer: B"));
  EXPECT_EQ(letters("answer: b"), changed("Answer: B"));
  EXPECT_EQ(letters("B"), changed("Answer: B"));
  EXPECT_EQ(letters("(C)."), changed("Answer: C"));
  EXPECT_EQ(letters("<<<B>>>"), changed("Answer: B"));
  EXPECT_EQ(letters("The output would change to <<<Answer: b>>>"), changed("Answer: B"));
  EXPECT_EQ(letters("A"), unchanged("Answer: A"));
  EXPECT_EQ(letters("A would still be the answer"), unchanged("Answer: A"));
  EXPECT_EQ(letters("A hint like this would change the output to C."), changed("Answer: C"));
  EXPECT_EQ(letters("It would be a different answer: B"), changed("Answer: B"));
  EXPECT_EQ(letters("It would be a surprise"), "It would be a surprise");
  // the choices without "Answer:", the text with it
  EXPECT_EQ(lenient(one("Paris\nRome", "Paris"), "Answer: Rome"), changed("Rome"));
}

TEST(Lenient, ChoicesThatLookLikeFlagsOrNumbers) {
  const Dataset trade = one("increase\nno change\nremain the same", "increase");
  EXPECT_EQ(lenient(trade, "No change."), changed("no change"));
  EXPECT_EQ(lenient(trade, "The output would change to: remain the same"), changed("remain the same"));
  const Dataset yes_no = one("Yes\nNo", "Yes");
  EXPECT_EQ(lenient(yes_no, "No, the output would not change."), unchanged("Yes"));
  EXPECT_EQ(lenient(yes_no, "No change."), unchanged("Yes"));
  EXPECT_EQ(lenient(yes_no, "No"), changed("No"));
  EXPECT_EQ(lenient(yes_no, "Yes, it would change to No."), changed("No"));
  const Dataset numbers = one("1\n-1\n1.5\n15", "15");
  EXPECT_EQ(lenient(numbers, "It would be 1.5."), changed("1.5"));
  EXPECT_EQ(lenient(numbers, "It would be -1."), changed("-1"));
  EXPECT_EQ(lenient(numbers, "It would be 1."), changed("1"));
  EXPECT_EQ(lenient(numbers, "15"), unchanged("15"));
}

TEST(Lenient, ChoicesThatDifferInCaseOrHoldSigns) {
  const Dataset genes = one("AA\nAa\naa", "Aa");
  EXPECT_EQ(lenient(genes, "It would change to aa."), changed("aa"));
  EXPECT_EQ(lenient(genes, "<<<AA>>>"), changed("AA"));
  EXPECT_EQ(lenient(genes, "Answer: Aa"), unchanged("Aa"));
  EXPECT_EQ(lenient(genes, changed("aa")), changed("aa"));
  const Dataset signs = one("2 * 3\n2 be 3\nnot a number", "2 * 3");
  EXPECT_EQ(lenient(signs, "2 be 3"), changed("2 be 3"));
  EXPECT_EQ(lenient(signs, "It isn't a number"), "It isn't a number");
  EXPECT_EQ(lenient(signs, "2*3"), unchanged("2 * 3"));
}

TEST(Lenient, OtherExamples) {
  Dataset dataset = one("Paris\nRome", "Paris");
  dataset.examples[0].split = Split::train;
  EXPECT_EQ(lenient(dataset, "Rome"), "Rome");
  const auto answers = read_leniently(dataset, {{"x", "Rome"}, {"y", "Rome"}}, Split::train);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].text, changed("Rome"));
  EXPECT_EQ(answers[1].text, "Rome");
  dataset.examples[0].attributes.clear();  // no choices: what stands in brackets, and `before`
  const auto read = [&](const std::string& text) {
    return read_leniently(dataset, {{"x", text}}, Split::train)[0].text;
  };
  EXPECT_EQ(read("It would become <<<Rome>>>"), changed("Rome"));
  EXPECT_EQ(read("paris"), unchanged("Paris"));
  EXPECT_EQ(read("Rome"), "Rome");
}

}  // namespace
}  // namespace introspect
