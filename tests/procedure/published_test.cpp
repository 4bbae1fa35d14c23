// Published data sets, as small files of the same columns.
#include "procedure/published.h"

#include "base/temporary_folder.h"
#include "parquet/parquet_files.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

using test::Field;

const Field kInteger = {"item", "int64"}, kText = {"item", "text"}, kFloat = {"item", "float"};

const std::vector<Field> kPatching = {{"layer", "list", {kInteger}},
                                      {"input_tokens", "list", {kText}},
                                      {"original_continuation", "list", {kText}},
                                      {"ablated_continuation", "list", {kText}},
                                      {"is_different", "bool"},
                                      {"patch_position",
                                       "struct",
                                       {{"counterfact_pos", "int64"},
                                        {"counterfact_text_token", "text"},
                                        {"intervention_vector", "list", {kFloat}},
                                        {"orig_pos", "int64"},
                                        {"orig_text_token", "text"}}},
                                      {"counterfactual_text", "text"},
                                      {"gt_original_target", "text"},
                                      {"gt_counterfactual_target", "text"},
                                      {"layer_hashable", "text"},
                                      {"token_type", "text"}};

// A row as the published files have them: the tokens in GPT-2's alphabet.
Json patching_row(const std::string& subject, int64_t block, const std::string& after, float value) {
  Json layers = Json::array();
  for (int64_t l = 0; l < 8; ++l) layers.push_back(block * 8 + l);
  return {{"layer", layers},
          {"input_tokens", {"<|begin_of_text|>", subject, "Ġis", "Ġin", "ĊĊ", "Response", ":"}},
          {"original_continuation", {"ĠItaly"}},
          {"ablated_continuation", {after}},
          {"is_different", after != "ĠItaly"},
          {"patch_position",
           {{"counterfact_pos", 2},
            {"counterfact_text_token", "Paris"},
            {"intervention_vector", {value, -value, 0.5f, 2.0f}},
            {"orig_pos", 1},
            {"orig_text_token", subject}}},
          {"counterfactual_text", "Paris is in"},
          {"gt_original_target", " Italy"},
          {"gt_counterfactual_target", " France"},
          {"layer_hashable", "x"},
          {"token_type", "Subject Final"}};
}

TEST(Published, PatchingRowsBecomeExamples) {
  const TemporaryFolder folder;
  std::vector<Json> train, test = {patching_row("Rome", 3, "ĠItaly", 9)};
  for (int i = 0; i < 20; ++i) {
    train.push_back(
        patching_row("City" + std::to_string(i), i % 4, i % 2 ? "ĠFrance" : "ĠItaly", static_cast<float>(i)));
  }
  folder.write("data/train-00000-of-00002.parquet", test::parquet_of(kPatching, {train.begin(), train.begin() + 12}));
  folder.write("data/train-00001-of-00002.parquet", test::parquet_of(kPatching, {train.begin() + 12, train.end()}));
  folder.write("data/test-00000-of-00001.parquet", test::parquet_of(kPatching, test));
  folder.write("data/train_full-00000-of-00001.parquet", test::parquet_of(kPatching, test));
  ImportReport report;
  ImportSettings settings;
  settings.validation_share = 0.1;
  Dataset dataset = import_patching({folder.path()}, settings, report);
  EXPECT_EQ(report.rows.at("train"), 20);
  EXPECT_EQ(report.not_asked.at("train_full"), 1);
  EXPECT_EQ(report.unused_columns, (std::vector<std::string>{"gt_counterfactual_target", "layer_hashable"}));
  EXPECT_EQ(report.test_prompts_in_train, 0);
  EXPECT_EQ(report.dropped.to_json(), Json::object());
  EXPECT_EQ(dataset.of(Split::train).size(), 18u);
  EXPECT_EQ(dataset.of(Split::validation).size(), 2u);
  ASSERT_EQ(dataset.of(Split::test).size(), 1u);
  const Example& example = *dataset.of(Split::test).front();
  EXPECT_EQ(example.input, "Rome is in\n\nResponse:");
  EXPECT_EQ(example.token, "Rome");
  EXPECT_EQ(example.layers, (std::vector<int64_t>{24, 25, 26, 27, 28, 29, 30, 31}));
  EXPECT_EQ(example.answer, "The output would remain unchanged from <<<Italy>>>.");
  EXPECT_EQ(example.attributes.at("block"), "3");
  EXPECT_EQ(example.attributes.at("token_type"), "Subject Final");
  EXPECT_FLOAT_EQ(dataset.vectors[example.vector][0].item<float>(), 9);
  EXPECT_FLOAT_EQ(dataset.vectors[example.vector][1].item<float>(), -9);
  for (const Example& each : dataset.examples) {
    const float value = dataset.vectors[each.vector][0].item<float>();
    if (each.split != Split::test) {
      EXPECT_EQ(each.input, fmt::format("City{} is in\n\nResponse:", value));
    }
    EXPECT_EQ(each.changed(), each.answer == "The most likely output would change to <<<France>>>.");
  }
  EXPECT_DOUBLE_EQ(dataset.info.at("target_accuracy").at("share").get<double>(), 1);
  save_dataset(dataset, folder / "out");
  EXPECT_EQ(load_dataset(folder / "out").examples.size(), 21u);

  settings.full = true;
  ImportReport of_full;
  EXPECT_EQ(import_patching({folder.path()}, settings, of_full).of(Split::train).size(), 1u);
  EXPECT_EQ(of_full.test_prompts_in_train, 1);
}

