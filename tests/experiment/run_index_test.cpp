#include "experiment/run_index.h"

#include "base/files.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "dataset/example.h"
#include "experiment/compare_runs.h"
#include "explainer/answers.h"

#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

Score score(const std::string& explainer, const std::string& condition, double value) {
  Score made;
  made.task = "patching";
  made.target = "tiny";
  made.explainer = explainer;
  made.condition = condition;
  made.metric = "exact_match";
  made.group = "all";
  made.value = value, made.low = value - 0.05, made.high = value + 0.05;
  made.n = 100, made.clusters = 20;
  made.seed_deviation = made.difference_to_self = made.difference_low = made.difference_high = std::nan("");
  made.p_against_self = explainer == "self" && condition == "trained" ? std::nan("") : 0.01;
  return made;
}

void write_run(const fs::path& folder, double self, const std::string& started,
               const std::string& status = "complete") {
  fs::create_directories(folder / "scores");
  save_scores({score("self", "trained", self), score("twin", "trained", 0.2), score("self", "zero_vector", 0.1)},
              folder / "scores" / "scores.json");
  write_json(folder / "scores" / "run.json", {{"step", "evaluate"},
                                              {"status", status},
                                              {"started", started},
                                              {"command", {"introspect", "run", folder.filename().string()}}});
}

TEST(RunIndex, FindsRunsWithTheirHeadlineAndCommandTheNewestFirst) {
  const TemporaryFolder folder;
  write_run(folder / "old", 0.3, "2026-01-01T00:00:00Z");
  write_run(folder / "deep" / "new", 0.4, "2026-02-01T00:00:00Z");
  fs::create_directories(folder / "deep" / "new" / "report");
  write_text(folder / "deep" / "new" / "report" / "report.html", "page");
  write_run(folder / "old" / "own_labels" / "self", 0.9, "2026-04-01T00:00:00Z");
  write_run(folder / "stopped", 0.5, "2026-03-01T00:00:00Z", "running");
  write_run(folder / "broken", 0.5, "2026-03-01T00:00:00Z");
  write_text(folder / "broken" / "scores" / "scores.json", "[{");
  const FoundRuns found = find_runs(folder.path());
  ASSERT_EQ(found.runs.size(), 2u);
  EXPECT_EQ(found.runs[0].name, "deep/new");
  EXPECT_EQ(found.runs[0].command, "introspect run new");
  EXPECT_EQ(found.runs[0].page, folder / "deep" / "new" / "report" / "report.html");
  EXPECT_TRUE(found.runs[1].page.empty());
  ASSERT_EQ(found.left_out.size(), 2u);
  EXPECT_NE(found.left_out[0].find("broken"), std::string::npos);
  EXPECT_NE(found.left_out[1].find("unfinished"), std::string::npos);

  const NamedTable table = index_table(found.runs);
  ASSERT_EQ(table.lines.size(), 2u);
  EXPECT_EQ(table.lines[0][4], "40.0 (35.0 to 45.0)");
  EXPECT_EQ(table.lines[0][5], "100");
  EXPECT_EQ(table.lines[0][6], "twin (another seed) 20.0, p = 0.010");
  const std::string page = index_page(found.runs, "runs");
  EXPECT_NE(page.find("introspect run new"), std::string::npos);
  EXPECT_NE(page.find("2 results"), std::string::npos);
}

TEST(RunIndex, AFolderWithoutRunsIsEmptyAndOneThatIsNotThereAnError) {
  const TemporaryFolder folder;
  EXPECT_TRUE(find_runs(folder.path()).runs.empty());
  EXPECT_ANY_THROW(find_runs(folder / "nowhere"));
}

TEST(RunIndex, TablesAreEscapedForEachFormat) {
  const NamedTable table{"50% of a_b", {"row", "x|y"}, {{"a, \"b\"", "1–2"}, {"c & d", "−1"}}};
  EXPECT_EQ(table_csv(table), "row,x|y\n\"a, \"\"b\"\"\",1–2\nc & d,−1\n");
  const std::string latex = table_latex(table);
  EXPECT_NE(latex.find("\\caption{50\\% of a\\_b}"), std::string::npos);
  EXPECT_NE(latex.find("\\begin{tabular}{lr}"), std::string::npos);
  EXPECT_NE(latex.find("1--2 \\\\"), std::string::npos);
  EXPECT_NE(latex.find("c \\& d & $-$1 \\\\"), std::string::npos);
  EXPECT_NE(table_markdown(table).find("| row | x\\|y |\n|---|---:|\n"), std::string::npos);
}

TEST(CompareRuns, TakesIntervalsOfIndependentRunsWhereThereAreNoAnswers) {
  const TemporaryFolder folder;
  write_run(folder / "a", 0.3, "2026-01-01T00:00:00Z");
  write_run(folder / "b", 0.4, "2026-02-01T00:00:00Z");
  const FoundRun a = find_runs(folder / "a").runs.at(0), b = find_runs(folder / "b").runs.at(0);
  const RunComparison compared = compare_runs(a, b, "exact_match");
  EXPECT_FALSE(compared.paired);
  EXPECT_EQ(compared.only_first + compared.only_second, 0);
  ASSERT_EQ(compared.table.lines.size(), 3u);
  EXPECT_EQ(compared.table.lines[0][4], "+10.0");
  EXPECT_EQ(compared.table.lines[0][5], "+2.9 to +17.1");  // 10 ± sqrt(5² + 5²)
  EXPECT_EQ(compared.table.lines[1][4], "0.0");
  EXPECT_ANY_THROW(compare_runs(a, b, "no_such_metric"));
  FoundRun other = b;
  other.subject.task = "ablation";
  EXPECT_ANY_THROW(compare_runs(a, other, ""));
}

TEST(CompareRuns, PairsRunsThatAnsweredTheSameExamples) {
  const TemporaryFolder folder;
  for (const char* name : {"a", "b"}) {
    const fs::path run = folder / name;
    write_run(run, name[0] == 'a' ? 0.0 : 1.0, "2026-01-01T00:00:00Z");
    Dataset dataset;
    dataset.task = "features";
    fs::create_directories(run / "answers" / "self-trained-seed1");
    std::vector<Answer> answers;
    for (int i = 0; i < 12; ++i) {
      Example example;
      example.id = "e" + std::to_string(i);
      example.cluster = example.id;
      example.split = Split::test;
      example.answer = "yes";
      dataset.examples.push_back(example);
      answers.push_back({example.id, name[0] == 'a' ? "no" : "yes"});
    }
    save_dataset(dataset, run / "dataset");
    save_answers(answers, run / "answers" / "self-trained-seed1" / "answers.jsonl");
  }
  const RunComparison compared =
      compare_runs(find_runs(folder / "a").runs.at(0), find_runs(folder / "b").runs.at(0), "");
  EXPECT_TRUE(compared.paired);
  EXPECT_EQ(compared.table.lines[0][4], "+100.0");
  EXPECT_EQ(compared.table.lines[0][6], "< 0.001");  // 12 signs that all agree: 2 / 4096
}

}  // namespace
}  // namespace introspect
