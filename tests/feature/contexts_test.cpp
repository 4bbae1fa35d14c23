// Contexts of a tiny random model against a plain search over all of its activations.
#include "base/temporary_folder.h"
#include "feature/collect_contexts.h"
#include "feature/context_store.h"
#include "model/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::random_tensor;
using test::tiny_model;
using test::tiny_tokenizer;

constexpr int64_t latents = 37, length = 12;

Sae random_sae(SaeKind kind, int64_t layer, uint64_t seed) {
  Sae sae;
  sae.kind = kind;
  sae.k = 5;
  sae.encoder = random_tensor({latents, 48}, seed) * 0.1;
  sae.encoder_bias = random_tensor({latents}, seed + 1) * 0.1;
  sae.decoder = random_tensor({latents, 48}, seed + 2);
  sae.decoder_bias = random_tensor({48}, seed + 3) * 0.1;
  if (kind == SaeKind::jumprelu || kind == SaeKind::batchtopk) {
    sae.threshold = random_tensor({latents}, seed + 4).abs() + 0.5;
  }
  if (kind == SaeKind::gated) {
    sae.gate_bias = random_tensor({latents}, seed + 5) * 0.1 - 1;
    sae.magnitude = random_tensor({latents}, seed + 6) * 0.1;
  }
  sae.encoder_bias[3] = -1000;  // never fires
  if (kind == SaeKind::gated) sae.gate_bias[3] = -1000;
  sae.place = {PlaceKind::resid_post, layer};
  return sae;
}

// Words of the tiny tokenizer's text in random order, over several lines; some lines come twice.
std::string random_text(int64_t words, uint64_t seed) {
  const char* known[] = {"cat", "dog", "bird", "the", "and", "sat", "on", "mat", "then", "zebra", "at"};
  Random random(seed, "text");
  std::string text;
  for (int64_t i = 0; i < words; ++i) {
    text += known[random.below(11)];
    text += random.below(9) == 0 ? "\n" : " ";
  }
  return text + text.substr(0, text.size() / 3);
}

CollectSettings few() {
  CollectSettings settings;
  settings.contexts = {length, 4, 3, 2, 5, 3, 7};
  settings.tokens = 1 << 20;
  settings.pass_pieces = 8;
  return settings;
}

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) files[entry.path().filename().string()] = read_text(entry.path());
  }
  return files;
}

struct Setting {
  TemporaryFolder folder;
  Model model = tiny_model();
  std::vector<Sae> saes;
  fs::path text;

  explicit Setting(SaeKind kind, int64_t words = 600) {
    saes = {random_sae(kind, 2, 20), random_sae(kind, 0, 10)};
    text = folder.write("text.txt", random_text(words, 3));
  }
  CollectResult collect(const CollectSettings& settings, const std::string& name) const {
    const auto pieces = file_pieces({text}, tiny_tokenizer(), settings.contexts.length);
    return collect_contexts(model, tiny_tokenizer(), saes, *pieces, settings, {{"text", "words"}}, folder / name);
  }
};

// All activations of the distinct pieces, one forward pass each.
struct Reference {
  std::map<uint64_t, Piece> pieces;
  std::map<uint64_t, at::Tensor> activations, gates;  // [T, L]
  int64_t positions = 0;
  at::Tensor fired = at::zeros({latents});
};

Reference reference(const Setting& setting, const Sae& sae, int64_t piece_length) {
  Reference all;
  const auto pieces = file_pieces({setting.text}, tiny_tokenizer(), piece_length);
  while (const std::optional<Piece> piece = pieces->next()) {
    Taps taps{Tap::capture(sae.place)};
    test::run_logits(setting.model, {piece->tokens.begin(), piece->tokens.end()}, &taps);
    at::Tensor activations = encode(sae, taps[0].captured).clone();
    activations[0].zero_();
    all.positions += std::ssize(piece->tokens) - 1;
    all.fired += (activations > 0).sum(0);
    all.pieces[piece->id] = *piece;
    all.activations[piece->id] = activations;
    all.gates[piece->id] = preactivations(sae, taps[0].captured).gate.narrow(0, 1, std::ssize(piece->tokens) - 1);
  }
  return all;
}

class ContextsOfKind : public testing::TestWithParam<SaeKind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, ContextsOfKind,
                         testing::Values(SaeKind::standard, SaeKind::topk, SaeKind::jumprelu, SaeKind::gated,
                                         SaeKind::batchtopk),
                         [](const auto& instance) { return sae_kind_name(instance.param); });

