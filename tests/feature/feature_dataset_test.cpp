#include "feature/feature_dataset.h"

#include "base/error.h"

#include <cmath>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

constexpr int64_t kWidth = 8, kLatents = 120;

FeatureContexts contexts_of(int64_t layer, int64_t latent) {
  FeatureContexts contexts;
  contexts.layer = layer;
  contexts.latent = latent;
  contexts.kinds = {ContextKind::top, ContextKind::random};
  contexts.tokens = at::full({2, 4}, static_cast<int>(latent), at::kInt);
  contexts.activations = at::zeros({2, 4});
  contexts.activations[0][1] = 1.0f + static_cast<float>(layer);
  return contexts;
}

// Two layers of latents; the directions of layer 5 are those of layer 2, so that equal labels are duplicates.
FeatureSource source_of() {
  FeatureSource source;
  at::Tensor directions = at::zeros({kLatents, kWidth});
  for (int64_t i = 0; i < kLatents; ++i) {
    directions[i][i % kWidth] = 1;
    directions[i][(i / kWidth) % kWidth] += 0.5;
  }
  source.directions = {{2, directions}, {5, directions * 3}};
  source.contexts = contexts_of;
  return source;
}

std::vector<DescribedFeature> features_of(double held_out = 0.8) {
  std::vector<DescribedFeature> features;
  for (const int64_t layer : {2, 5}) {
    for (int64_t i = 0; i < kLatents; ++i) {
      const bool token = i % 4 != 0;
      const std::string text = token ? "the token \"t" + std::to_string(i) + "\"" : "words for " + std::to_string(i);
      features.push_back({layer, i, {{text, token ? "token" : "category", "library", held_out, held_out}}});
    }
  }
  return features;
}

TEST(FeatureDataset, KeepsDuplicatesTogetherAndLabelsApart) {
  FeatureDatasetSettings settings;
  settings.max_token_share = 1;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const Dataset dataset = make_feature_dataset(features_of(), source_of(), {}, settings, tensors);
  ASSERT_EQ(dataset.examples.size(), 2U * kLatents);
  std::map<std::string, std::set<Split>> splits;
  std::set<std::string> train_labels, aside_labels;
  for (const Example& example : dataset.examples) {
    splits[example.cluster].insert(example.split);
    if (example.split == Split::train) train_labels.insert(example.answer);
    if (example.attributes.contains("aside")) {
      EXPECT_EQ(example.attributes.at("aside"), "label not in training");
      EXPECT_EQ(example.split, Split::test);
      aside_labels.insert(example.answer);
    }
    EXPECT_EQ(example.attributes.contains("contexts"), example.split == Split::test) << example.id;
  }
  // the same label at two layers has the same direction here: one cluster, one split
  EXPECT_EQ(splits.size(), static_cast<size_t>(kLatents));
  for (const auto& [cluster, seen] : splits) EXPECT_EQ(seen.size(), 1U) << cluster;
  EXPECT_FALSE(aside_labels.empty());
  for (const std::string& label : aside_labels) EXPECT_FALSE(train_labels.contains(label)) << label;
  for (const Example& example : dataset.examples) {
    EXPECT_EQ(example.attributes.at("label"), train_labels.contains(example.answer) ? "seen" : "unseen");
  }
  EXPECT_EQ(tensors[0].second.size(0), std::ssize(dataset.of(Split::test)));
}

TEST(FeatureDataset, DirectionsFarApartAreNoDuplicates) {
  FeatureSource source = source_of();
  source.directions[5] = -source.directions[5];  // cosine -1
  FeatureDatasetSettings settings;
  settings.max_token_share = 1;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const Dataset dataset = make_feature_dataset(features_of(), source, {}, settings, tensors);
  EXPECT_EQ(dataset.info.at("features").at("clusters").get<int64_t>(), 2 * kLatents);
}

TEST(FeatureDataset, BareTokensAreAtMostTheirShare) {
  FeatureDatasetSettings settings;
  settings.max_token_share = 0.5;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const Dataset dataset = make_feature_dataset(features_of(), source_of(), {}, settings, tensors);
  int64_t tokens = 0;
  for (const Example& example : dataset.examples) tokens += example.attributes.at("kind") == "token";
  EXPECT_EQ(2 * tokens, std::ssize(dataset.examples));
  EXPECT_EQ(dataset.info.at("features").at("tokens_left_out").get<int64_t>(),
            2 * kLatents - std::ssize(dataset.examples));
}

