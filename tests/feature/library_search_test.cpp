// The search: it finds what a feature does, equals simulating every candidate, and prefers the broader description.
#include "feature/library_search.h"

#include "base/random.h"
#include "feature/correlation.h"
#include "feature/describe.h"
#include "feature/small_library.h"
#include "feature/symbolic_simulator.h"

#include <cmath>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using small::library;

constexpr size_t length = 40;

// Contexts of random sentences on which a feature does what `truth` says, each firing 1 to 2, and nothing else but
// `noise` times as often 1.
FeatureContexts contexts_of(const std::string& truth, double noise = 0, uint64_t seed = 1, int64_t count = 60) {
  const std::vector<std::string> words = {
      "dog",  "cow", "cat",   "horse", "pig",  "hen", "the",  "a",   "of", "in", "to", "Paris", "ran",    "said",
      "Rome", "May", "March", "April", "June", "and", "blue", "big", ",",  ".",  "he", "Zebra", "France", "Oslo"};
  Random random(seed, "sentences");
  std::vector<int32_t> tokens;
  for (int64_t c = 0; c < count; ++c) {
    std::string text;
    for (int i = 0; i < 14; ++i) {
      const std::string& word = words[random.below(words.size())];
      text += (word == "," || word == "." ? "" : " ") + word;
    }
    for (const int32_t token : small::tokens(text, length)) tokens.push_back(token);
  }
  FeatureContexts contexts;
  contexts.layer = 3, contexts.latent = 7;
  contexts.tokens = at::tensor(at::ArrayRef<int32_t>(tokens), at::kInt).view({count, static_cast<int64_t>(length)});
  for (int64_t c = 0; c < count; ++c) contexts.kinds.push_back(c % 3 ? ContextKind::random : ContextKind::top);
  contexts.activations = SymbolicSimulator(library()).simulate(truth, contexts.tokens).value();
  float* values = contexts.activations.data_ptr<float>();
  for (int64_t i = 0; i < contexts.activations.numel(); ++i) {
    if (values[i] > 0) values[i] = static_cast<float>(1 + random.uniform());
    const bool counts = i % static_cast<int64_t>(length) != 0 && tokens[static_cast<size_t>(i)] >= 0;
    if (counts && random.uniform() < noise) values[i] = 1;
  }
  return contexts;
}

Description found(const std::string& truth, double noise = 0) {
  LibrarySearch search(library(), {});
  const std::vector<Description> descriptions = search.describe(contexts_of(truth, noise, 1, 600));
  return descriptions.empty() ? Description{} : descriptions[0];
}

TEST(LibrarySearch, FindsWhatAFeatureDoes) {
  for (const char* truth :
       {"the word \"dog\"", "words for animals", "months", "after the word \"of\"", "before the word \"the\"", "commas",
        "at the start of a text", "the word \"dog\" or \"paris\"", "the word \"the\" after the word \"of\"",
        "after words for animals", "said before in the text"}) {
    const SymbolicSimulator simulator(library());
    const Description best = found(truth);
    const FeatureContexts contexts = contexts_of(truth);
    const at::Tensor same = simulator.simulate(best.text, contexts.tokens).value();
    const at::Tensor wanted = simulator.simulate(truth, contexts.tokens).value();
    EXPECT_GT(correlation(wanted, same, contexts.tokens), 0.97) << truth << " became " << best.text;
    EXPECT_GT(best.held_out, 0.8) << truth;
    EXPECT_EQ(best.source, "library");
  }
}

TEST(LibrarySearch, ScoresAreThoseOfTheSimulator) {
  const SymbolicSimulator simulator(library());
  for (const char* truth : {"words for animals", "the word \"the\" after the word \"of\"", "after the word \"of\""}) {
    const FeatureContexts contexts = contexts_of(truth, 0.05);
    LibrarySearch search(library(), {});
    DescribedFeature feature{3, 7, search.describe(contexts)};
    ASSERT_FALSE(feature.descriptions.empty());
    const std::vector<Description> fast = feature.descriptions;
    choose_description(feature, contexts, simulator);
    for (const Description& slow : feature.descriptions) {
      const auto same =
          std::find_if(fast.begin(), fast.end(), [&](const auto& each) { return each.text == slow.text; });
      ASSERT_NE(same, fast.end());
      EXPECT_NEAR(same->score, slow.score, 1e-9) << slow.text;
      if (std::isnan(same->held_out) && std::isnan(slow.held_out)) continue;  // it never holds there
      EXPECT_NEAR(same->held_out, slow.held_out, 1e-9) << slow.text;
    }
  }
}