TEST_P(ContextsOfKind, AreWhatASearchOverAllActivationsFinds) {
  const Setting setting(GetParam());
  const CollectResult result = setting.collect(few(), "out");
  const ContextStore store = ContextStore::open(setting.folder / "out");
  EXPECT_EQ(store.layers(), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(result.positions, store.positions());
  for (const Sae& sae : setting.saes) {
    const int64_t layer = sae.place.layer;
    const Reference all = reference(setting, sae, length);
    EXPECT_EQ(store.positions(), all.positions);
    EXPECT_LT(std::ssize(all.pieces), result.pieces) << "some pieces should come twice";
    EXPECT_LT(test::difference(store.firing_rate(layer), all.fired / static_cast<double>(all.positions)), 1e-6);
    EXPECT_LT(test::difference(store.histogram(layer).sum(1).to(at::kFloat), all.fired), 0.5);
    int64_t misses_seen = 0;
    for (int64_t latent = 0; latent < latents; ++latent) {
      std::vector<double> maxima, nearest;
      for (const auto& [id, activations] : all.activations) {
        const double maximum = activations.select(1, latent).max().item<double>();
        const double gate = all.gates.at(id).select(1, latent).max().item<double>();
        if (maximum > 0) {
          maxima.push_back(maximum);
        } else if (GetParam() != SaeKind::topk || gate > 0) {
          nearest.push_back(gate);
        }
      }
      std::sort(maxima.rbegin(), maxima.rend());
      std::sort(nearest.rbegin(), nearest.rend());
      EXPECT_NEAR(store.maximum(layer)[latent].item<double>(), maxima.empty() ? 0 : maxima[0], 1e-4);

      const FeatureContexts contexts = store.contexts(layer, latent);
      size_t top = 0, misses = 0, random = 0;
      std::set<uint64_t> seen;
      for (int64_t c = 0; c < std::ssize(contexts.kinds); ++c) {
        const double value = contexts.values[c].item<double>();
        std::vector<int32_t> tokens;
        for (int64_t t = 0; t < length; ++t) {
          const auto token = contexts.tokens[c][t].item<int32_t>();
          if (token >= 0) tokens.push_back(token);
        }
        const uint64_t id = make_piece(tokens).id;
        ASSERT_TRUE(all.pieces.contains(id));
        EXPECT_TRUE(seen.insert(id).second) << "a piece twice";
        const at::Tensor expected = all.activations.at(id).select(1, latent);
        EXPECT_LT(test::difference(contexts.activations[c].narrow(0, 0, std::ssize(tokens)), expected), 1e-4);
        EXPECT_EQ(contexts.activations[c][0].item<float>(), 0);
        switch (contexts.kinds[static_cast<size_t>(c)]) {
          case ContextKind::top:
            EXPECT_NEAR(value, maxima.at(top++), 1e-4);
            break;
          case ContextKind::near_miss:
            EXPECT_NEAR(value, nearest.at(misses++), 1e-4);
            break;
          case ContextKind::random:
            ++random;
            break;
          case ContextKind::quantile:
            EXPECT_GT(value, 0);
            break;
        }
      }
      EXPECT_EQ(top, std::min<size_t>(4, maxima.size()));
      EXPECT_EQ(misses, std::min<size_t>(3, nearest.size()));
      EXPECT_LE(random, 5u);
      misses_seen += static_cast<int64_t>(misses);

      // the random pieces, the same for every latent
      const at::Tensor tokens = store.random_tokens(), activations = store.random_activations(layer, latent);
      ASSERT_EQ(tokens.sizes(), (at::IntArrayRef{5, length}));
      for (int64_t r = 0; r < 5; ++r) {
        std::vector<int32_t> piece;
        for (int64_t t = 0; t < length; ++t) {
          if (tokens[r][t].item<int32_t>() >= 0) piece.push_back(tokens[r][t].item<int32_t>());
        }
        EXPECT_LT(test::difference(activations[r].narrow(0, 0, std::ssize(piece)),
                                   all.activations.at(make_piece(piece).id).select(1, latent)),
                  1e-4);
      }
    }
    EXPECT_GT(misses_seen, 0);
  }
}

// Which contexts are kept; values may differ in their last bits with the size of the passes.
TEST(Contexts, DoNotDependOnTheSizeOfPasses) {
  const Setting setting(SaeKind::topk);
  CollectSettings settings = few();
  setting.collect(settings, "eight");
  settings.pass_pieces = 1;
  setting.collect(settings, "one");
  const ContextStore eight = ContextStore::open(setting.folder / "eight"),
                     one = ContextStore::open(setting.folder / "one");
  for (const int64_t layer : eight.layers()) {
    EXPECT_TRUE(at::equal(eight.firing_rate(layer), one.firing_rate(layer)));
    for (int64_t latent = 0; latent < latents; ++latent) {
      const FeatureContexts a = eight.contexts(layer, latent), b = one.contexts(layer, latent);
      EXPECT_EQ(a.kinds, b.kinds);
      EXPECT_TRUE(at::equal(a.tokens, b.tokens));
      EXPECT_LT(test::difference(a.activations, b.activations), 1e-5);
    }
  }
}

TEST(Contexts, ShardsMergedAndWorkResumedAreTheSameFiles) {
  const Setting setting(SaeKind::jumprelu);
  setting.collect(few(), "whole");
  const auto whole = files_of(setting.folder / "whole");
  EXPECT_EQ(whole.size(), 4u);

  std::vector<fs::path> shards;
  for (int64_t shard = 0; shard < 3; ++shard) {
    CollectSettings settings = few();
    settings.shard = shard;
    settings.shards = 3;
    setting.collect(settings, fmt::format("shard-{}", shard));
    shards.push_back(setting.folder / fmt::format("shard-{}", shard));
  }
  std::rotate(shards.begin(), shards.begin() + 1, shards.end());
  merge_contexts(shards, setting.folder / "merged");
  EXPECT_EQ(files_of(setting.folder / "merged"), whole);
  EXPECT_TRUE(holds(error_of([&] { merge_contexts({shards[0], shards[1]}, setting.folder / "x"); }), "2 of 3 shards"));
  EXPECT_TRUE(holds(error_of([&] { merge_contexts({shards[0], shards[0]}, setting.folder / "x"); }), "given twice"));
  EXPECT_TRUE(
      holds(error_of([&] { merge_contexts({setting.folder / "whole"}, setting.folder / "x"); }), "not the store"));

  at::set_num_threads(1);  // rounds of few passes, so that there is something to stop
  CollectSettings stopping = few();
  stopping.stop_after = 1;
  int64_t stops = 0;
  for (; stops < 100; ++stops) {
    try {
      setting.collect(stopping, "stopped");
      break;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::interrupted);
      int64_t partials = 0;
      for (const auto& entry : fs::directory_iterator(setting.folder / "stopped")) partials += entry.is_directory();
      EXPECT_EQ(partials, 1);
    }
  }
  EXPECT_GT(stops, 0);
  EXPECT_EQ(files_of(setting.folder / "stopped"), whole);
}