// Tokens as plain text, an odd label, a row without a vector: kept or left out, and counted.
TEST(Published, OddPatchingRowsAreCounted) {
  const TemporaryFolder folder;
  Json plain = patching_row("Rome", 0, " France", 1);
  plain["input_tokens"] = {"Rome", " is", " in", "\n\n", "Response", ":"};
  plain["original_continuation"] = {" Italy"};
  plain["patch_position"]["orig_pos"] = 3;
  plain["is_different"] = false;
  Json without = patching_row("Oslo", 0, "ĠFrance", 1);
  without["patch_position"]["intervention_vector"] = nullptr;
  folder.write("train.parquet", test::parquet_of(kPatching, {plain, without}));
  ImportReport report;
  const Dataset dataset = import_patching({folder / "train.parquet"}, {}, report);
  ASSERT_EQ(dataset.examples.size(), 1u);
  EXPECT_EQ(dataset.examples[0].input, "Rome is in\n\nResponse:");
  EXPECT_EQ(dataset.examples[0].after, "France");
  const Json dropped = report.dropped.to_json();
  EXPECT_EQ(dropped.at("no intervention vector").at("count"), 1);
  EXPECT_EQ(dropped.at("kept: is_different says something else than the two continuations").at("count"), 1);
  EXPECT_EQ(dropped.at("kept: the token at orig_pos is another than orig_text_token").at("count"), 1);
}

TEST(Published, RefusesOtherFiles) {
  const TemporaryFolder folder;
  const auto refusal = [&](const fs::path& path) {
    return error_of([&] {
      ImportReport report;
      import_patching({path}, {}, report);
    });
  };
  EXPECT_TRUE(holds(refusal(folder / "none"), "no such file"));
  EXPECT_TRUE(holds(refusal(folder.path()), "no .parquet file"));
  const fs::path odd = folder.write("odd.parquet", test::parquet_of({{"a", "int64"}}, {{{"a", 1}}}));
  EXPECT_TRUE(holds(refusal(odd), "split: got 'odd'"));
  fs::rename(odd, folder / "train.parquet");
  EXPECT_TRUE(holds(refusal(folder / "train.parquet"), "columns: layer, input_tokens"));
  Json longer = patching_row("Rome", 0, "ĠFrance", 1);
  longer["patch_position"]["intervention_vector"] = {1.0f};
  folder.write("train.parquet", test::parquet_of(kPatching, {patching_row("Rome", 0, "ĠFrance", 1), longer}));
  EXPECT_TRUE(holds(refusal(folder / "train.parquet"), "a vector of 1 numbers"));
}

const std::vector<Field> kAblation = {{"index", "int64"},
                                      {"question", "text"},
                                      {"choices", "list", {kText}},
                                      {"correct_answer", "text"},
                                      {"zeroshot_prediction", "text"},
                                      {"random_hint_prediction", "text"},
                                      {"hint_token_ids", "list", {kInteger}},
                                      {"system_prompt", "text"},
                                      {"original_user_prompt", "text"},
                                      {"hint_user_prompt", "text"},
                                      {"hint", "text"},
                                      {"changed_pred_bc_hint", "bool"},
                                      {"ablation_prompt", "text"}};

Json ablation_row(int64_t index, const std::string& with, const std::string& without) {
  const std::string user = fmt::format("Question: What is {}?\nA. a\nB. b\nC. c\nD. d", index);
  return {{"index", index},
          {"question", fmt::format("What is {}?", index)},
          {"choices", {"a", "b", "c", "d"}},
          {"correct_answer", "A"},
          {"zeroshot_prediction", without},
          {"random_hint_prediction", with},
          {"hint_token_ids", {1, 2}},
          {"system_prompt", "Answer: x"},
          {"original_user_prompt", user},
          {"hint_user_prompt", user + "\nHint: The answer is B"},
          {"hint", "B"},
          {"changed_pred_bc_hint", index % 4 == 0 ? Json() : Json(with != without)},
          {"ablation_prompt", "..."}};
}

TEST(Published, AblationRowsBecomeExamples) {
  const TemporaryFolder folder;
  std::vector<Json> train;
  for (int64_t i = 0; i < 20; ++i) train.push_back(ablation_row(i, i % 2 ? "B" : "Answer: A", " A"));
  train.push_back(ablation_row(20, "none of these", "A"));
  folder.write("train/0000.parquet", test::parquet_of(kAblation, train));
  folder.write("test/0000.parquet",
               test::parquet_of(kAblation, {ablation_row(77, "B", "A"), ablation_row(3, "A", "A")}));
  ImportReport report;
  const Dataset dataset = import_ablation({folder.path()}, {}, report);
  EXPECT_EQ(report.rows.at("train"), 21);
  EXPECT_EQ(report.test_prompts_in_train, 1);
  EXPECT_EQ(report.unused_columns, (std::vector<std::string>{"ablation_prompt", "hint_token_ids"}));
  const Json dropped = report.dropped.to_json();
  EXPECT_EQ(dropped.at("an answer that is no letter").at("count"), 1);
  EXPECT_EQ(dropped.at("kept: changed_pred_bc_hint is null").at("count"), 5);
  ASSERT_EQ(dataset.of(Split::test).size(), 2u);
  const Example& example = *dataset.of(Split::test).front();
  EXPECT_EQ(example.input, "Question: What is 77?\nA. a\nB. b\nC. c\nD. d\nHint: The answer is B");
  EXPECT_EQ(example.token, "Hint: The answer is B");
  EXPECT_EQ(example.before, "Answer: B");
  EXPECT_EQ(example.answer, "The most likely output would change to <<<Answer: A>>>.");
  EXPECT_EQ(example.attributes.at("hint"), "B");
  EXPECT_EQ(example.attributes.at("hint_right"), "no");
  EXPECT_EQ(dataset.info.at("system_prompts"), Json::array({"Answer: x"}));
  EXPECT_EQ(dataset.info.at("hints").at(0).at("prompts"), 22);
}

}  // namespace
}  // namespace introspect
