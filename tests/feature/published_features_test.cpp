// Published archives of features (tests/feature/data/README.md).
#include "feature/published_features.h"

#include "base/temporary_folder.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

const fs::path kData = fs::path(INTROSPECT_SOURCE_DIR) / "tests/feature/data";

TEST(PublishedFeatures, LabelledFeaturesBecomeExamples) {
  FeatureImportReport report;
  const Dataset dataset = import_features(kData / "published", {}, report);
  EXPECT_EQ(report.features.at("train"), 8);
  EXPECT_EQ(report.dropped.to_json().at("without a label").at("count"), 1);
  EXPECT_EQ(dataset.task, "features");
  EXPECT_EQ(dataset.of(Split::train).size(), 7u);
  EXPECT_EQ(dataset.of(Split::validation).size(), 1u);
  ASSERT_EQ(dataset.of(Split::test).size(), 2u);
  for (const Example& example : dataset.examples) {
    const int64_t layer = example.layers.at(0), latent = std::stoll(example.attributes.at("latent"));
    for (int64_t row = 0; row < 4; ++row) {
      EXPECT_EQ(dataset.vectors[example.vector][row].item<float>(),
                static_cast<float>(100 * layer + latent + 10 * row));
    }
    if (layer == 31 && latent == 4) {
      EXPECT_EQ(example.answer, "Paris");
    }
    if (example.answer == "new") {
      EXPECT_EQ(example.attributes.at("label"), "unseen");
    }
    if (layer == 3 && latent == 4) {
      EXPECT_EQ(example.answer, "label 1");
      EXPECT_EQ(example.attributes.at("references"), "other 4");
      EXPECT_EQ(example.attributes.at("score"), "0.5000");
    }
  }
  const TemporaryFolder folder;
  save_dataset(dataset, folder / "out");
  EXPECT_EQ(load_dataset(folder / "out").examples.size(), 10u);

  FeatureImportSettings settings;
  settings.layers = {3};
  settings.limit = 2;
  const Dataset part = import_features(kData / "published", settings, report);
  EXPECT_EQ(part.examples.size(), 4u);
}

TEST(PublishedFeatures, VectorsWithoutLabelsAreAskedAtTestTime) {
  FeatureImportReport report;
  FeatureImportSettings settings;
  settings.aside = "\u0394ACT";
  const Dataset dataset = import_features(kData / "vectors", settings, report);
  ASSERT_EQ(dataset.of(Split::test).size(), 3u);
  EXPECT_EQ(dataset.examples[1].layers, (std::vector<int64_t>{4}));
  EXPECT_EQ(dataset.examples[1].attributes.at("aside"), "\u0394ACT");
  EXPECT_TRUE(dataset.vectors.equal(at::arange(12, at::kFloat).reshape({3, 4})));
}

TEST(PublishedFeatures, RefusesOtherFolders) {
  const TemporaryFolder folder;
  const auto refusal = [&] {
    FeatureImportReport report;
    return error_of([&] { import_features(folder.path(), {}, report); });
  };
  EXPECT_TRUE(holds(refusal(), "no feature was found"));
  folder.write("test_indices.json", "[[1, 2]]");
  EXPECT_TRUE(holds(refusal(), "test_vectors.pt"));
  fs::copy_file(kData / "vectors/test_vectors.pt", folder / "test_vectors.pt");
  EXPECT_TRUE(holds(refusal(), "expected a tensor [1, width]"));
}

}  // namespace
}  // namespace introspect
