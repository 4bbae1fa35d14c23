// What a matrix finds out beyond its scores: what a target gains by explaining itself, and what goes with similarity.
#include "base/temporary_folder.h"
#include "experiment/privileged_access.h"
#include "experiment/similarity_steps.h"

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

// A task of patching with one target.
std::vector<MatrixTaskResult> one_target(MatrixTask& task) {
  task.name = task.kind = "patching";
  task.metric = "content_on_changed";
  std::vector<MatrixTaskResult> results(1);
  results[0].task = &task;
  results[0].targets.resize(1);
  return results;
}

TEST(PrivilegedAccess, IsShownWhereQuestionsAreManyAndItHolds) {
  MatrixRecipe recipe;
  for (const char* name : {"a", "b", "large"}) {
    recipe.models.push_back({name, {}, "", {}, std::string(name) == "large" ? "large" : "small"});
  }
  MatrixTask task;
  std::vector<MatrixTaskResult> results = one_target(task);
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
  EXPECT_TRUE(holds(matrices[0].note, "1 smaller ones are left out"));
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

// Three explainers of one target and two layers: those that are more alike take more from the vector.
TEST(SimilarityOfAMatrix, IsSetAgainstTheScoreAndWhatIsTakenFromTheVector) {
  MatrixRecipe recipe;
  for (const char* name : {"a", "b", "c", "d"}) recipe.models.push_back({name, {}, "", {}, "small"});
  MatrixTask task;
  std::vector<MatrixTaskResult> results = one_target(task);
  MatrixTarget& found = results[0].targets[0];
  found.explainers = {0, 1, 2, 3};
  found.group_of_layer = {{1, "block=0"}, {3, "block=1"}, {5, "block=2"}};
  for (const size_t each : found.explainers) {
    const std::string name = each == 0 ? "self" : recipe.models[each].name;
    for (const int64_t layer : {1, 3, 5}) {
      LayerSimilarity similarity;
      similarity.target_layer = similarity.explainer_layer = layer;
      similarity.pattern = similarity.cka = 1 - 0.2 * static_cast<double>(each) - 0.01 * static_cast<double>(layer);
      found.similarity[each].push_back(similarity);
      const int64_t n = layer == 5 ? 29 : 60;
      const std::string group = found.group_of_layer.at(layer);
      found.result.scores.push_back(score(name, group, n, 0.5, 0.5, 0.5));
      found.result.scores.push_back(score(name, group, n, 0.5 - similarity.pattern / 2, 0.5, 0.5));
      found.result.scores.back().condition = "zero_vector";
    }
  }
  const std::vector<std::string> sentences = similarity_sentences(recipe, results);
  // the score is the same everywhere: no correlation; what is taken from the vector is half of the similarity
  ASSERT_EQ(sentences.size(), 2u);
  EXPECT_TRUE(holds(sentences[0], "over 6 points of 3 pairs"));
  EXPECT_TRUE(
      holds(sentences[0], "what the explainer takes from the vector with the pattern on top exemplars is +1.00"));
  const std::vector<OwnSection> sections = similarity_sections(recipe, results);
  ASSERT_EQ(sections.size(), 1u);
  EXPECT_TRUE(holds(sections[0].lead, "4 of 12 points have fewer than 30 items"));
  EXPECT_EQ(sections[0].tables.size(), 3u);
  EXPECT_EQ(sections[0].tables.back().lines.size(), 12u) << "the table of points has them all";
  EXPECT_TRUE(holds(similarity_csv(recipe, results), ",60,0.495,0,"));
}

}  // namespace
}  // namespace introspect
