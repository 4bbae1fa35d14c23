// Wrong labels: of train and validation alone, the same whenever they are drawn, and of the kind that is asked for.
#include "dataset/label_noise.h"

#include "base/temporary_folder.h"

#include <set>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

// 60 train, 20 validation and 20 test examples; label l is of category l % 3, category "9" has a single label.
Dataset small() {
  Dataset dataset;
  dataset.task = "features";
  for (int i = 0; i < 100; ++i) {
    Example example;
    example.id = "feature-" + std::to_string(i);
    example.split = i < 60 ? Split::train : i < 80 ? Split::validation : Split::test;
    const int label = i % 12;
    example.answer = label == 11 ? "alone" : "label " + std::to_string(label);
    example.attributes["kind"] = label == 11 ? "9" : std::to_string(label % 3);
    dataset.examples.push_back(example);
  }
  return dataset;
}

LabelNoise noise_of(NoiseKind kind, double share, uint64_t seed = 1) {
  LabelNoise noise;
  noise.kind = kind;
  noise.share = share;
  noise.seed = seed;
  return noise;
}

std::vector<std::string> labels_of(const Dataset& dataset) {
  std::vector<std::string> labels;
  for (const Example& example : dataset.examples) labels.push_back(example.answer);
  return labels;
}

constexpr NoiseKind kKinds[] = {NoiseKind::random, NoiseKind::same_category, NoiseKind::systematic};

TEST(LabelNoise, ReplacesTheShareOfTrainAndValidationAndNothingOfTest) {
  const Dataset dataset = small();
  for (const NoiseKind kind : kKinds) {
    const Dataset noisy = with_label_noise(dataset, noise_of(kind, 0.4));
    int changed[3] = {};
    for (size_t i = 0; i < dataset.examples.size(); ++i) {
      const Example &was = dataset.examples[i], &is = noisy.examples[i];
      EXPECT_EQ(was.id, is.id);
      EXPECT_EQ(was.attributes, is.attributes);
      changed[static_cast<int>(was.split)] += was.answer != is.answer;
    }
    int64_t without = 0, without_validation = 0;
    noisy_labels(dataset, noise_of(kind, 0.4), Split::train, &without);
    noisy_labels(dataset, noise_of(kind, 0.4), Split::validation, &without_validation);
    EXPECT_EQ(changed[0], 24 - without);
    EXPECT_EQ(changed[1], 8 - without_validation);
    EXPECT_EQ(changed[2], 0);
    noisy_labels(dataset, noise_of(kind, 1), Split::train, &without);
    EXPECT_EQ(without, kind == NoiseKind::same_category ? 5 : 0);  // "alone" has no other label to go to
  }
  EXPECT_EQ(labels_of(with_label_noise(dataset, noise_of(NoiseKind::random, 0))), labels_of(dataset));
  EXPECT_TRUE(holds(error_of([&] { noisy_labels(dataset, noise_of(NoiseKind::random, 0.5), Split::test); }), "test"));
}

TEST(LabelNoise, IsTheSameWheneverItIsDrawnAndAnotherForAnotherSeed) {
  const Dataset dataset = small();
  for (const NoiseKind kind : kKinds) {
    const auto once = labels_of(with_label_noise(dataset, noise_of(kind, 0.5)));
    EXPECT_EQ(once, labels_of(with_label_noise(dataset, noise_of(kind, 0.5))));
    EXPECT_NE(once, labels_of(with_label_noise(dataset, noise_of(kind, 0.5, 2))));
  }
}

TEST(LabelNoise, ASmallerShareIsThePartOfALarger) {
  const Dataset dataset = small();
  for (const NoiseKind kind : kKinds) {
    const auto few = noisy_labels(dataset, noise_of(kind, 0.2), Split::train),
               many = noisy_labels(dataset, noise_of(kind, 0.8), Split::train);
    ASSERT_LT(few.size(), many.size());
    for (size_t i = 0; i < few.size(); ++i) {
      EXPECT_EQ(few[i].example, many[i].example);
      EXPECT_EQ(few[i].label, many[i].label);
      EXPECT_NE(few[i].label, few[i].example->answer);
    }
  }
}

TEST(LabelNoise, SystematicNoiseIsAFunctionOfTheLabel) {
  const Dataset dataset = small();
  const auto mapping = systematic_labels(dataset, 1);
  EXPECT_EQ(mapping.size(), 12u);
  std::set<std::string> images;
  for (const auto& [from, to] : mapping) {
    EXPECT_NE(from, to);
    EXPECT_TRUE(mapping.contains(to));
    images.insert(to);
  }
  EXPECT_EQ(images.size(), mapping.size());  // one to one
  for (const Split split : {Split::train, Split::validation}) {
    for (const NoisyLabel& noisy : noisy_labels(dataset, noise_of(NoiseKind::systematic, 1), split)) {
      EXPECT_EQ(noisy.label, mapping.at(noisy.example->answer));
    }
  }
  Dataset single = dataset;
  for (Example& example : single.examples) example.answer = "the same";
  EXPECT_TRUE(holds(error_of([&] { systematic_labels(single, 1); }), "1 different labels"));
}

TEST(LabelNoise, SameCategoryStaysInIt) {
  const Dataset dataset = small();
  std::map<std::string, std::string> category;
  for (const Example& example : dataset.examples) category[example.answer] = example.attributes.at("kind");
  int left = 0;
  for (const NoisyLabel& noisy : noisy_labels(dataset, noise_of(NoiseKind::random, 1), Split::train)) {
    left += category.at(noisy.label) != noisy.example->attributes.at("kind");
  }
  EXPECT_GT(left, 10);
  for (const NoisyLabel& noisy : noisy_labels(dataset, noise_of(NoiseKind::same_category, 1), Split::train)) {
    EXPECT_EQ(category.at(noisy.label), noisy.example->attributes.at("kind"));
  }
  LabelNoise other = noise_of(NoiseKind::same_category, 1);
  other.category = {"colour"};
  EXPECT_TRUE(holds(error_of([&] { noisy_labels(dataset, other, Split::train); }), "'colour'"));
}

TEST(LabelNoise, ItsTable) {
  const auto parsed = [](const char* text) { return parse_noise(parse_json(text, "t"), "recipe.toml"); };
  const LabelNoise noise = parsed(R"({"share": 0.4, "kind": "same_category", "seed": 3, "category": ["kind"]})");
  EXPECT_EQ(noise.share, 0.4);
  EXPECT_EQ(noise.kind, NoiseKind::same_category);
  EXPECT_EQ(noise.seed, 3u);
  EXPECT_EQ(noise_to_json(noise), noise_to_json(parse_noise(noise_to_json(noise), "again")));
  EXPECT_TRUE(holds(error_of([&] { parsed(R"({"share": 1.4, "kind": "random"})"); }), "got 1.4"));
  EXPECT_TRUE(holds(error_of([&] { parsed(R"({"share": 0.4, "kind": "loud"})"); }), "'loud'"));
  EXPECT_TRUE(holds(error_of([&] { parsed(R"({"share": 0.4, "kind": "random", "rate": 1})"); }), "label_noise.rate"));
  EXPECT_TRUE(holds(error_of([&] { parsed(R"({"kind": "random"})"); }), "share"));
  EXPECT_TRUE(holds(error_of([&] { parsed("0.4"); }), "expected a table"));
}

}  // namespace
}  // namespace introspect
