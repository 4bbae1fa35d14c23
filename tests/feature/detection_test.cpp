// Detection and fuzzing: what is asked, how verdicts add up, and planted features whose scores are known.
#include "feature/detection.h"

#include "feature/planted.h"

#include <set>

namespace introspect {
namespace {

using planted::PlantedSimulator;

void expect_scores(const DetectionScore& score, double balanced_accuracy, double f1, double auroc) {
  EXPECT_NEAR(score.balanced_accuracy, balanced_accuracy, 1e-12);
  EXPECT_NEAR(score.f1, f1, 1e-12);
  EXPECT_NEAR(score.auroc, auroc, 1e-12);
}

TEST(Detection, AsksAboutAsManyPiecesThatFireAsOnesThatDoNot) {
  FeatureContexts contexts = planted::contexts(5, 4, 6);
  contexts.activations[12][4] = 0.25;  // a random piece that fires is one that fires
  const auto items = detection_items(contexts, {});
  ASSERT_EQ(items.size(), 12u);
  std::set<int64_t> seen;
  for (const JudgedItem& item : items) {
    EXPECT_TRUE(seen.insert(item.context).second);
    EXPECT_EQ(item.positive, contexts.activations[item.context].max().item<float>() > 0);
    EXPECT_TRUE(item.marked.empty());
  }
  EXPECT_TRUE(seen.contains(12));
  DetectionSettings few;
  few.items = 2;
  EXPECT_EQ(detection_items(contexts, few).size(), 4u);
  EXPECT_TRUE(detection_items(planted::contexts(5, 0, 0), {}).empty());
  few.items = 0;
  EXPECT_THROW(detection_items(contexts, few), Error);
}

TEST(Detection, PlantedFeatures) {
  const FeatureContexts contexts = planted::contexts(5, 4, 6);
  const PlantedSimulator simulator;
  const DetectionScore perfect = detection_score("token 7", contexts, simulator, {});
  expect_scores(perfect, 1, 1, 1);
  EXPECT_EQ(perfect.positives, 5);
  EXPECT_EQ(perfect.negatives, 5);
  expect_scores(detection_score("constant", contexts, simulator, {}), 0.5, 2.0 / 3, 0.5);
  expect_scores(detection_score("token 3", contexts, simulator, {}), 0.5, 0, 0.5);  // never fires: always no
  for (const char* nothing : {"nonsense", "", "\n"}) {
    const DetectionScore score = detection_score(nothing, contexts, simulator, {});
    expect_scores(score, 0.5, 0.5, 0.5);
    EXPECT_EQ(score.unreadable, 10);
  }
  DetectionSettings strict;
  strict.threshold = 5;
  expect_scores(detection_score("token 7", contexts, simulator, strict), 0.5, 0, 1);
}

TEST(Fuzzing, MarksWhatFiresAndAsManyTokensThatDoNot) {
  FeatureContexts contexts = planted::contexts(6, 4, 6, 12);
  for (int64_t i = 0; i < 6; ++i) {
    contexts.activations[i][5] = 0.5;  // above 0.3 of the highest
    contexts.activations[i][6] = 0.2;  // below, and active all the same: marked neither here nor there
  }
  contexts.activations[5].slice(0, 1).fill_(1);  // fires everywhere: nothing else could be marked
  const auto items = fuzzing_items(contexts, {});
  ASSERT_EQ(items.size(), 10u);
  for (const JudgedItem& item : items) {
    EXPECT_LT(item.context, 5);
    ASSERT_EQ(item.marked.size(), 2u);
    if (item.positive) {
      EXPECT_EQ(item.marked, (std::vector<int64_t>{3, 5}));
      continue;
    }
    EXPECT_LT(item.marked[0], item.marked[1]);
    for (const int64_t position : item.marked) {
      EXPECT_GT(position, 0);
      EXPECT_EQ(contexts.activations[item.context][position].item<float>(), 0);
    }
  }
  DetectionSettings silent;
  silent.negatives = FuzzingNegatives::silent_piece;
  for (const JudgedItem& item : fuzzing_items(contexts, silent)) {
    EXPECT_EQ(item.positive, item.context < 6);
    EXPECT_TRUE(item.positive || item.marked.size() == 2 || item.marked.size() == 11);
  }
  silent.items = 3;
  EXPECT_EQ(fuzzing_items(contexts, silent).size(), 6u);
}

TEST(Fuzzing, NeedsMoreThanTheRightPiece) {
  const FeatureContexts contexts = planted::contexts(8, 4, 6);
  const PlantedSimulator simulator;
  expect_scores(fuzzing_score("token 7", contexts, simulator, {}), 1, 1, 1);
  // knows the piece and not the token
  expect_scores(detection_score("piece 7", contexts, simulator, {}), 1, 1, 1);
  expect_scores(fuzzing_score("piece 7", contexts, simulator, {}), 0.5, 2.0 / 3, 0.5);
  // says the opposite: no positive exceeds a negative
  expect_scores(fuzzing_score("not token 7", contexts, simulator, {}), 0.5, 0, 0);
}

TEST(Verdicts, AddUp) {
  const std::vector<JudgedItem> items = {{0, true, {}},  {1, true, {}},  {2, true, {}}, {3, true, {}},
                                         {4, false, {}}, {5, false, {}}, {6, false, {}}};
  const auto verdict = [](bool positive, double confidence) { return Verdict{true, positive, confidence}; };
  const std::vector<Verdict> verdicts = {verdict(true, 0.9), verdict(true, 0.4), verdict(false, 0.3),
                                         {false, false, 0},  verdict(true, 0.4), verdict(false, 0.1),
                                         verdict(false, 0.2)};
  const DetectionScore score = score_verdicts(items, verdicts);
  EXPECT_EQ(score.positives, 4);
  EXPECT_EQ(score.negatives, 3);
  EXPECT_EQ(score.unreadable, 1);
  // 2.5 of 4 and 2 of 3; pairs won: 3, 2.5, 2 and half of 3
  expect_scores(score, 0.5 * (2.5 / 4 + 2.0 / 3), 5.0 / (5 + 1.5 + 1), (3 + 2.5 + 2 + 1.5) / 12);
  EXPECT_THROW(score_verdicts(items, {}), Error);
  EXPECT_TRUE(std::isnan(score_verdicts({{0, true, {}}}, {verdict(true, 1)}).auroc));
  EXPECT_THROW(score_verdicts({{0, true, {}}}, {verdict(true, std::nan(""))}), Error);
}

TEST(Verdicts, AurocIsTheShareOfPairsInTheRightOrder) {
  Random random(3, "auroc");
  for (int round = 0; round < 200; ++round) {
    std::vector<JudgedItem> items;
    std::vector<Verdict> verdicts;
    for (uint64_t i = 0, n = 2 + random.below(20); i < n; ++i) {
      items.push_back({static_cast<int64_t>(i), i == 0 || (i > 1 && random.below(2) == 0), {}});
      verdicts.push_back({random.below(5) > 0, random.below(2) == 0, static_cast<double>(random.below(6))});
    }
    double won = 0, pairs = 0;
    for (size_t a = 0; a < items.size(); ++a) {
      for (size_t b = 0; b < items.size(); ++b) {
        if (!items[a].positive || items[b].positive) continue;
        const bool tie =
            !verdicts[a].readable || !verdicts[b].readable || verdicts[a].confidence == verdicts[b].confidence;
        won += tie ? 0.5 : verdicts[a].confidence > verdicts[b].confidence ? 1 : 0;
        ++pairs;
      }
    }
    ASSERT_NEAR(score_verdicts(items, verdicts).auroc, won / pairs, 1e-12);
  }
}

TEST(Verdicts, SummariesLeaveOutFeaturesWithoutItems) {
  const PlantedSimulator simulator;
  const DetectionSummary summary = summarise({detection_score("token 7", planted::contexts(5, 4, 6), simulator, {}),
                                              detection_score("token 7", planted::contexts(5, 0, 0), simulator, {}),
                                              detection_score("", planted::contexts(3, 4, 6), simulator, {})});
  EXPECT_EQ(summary.features, 3);
  EXPECT_EQ(summary.without_items, 1);
  EXPECT_EQ(summary.mean.unreadable, 6);
  expect_scores(summary.mean, 0.75, 0.75, 0.75);
  EXPECT_EQ(summary.mean.positives, 8);
}

TEST(Items, AreTextWithMarks) {
  const Tokenizer& tokenizer = world::tokenizer();
  FeatureContexts contexts;
  std::vector<int64_t> ids = tokenizer.encode("The capital of Peru is Lima.");
  const auto length = std::ssize(ids);
  ASSERT_TRUE(tokenizer.is_special(ids[0]));
  contexts.tokens = at::cat({at::tensor(ids, at::kInt), at::full({2}, -1, at::kInt)}).unsqueeze(0);
  contexts.activations = at::zeros({1, length + 2});
  EXPECT_EQ(item_text(tokenizer, contexts, {0, true, {}}), "The capital of Peru is Lima.");
  std::vector<int64_t> all;
  for (int64_t i = 1; i < length; ++i) all.push_back(i);
  EXPECT_EQ(item_text(tokenizer, contexts, {0, true, all}), "<<The capital of Peru is Lima.>>");
  EXPECT_EQ(item_text(tokenizer, contexts, {0, true, {1}}),
            "<<" + tokenizer.piece(ids[1]) + ">>" +
                std::string("The capital of Peru is Lima.").substr(tokenizer.piece(ids[1]).size()));
  EXPECT_THROW(item_text(tokenizer, contexts, {1, true, {}}), Error);
}

}  // namespace
}  // namespace introspect
