// What a target gains by explaining itself, over all questions and by kind of question.
#include "experiment/privileged_access.h"

#include "base/temporary_folder.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace introspect {
namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

Score score(const std::string& explainer, const std::string& group, int64_t n, double value, double self_value,
            double p) {
  Score made;
  made.task = "patching";
  made.target = "a";
  made.explainer = explainer;
  made.condition = explainer == "none" ? "always_changed" : "trained";
  made.metric = "content_on_changed";
  made.group = group;
  made.value = value;
  made.low = value - 0.1;
  made.high = value + 0.1;
  made.n = made.clusters = n;
  const bool self = explainer == "self";
  made.difference_to_self = self ? kNothing : value - self_value;
  made.difference_low = self ? kNothing : value - self_value - 0.1;
  made.difference_high = self ? kNothing : value - self_value + 0.1;
  made.p_against_self = self ? kNothing : p;
  return made;
}

TEST(PrivilegedAccess, IsShownWhereQuestionsAreManyAndItHolds) {
  MatrixRecipe recipe;
  for (const char* name : {"a", "b", "large"}) {
    recipe.models.push_back({name, {}, "", {}, std::string(name) == "large" ? "large" : "small"});
  }
  MatrixTask task;
  task.name = task.kind = "patching";
  task.metric = "content_on_changed";
  std::vector<MatrixTaskResult> results(1);
  results[0].task = &task;
  results[0].targets.resize(1);
  MatrixTarget& found = results[0].targets[0];
  found.explainers = {0, 1, 2};
  found.result.validation_loss = {{"self", 0.1}, {"b", 0.2}, {"large", 0.1}};
  struct Kind {
    const char* group;
    int64_t n;
    double self, p;
  };
  for (const auto& [group, n, self, p] :
       {Kind{"all", 200, 0.5, 0.01}, Kind{"token_type=last", 100, 0.7, 0.01}, Kind{"token_type=:", 80, 0.3, 0.03},
        Kind{"block=0", 90, 0.2, 0.01}, Kind{"block=1", 29, 0.9, 0.001}, Kind{"aside=other", 90, 0.9, 0.001}}) {
    found.result.scores.push_back(score("self", group, n, self, self, p));
    found.result.scores.push_back(score("b", group, n, 0.4, self, p));
    found.result.scores.push_back(score("large", group, n, 0.6, self, p));
    found.result.scores.push_back(score("none", group, n, 0.1, self, p));
  }

  const std::vector<Privilege> all = privileges(recipe, results);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].other, "b") << "large is of another size";
  const std::vector<MatrixTable> matrices = group_matrices(recipe, all);
  ASSERT_EQ(matrices.size(), 1u);
  EXPECT_EQ(matrices[0].columns, (std::vector<std::string>{"a", "b", "large", "always changed, by relation"}));
  std::vector<std::string> lines;
  for (const MatrixTable::Line& line : matrices[0].lines) lines.push_back(line.label);
  EXPECT_EQ(lines,
            (std::vector<std::string>{"token type : (n 80)", "token type last (n 100)", "layer block 0 (n 90)"}));
  EXPECT_TRUE(matrices[0].lines[0].cells[0].self);
  EXPECT_DOUBLE_EQ(matrices[0].lines[2].cells[1].difference, 0.2);

  const std::vector<std::string> sentences = group_sentences(all);
  ASSERT_EQ(sentences.size(), 1u);
  // corrected for three groups: .01 becomes .03, and .03 stays but is no gain
  EXPECT_TRUE(holds(sentences[0], "3 groups of 30 items"));
  EXPECT_TRUE(holds(sentences[0], "ahead of b on token type last (+30.0 points, p = 0.030)"));
  EXPECT_TRUE(holds(sentences[0], "behind on token type : (−10.0 points, p = 0.030), layer block 0"));

  found.explainers = {0};
  EXPECT_TRUE(group_matrices(recipe, privileges(recipe, results)).empty());
}

}  // namespace
}  // namespace introspect