TEST(FeatureDataset, WhatNothingDescribesIsAskedAndNotLearnt) {
  std::vector<DescribedFeature> features = features_of();
  for (size_t i = 0; i < 30; ++i) features[i].descriptions.front().held_out = 0.1;
  for (size_t i = 30; i < 40; ++i) features[i].descriptions.clear();
  FeatureDatasetSettings settings;
  settings.undescribed = 12;
  settings.max_token_share = 1;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const Dataset dataset = make_feature_dataset(features, source_of(), {}, settings, tensors);
  int64_t asked = 0;
  for (const Example& example : dataset.examples) {
    if (!example.answer.empty()) continue;
    ++asked;
    EXPECT_EQ(example.split, Split::test);
    EXPECT_EQ(example.attributes.at("aside"), "not described");
  }
  EXPECT_EQ(asked, 12);
  EXPECT_EQ(dataset.info.at("features").at("not_described").get<int64_t>(), 40);
}

// Labels that others wrote have no score until they are simulated.
TEST(FeatureDataset, LabelsWithoutAScoreAreTaken) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  FeatureDatasetSettings settings;
  settings.max_token_share = 1;
  const Dataset dataset = make_feature_dataset(features_of(std::nan("")), source_of(), {}, settings, tensors);
  EXPECT_EQ(dataset.info.at("features").at("not_described"), 0);
  EXPECT_EQ(dataset.examples.size(), 2U * kLatents);
  EXPECT_FALSE(dataset.examples.front().attributes.contains("score"));
}

TEST(FeatureDataset, OtherDirectionsStandAsideWithTheirContexts) {
  OtherDirection other{"ACT", "the «cat»", at::ones({kWidth}), contexts_of(5, 77), {5, -1, {}}};
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const Dataset dataset = make_feature_dataset(features_of(), source_of(), {other}, {}, tensors);
  const Example& example = dataset.examples.back();
  EXPECT_EQ(example.attributes.at("aside"), "ACT");
  EXPECT_EQ(example.layers, std::vector<int64_t>{5});
  const int64_t row = std::stoll(example.attributes.at("contexts"));
  EXPECT_EQ(tensors[0].second[row][0][0].item<int>(), 77);
  EXPECT_EQ(tensors[1].second[row][0][1].item<float>(), 6.0f);
}

TEST(FeatureDataset, TheSameSettingsGiveTheSameDataSet) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const Dataset first = make_feature_dataset(features_of(), source_of(), {}, {}, tensors);
  const Dataset second = make_feature_dataset(features_of(), source_of(), {}, {}, tensors);
  ASSERT_EQ(first.examples.size(), second.examples.size());
  for (size_t i = 0; i < first.examples.size(); ++i) {
    EXPECT_EQ(first.examples[i].answer, second.examples[i].answer);
    EXPECT_EQ(first.examples[i].split, second.examples[i].split);
  }
  FeatureDatasetSettings other;
  other.seed = 2;
  const Dataset third = make_feature_dataset(features_of(), source_of(), {}, other, tensors);
  bool differs = false;
  for (size_t i = 0; i < third.examples.size(); ++i) differs |= third.examples[i].split != first.examples[i].split;
  EXPECT_TRUE(differs);
}

TEST(FeatureDataset, RefusesFeaturesThatTheSaesDoNotHave) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  std::vector<DescribedFeature> features = features_of();
  features[3].latent = kLatents;
  EXPECT_THROW(make_feature_dataset(features, source_of(), {}, {}, tensors), Error);
  EXPECT_THROW(make_feature_dataset(features_of(0.1), source_of(), {}, {}, tensors), Error);  // nothing described
  EXPECT_THROW(parse_feature_dataset({{"min_scor", 0.4}}, "x"), Error);
  EXPECT_THROW(parse_feature_dataset({{"test_share", 2.0}}, "x"), Error);
}

}  // namespace
}  // namespace introspect
