// The archives of features that Li et al. (2025) published, as a data set of ours (docs/PUBLISHED.md).
//
//   labelled   explanations/{train,valid,test}_explanations.pkl   list of ((layer, latent), {"chosen_label",
//                                                                 "all_labels", "all_label_scores"})
//              features/layer_<l>.pkl                             array [width, latents]: a column is a direction
//   plain      {split}_indices.json                               list of [layer, number]
//              {split}_vectors.pt                                 tensor [n, width]
#pragma once

#include "dataset/example.h"
#include "procedure/pairs.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace introspect {

struct FeatureImportSettings {
  std::string aside = "ACT";    // plain: what the vectors are, "ACT" or "ΔACT"
  std::vector<int64_t> layers;  // only these; empty: all
  int64_t limit = 0;            // features of each split; 0: all. Four bytes times the width are taken for each
};

struct FeatureImportReport {
  std::map<std::string, int64_t> features;  // there, by published split
  DropReport dropped;
};

// Examples as feature/feature_dataset.h has them, without contexts: answers are scored by exact match and by a judge,
// not by simulation. Plain vectors have no true answer; they are asked at test time. Throws Error for a folder of
// neither layout and for files that disagree.
Dataset import_features(const fs::path& folder, const FeatureImportSettings& settings, FeatureImportReport& report);

}  // namespace introspect