TEST(Contexts, UnfinishedWorkOfOtherSettingsIsNotTaken) {
  const Setting setting(SaeKind::standard);
  at::set_num_threads(1);
  CollectSettings settings = few();
  settings.stop_after = 1;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "the work is kept"));
  settings.contexts.top = 3;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "cannot be merged"));
  settings = few();
  settings.tokens = 500;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "another 'tokens_wanted'"));
}

TEST(Contexts, SpecialTokensDoNotCount) {
  const Setting setting(SaeKind::standard);
  const int64_t special = *tiny_tokenizer().id("<|end|>"), begin = *tiny_tokenizer().bos();
  std::vector<int32_t> tokens{static_cast<int32_t>(begin), 40, 41, static_cast<int32_t>(special), 42, 43};
  int64_t pieces = 0;
  run_pieces(setting.model, tiny_tokenizer(), setting.saes, {make_piece(tokens)},
             [&](const Piece&, const std::vector<PieceFirings>& firings, int64_t counted) {
               ++pieces;
               EXPECT_EQ(counted, 4);
               for (const PieceFirings& layer : firings) {
                 EXPECT_FALSE(layer.firings.empty());
                 for (const LatentFiring& each : layer.firings) {
                   EXPECT_NE(each.firing.position, 0);
                   EXPECT_NE(each.firing.position, 3);
                 }
               }
             });
  EXPECT_EQ(pieces, 1);
}

TEST(Contexts, ThePiecesAreTheTextInOrder) {
  const Setting setting(SaeKind::standard);
  const auto pieces = file_pieces({setting.text, setting.text}, tiny_tokenizer(), length);
  std::vector<int64_t> twice;
  while (const std::optional<Piece> piece = pieces->next()) {
    EXPECT_EQ(piece->tokens.front(), *tiny_tokenizer().bos());
    EXPECT_LE(std::ssize(piece->tokens), length);
    twice.insert(twice.end(), piece->tokens.begin() + 1, piece->tokens.end());
  }
  std::vector<int64_t> once = tiny_tokenizer().encode_plain(read_text(setting.text));
  once.resize((twice.size()) / 2);  // a short rest may be left out
  std::vector<int64_t> expected = once;
  expected.insert(expected.end(), once.begin(), once.end());
  EXPECT_EQ(twice, expected);
  EXPECT_LT(pieces->left_out(), 8);
}

TEST(Contexts, WhatCannotBeDoneIsAnError) {
  Setting setting(SaeKind::standard);
  CollectSettings settings = few();
  settings.tokens = 0;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "0 tokens"));
  settings = few();
  settings.contexts.length = 500;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "the model has 128 positions"));
  settings = few();
  fs::resize_file(setting.text, 0);
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "holds no piece"));
  setting.folder.write("text.txt", random_text(50, 1));
  setting.saes[0].place.layer = 0;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "two SAEs of layer 0"));
  setting.saes[0].place.layer = 7;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "the model has 3 layers"));
  setting.saes = {random_sae(SaeKind::standard, 1, 5)};
  setting.model.blocks[1].down.weight[0][0] = NAN;
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "not finite"));
  fs::remove(setting.text);
  EXPECT_TRUE(holds(error_of([&] { setting.collect(settings, "out"); }), "cannot read the text"));
}

}  // namespace
}  // namespace introspect
