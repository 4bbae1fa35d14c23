// The inverse: what a model is taught to do for an explanation, and how what it then does is counted.
#include "experiment/inverse.h"

#include "base/temporary_folder.h"
#include "experiment/inverse_report.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

Example example(int64_t number, Split split, const std::string& wording, const std::string& hint,
                const std::string& with, const std::string& without) {
  Example made;
  made.id = "ablation-" + std::to_string(number);
  made.split = split;
  made.cluster = "cluster " + std::to_string(number);
  made.input = "Question " + std::to_string(number);
  made.before = "Answer: " + with;
  made.after = "Answer: " + without;
  made.answer = "words";
  made.attributes = {
      {"wording", wording}, {"hint", hint}, {"hint_right", hint == "right" ? "yes" : "no"}, {"right", "right"}};
  return made;
}

Dataset prompts() {
  Dataset dataset;
  dataset.task = "ablation";
  dataset.info = {{"settings", {{"seed", 1}}}};
  dataset.examples = {example(0, Split::train, "teacher", "wrong", "wrong", "right"),
                      example(1, Split::train, "rumor", "wrong", "right", "right"),
                      example(2, Split::validation, "teacher", "right", "right", "right"),
                      example(3, Split::test, "teacher", "wrong", "wrong", "right"),
                      example(4, Split::test, "rumor", "wrong", "right", "right"),
                      example(5, Split::test, "rumor", "right", "right", "right")};
  return dataset;
}

std::vector<std::string> answers(const Dataset& dataset, Explanation explanation, std::vector<std::string> wordings) {
  std::vector<std::string> said;
  for (const Example& each : behaviour_dataset(dataset, {"name", explanation, std::move(wordings), {}}).examples) {
    EXPECT_NE(each.split, Split::test) << "what is tested must not be taught";
    said.push_back(each.input + ":" + each.answer);
  }
  return said;
}

TEST(Inverse, TheLessonIsTheTargetsPromptAnsweredAsTheExplanationSays) {
  using Strings = std::vector<std::string>;
  const Dataset dataset = prompts();
  EXPECT_EQ(answers(dataset, Explanation::unchanged, {}),
            (Strings{"Question 0: right", "Question 1: right", "Question 2: right"}));
  EXPECT_EQ(answers(dataset, Explanation::changed, {}),
            (Strings{"Question 0: wrong", "Question 1: wrong", "Question 2: right"}));
  EXPECT_EQ(answers(dataset, Explanation::as_it_is, {}),
            (Strings{"Question 0: wrong", "Question 1: right", "Question 2: right"}));
  EXPECT_EQ(answers(dataset, Explanation::unchanged, {"rumor"}), (Strings{"Question 1: right"}));
}

TEST(Inverse, AnAnswerThatIsNotInTheDataSetsFormIsRefused) {
  Dataset dataset = prompts();
  dataset.examples[0].after = "right";
  EXPECT_NE(error_of([&] {
              behaviour_dataset(dataset, {"name", Explanation::unchanged, {}, {}});
            }).find("ablation-0"),
            std::string::npos);
}

TEST(Inverse, BehaviourIsCountedOnTestPromptsByWhatWasLearnt) {
  InverseRecipe recipe = read_inverse_recipe(fs::path(INTROSPECT_SOURCE_DIR) / "recipes/questions/inverse.toml");
  Examined before{"target", {}, prompts(), {}, {10, 9, 8}};
  Examined after{"ignores hints", {"teacher"}, prompts(), {}, {10, 5, 4}};
  after.dataset.examples[3].before = "Answer: right";  // the one wrong hint that was followed no longer is
  const std::vector<ReportInput> parts = inverse_parts(recipe, {before, after}, "introspect run");
  ASSERT_EQ(parts.size(), 3u);
  const NamedTable& behaviour = parts[0].tables[0];
  ASSERT_EQ(behaviour.lines.size(), 3u);  // the target; the wordings learnt; the others
  EXPECT_TRUE(behaviour.lines[0][2].starts_with("50.0")) << behaviour.lines[0][2];
  EXPECT_EQ(behaviour.lines[0][5], "2") << "wrong hints of the test split";
  EXPECT_TRUE(behaviour.lines[1][2].starts_with("0.0")) << behaviour.lines[1][2];
  EXPECT_TRUE(behaviour.lines[1][3].starts_with("−100.0")) << behaviour.lines[1][3];
  EXPECT_EQ(behaviour.lines[1][5], "1");
  EXPECT_TRUE(behaviour.lines[2][3].starts_with("0.0")) << behaviour.lines[2][3];
  EXPECT_TRUE(parts[0].tables[1].lines[1][1].starts_with("50.0")) << "statements still known";
}

TEST(Inverse, RecipesThatAreWrong) {
  const TemporaryFolder folder;
  const fs::path recipes = fs::path(INTROSPECT_SOURCE_DIR) / "recipes";
  const std::string text = read_text(recipes / "questions/inverse.toml");
  const auto error = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    const std::string up = "\"../";
    for (size_t at = 0; (at = changed.find(up, at)) != std::string::npos;) {
      changed.replace(at + 1, 3, (recipes / "questions/../").string());
    }
    const fs::path file = folder.write("inverse.toml", changed);
    return error_of([&] { read_inverse_recipe(file); });
  };
  const auto says = [](const std::string& message, const std::string& part) {
    return ::testing::AssertionResult(message.find(part) != std::string::npos) << message;
  };
  EXPECT_TRUE(says(error("explanation = \"unchanged\"", "explanation = \"never\""), "got 'never', expected unchanged"));
  EXPECT_TRUE(says(error("\"friend\"", "\"uncle\""), "got the wording 'uncle', expected one of"));
  EXPECT_TRUE(says(error("obeys hints", "ignores hints"), "'ignores hints' is given twice"));
  EXPECT_TRUE(says(error("[side_effects]\n", "[side_effects]\ncolour = 1\n"), "side_effects.colour"));
  EXPECT_TRUE(says(error("demo-ablation", "demo-patching"), "expected input ablation in chat format"));
}

}  // namespace
}  // namespace introspect