TEST(LibrarySearch, PrefersTheBroaderKindOnlyIfItIsAboutSeveralWords) {
  EXPECT_EQ(found("months").text, "months");
  // "dog" is an animal, but animals are not what the feature is about
  EXPECT_EQ(found("the word \"dog\"").kind, "word");
  EXPECT_EQ(found("the token \" dog\"").kind, "word");
  EXPECT_EQ(found("the word \"april\" or \"may\"").kind, "words");
}

TEST(LibrarySearch, NothingForAFeatureThatDoesNotFire) {
  FeatureContexts contexts = contexts_of("months");
  contexts.activations.zero_();
  LibrarySearch search(library(), {});
  EXPECT_TRUE(search.describe(contexts).empty());
}

TEST(LibrarySearch, DoesNotDependOnWhatWasSearchedBefore) {
  LibrarySearch fresh(library(), {}), used(library(), {});
  used.describe(contexts_of("words for animals", 0.1, 2));
  used.describe(contexts_of("commas", 0.1, 3));
  const auto a = fresh.describe(contexts_of("months", 0.1)), b = used.describe(contexts_of("months", 0.1));
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].text, b[i].text);
    EXPECT_EQ(a[i].score, b[i].score);
    EXPECT_EQ(a[i].held_out, b[i].held_out);
  }
}

TEST(LibrarySearch, RefusesWrongShapesAndNumbers) {
  LibrarySearch search(library(), {});
  FeatureContexts contexts = contexts_of("months");
  contexts.activations.select(0, 0).select(0, 3).fill_(std::nan(""));
  EXPECT_TRUE(holds(error_of([&] { search.describe(contexts); }), "feature 7 of layer 3"));
  contexts = contexts_of("months");
  contexts.kinds.pop_back();
  EXPECT_TRUE(holds(error_of([&] { search.describe(contexts); }), "expected tokens [C, T] int32"));
}

TEST(Describe, SortsFeaturesIntoDescribedUndescribedAndRare) {
  ContextSource source;
  source.latents_of_layers = {{0, 2}, {3, 2}};
  source.contexts = [](int64_t layer, int64_t latent) {
    FeatureContexts contexts = contexts_of(latent == 0 ? "months" : "commas");
    contexts.layer = layer, contexts.latent = latent;
    if (layer == 3 && latent == 0) {  // noise
      Random random(9, "noise");
      float* values = contexts.activations.data_ptr<float>();
      for (int64_t i = 0; i < contexts.activations.numel(); ++i) {
        const bool counts = i % static_cast<int64_t>(length) != 0 && contexts.tokens.view({-1})[i].item<int>() >= 0;
        values[i] = counts && random.uniform() < 0.1 ? 1.0f : 0.0f;
      }
    }
    if (layer == 3 && latent == 1) contexts.activations.narrow(0, 3, contexts.activations.size(0) - 3).zero_();
    return contexts;
  };
  DescribeSettings settings;
  settings.workers = 2;
  const DescribedFeatures features = describe_features(source, library(), settings);
  ASSERT_EQ(features.described.size(), 2u);
  EXPECT_EQ(features.described[0].descriptions[0].text, "months");
  EXPECT_EQ(features.described[1].descriptions[0].text, "commas");
  ASSERT_EQ(features.undescribed.size(), 1u);
  EXPECT_EQ(features.undescribed[0].layer, 3);
  ASSERT_EQ(features.rare.size(), 1u);
  const Json summary = summarize(features, settings.min_score);
  EXPECT_EQ(summary.at("features"), 4);
  EXPECT_EQ(summary.at("described"), 2);
  EXPECT_DOUBLE_EQ(summary.at("share_described").get<double>(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(summary.at("kinds").at("morphology").get<double>(), 0.5);
  EXPECT_EQ(summary.at("layers").at("0").at("described"), 2);
  EXPECT_EQ(summary.at("chance").at("features"), 2);  // latent 0 of both layers
}

TEST(Describe, ShuffledActivationsStayWithinTheirContextAndTellWhatChanceGives) {
  const FeatureContexts contexts = contexts_of("months");
  const FeatureContexts shuffled = with_shuffled_activations(contexts, 1);
  EXPECT_FALSE(shuffled.activations.equal(contexts.activations));
  EXPECT_TRUE(with_shuffled_activations(contexts, 1).activations.equal(shuffled.activations));
  EXPECT_TRUE(at::allclose(shuffled.activations.sum(1), contexts.activations.sum(1)));
  EXPECT_EQ(shuffled.activations.select(1, 0).abs().sum().item<float>(), 0);
  EXPECT_EQ(shuffled.activations.masked_select(contexts.tokens.lt(0)).abs().sum().item<float>(), 0);

  ContextSource source;
  source.latents_of_layers = {{0, 8}};
  source.contexts = [&](int64_t layer, int64_t latent) {
    FeatureContexts own = contexts;
    own.layer = layer, own.latent = latent;
    return own;
  };
  DescribeSettings settings;
  settings.chance_every = 2;
  const DescribedFeatures features = describe_features(source, library(), settings);
  EXPECT_EQ(features.described.size(), 8u);
  const Json chance = summarize(features, settings.min_score).at("chance");
  EXPECT_EQ(chance.at("features"), 4);
  EXPECT_EQ(chance.at("described"), 0);
  EXPECT_LT(chance.at("held_out").at("median").get<double>(), features.described[0].descriptions[0].held_out - 0.3);
}

TEST(Descriptions, AreSavedAndLoaded) {
  const TemporaryFolder folder;
  const fs::path file = folder / "descriptions.jsonl";
  save_descriptions({{4, 17, {{"words for \"é\"\n", "category", "library", 0.5, std::nan("")}}}, {4, 18, {}}}, file);
  const auto loaded = load_descriptions(file);
  ASSERT_EQ(loaded.size(), 2u);
  EXPECT_EQ(loaded[0].layer, 4);
  EXPECT_EQ(loaded[0].latent, 17);
  EXPECT_EQ(loaded[0].descriptions[0].text, "words for \"é\"\n");
  EXPECT_EQ(loaded[0].descriptions[0].score, 0.5);
  EXPECT_TRUE(std::isnan(loaded[0].descriptions[0].held_out));
  EXPECT_TRUE(loaded[1].descriptions.empty());
}

TEST(Descriptions, BrokenFilesAreNamedWithTheirLine) {
  const TemporaryFolder folder;
  const std::string good = "{\"layer\": 0, \"latent\": 1, \"descriptions\": []}\n";
  const auto error = [&](const std::string& text) {
    const fs::path file = folder.write("d.jsonl", text);
    return error_of([&] { load_descriptions(file); });
  };
  EXPECT_TRUE(holds(error(good + good), "d.jsonl:2"));
  EXPECT_TRUE(holds(error(good + good), "twice"));
  EXPECT_TRUE(holds(error(good + "{\"layer\": 0}\n"), "d.jsonl:2"));
  EXPECT_TRUE(holds(error("{\"layer\": 0, \"latent\": -1, \"descriptions\": []}\n"), "expected at least 0"));
  EXPECT_TRUE(holds(error("{\"layer\": 0, \"latent\": 1, \"descriptions\": 3}\n"), "expected a list"));
  EXPECT_TRUE(holds(error("{\"layer\": 0, \"latent\": 1, \"descriptions\": [{\"kind\": \"x\"}]}\n"), "text"));
}

TEST(ChooseDescription, PutsUnparsableCandidatesLast) {
  const FeatureContexts contexts = contexts_of("months");
  DescribedFeature feature{3, 7, {}};
  for (const char* text : {"fires on the moon", "commas", "months"})
    feature.descriptions.push_back({text, "", "x", 0, 0});
  choose_description(feature, contexts, SymbolicSimulator(library()));
  EXPECT_EQ(feature.descriptions[0].text, "months");
  EXPECT_GT(feature.descriptions[0].held_out, 0.9);
  EXPECT_EQ(feature.descriptions[2].text, "fires on the moon");
  EXPECT_TRUE(std::isnan(feature.descriptions[2].score));
}

}  // namespace
}  // namespace introspect
