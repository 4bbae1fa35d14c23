// The store and the sets in it, without a model: firings are drawn.
#include "feature/context_store.h"

#include "base/random.h"
#include "base/temporary_folder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

constexpr int64_t latents = 7, length = 6;

ContextSettings few() {
  ContextSettings settings;
  settings.length = length;
  settings.top = 5;
  settings.quantiles = 3;
  settings.per_quantile = 2;
  settings.random = 4;
  settings.near_miss = 3;
  settings.seed = 11;
  return settings;
}

// A piece with what two layers do on it.
struct Sample {
  Piece piece;
  PieceFirings firings[2];
  std::vector<float> nearest[2];
};

// Some pieces come several times, most latents fire on some only, and one never does.
std::vector<Sample> draw_samples(int64_t count) {
  std::vector<Sample> samples(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    Sample& sample = samples[static_cast<size_t>(i)];
    Random random(i % 10 == 9 ? i - 9 : i, "sample");
    std::vector<int32_t> tokens{0};
    for (uint64_t t = 0; t < 2 + random.below(length - 2); ++t)
      tokens.push_back(static_cast<int32_t>(random.below(50)));
    sample.piece = make_piece(tokens);
    for (int layer = 0; layer < 2; ++layer) {
      sample.nearest[layer].assign(latents, -INFINITY);
      for (int32_t latent = 0; latent < latents; ++latent) {
        const bool fires = latent != 3 && random.below(latents) < static_cast<uint64_t>(latent);
        if (!fires && random.below(4) > 0) sample.nearest[layer][latent] = static_cast<float>(random.normal());
        for (int32_t t = 1; fires && t < static_cast<int32_t>(tokens.size()); ++t) {
          // a wide range of sizes, so that maxima grow over many bins
          if (t > 1 && random.below(2) == 0) continue;
          const float value = static_cast<float>(std::exp(2 * random.normal()));
          sample.firings[layer].firings.push_back({latent, {t, value}});
        }
      }
      sample.firings[layer].nearest = sample.nearest[layer].data();
    }
  }
  return samples;
}

ContextSet collect(const std::vector<Sample>& samples, size_t begin, size_t end) {
  ContextSet set(few(), {{1, latents}, {4, latents}});
  for (size_t i = begin; i < end; ++i) {
    const Sample& sample = samples[i];
    set.add(sample.piece, {sample.firings[0], sample.firings[1]}, std::ssize(sample.piece.tokens) - 1);
  }
  return set;
}

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    files[entry.path().filename().string()] = read_text(entry.path());
  }
  return files;
}

std::map<std::string, std::string> written(const ContextSet& set) {
  TemporaryFolder folder;
  write_contexts(set, {{"text", "drawn"}}, folder.path());
  return files_of(folder.path());
}

TEST(ContextStore, KeepsWhatSortingEverythingWouldGive) {
  const std::vector<Sample> samples = draw_samples(400);
  TemporaryFolder folder;
  write_contexts(collect(samples, 0, samples.size()), {{"text", "drawn"}}, folder.path());
  const ContextStore store = ContextStore::open(folder.path());
  EXPECT_EQ(store.layers(), (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(store.info().at("text"), "drawn");

  std::map<uint64_t, const Sample*> distinct;
  int64_t positions = 0;
  for (const Sample& sample : samples) {
    distinct[sample.piece.id] = &sample;
    positions += std::ssize(sample.piece.tokens) - 1;
  }
  EXPECT_EQ(store.positions(), positions);
  EXPECT_EQ(store.random_tokens().sizes(), (at::IntArrayRef{4, length}));

  for (int layer = 0; layer < 2; ++layer) {
    const int64_t index = layer == 0 ? 1 : 4;
    const at::Tensor rate = store.firing_rate(index), maximum = store.maximum(index), counts = store.histogram(index);
    for (int64_t latent = 0; latent < latents; ++latent) {
      std::vector<std::pair<float, uint64_t>> by_value, near;  // negative values: the highest come first
      int64_t fired = 0;
      const auto largest = [&](const Sample& sample) {
        float value = 0;
        for (const LatentFiring& each : sample.firings[layer].firings) {
          if (each.latent == latent) value = std::max(value, each.firing.value);
        }
        return value;
      };
      for (const auto& [id, sample] : distinct) {
        if (largest(*sample) > 0) by_value.emplace_back(-largest(*sample), id);
        const float nearest = sample->nearest[layer][static_cast<size_t>(latent)];
        if (nearest > -INFINITY) near.emplace_back(-nearest, id);
      }
      for (const Sample& sample : samples) {
        for (const LatentFiring& each : sample.firings[layer].firings) fired += each.latent == latent;
      }
      std::sort(by_value.begin(), by_value.end());
      std::sort(near.begin(), near.end());
      const float most = by_value.empty() ? 0 : -by_value[0].first;
      EXPECT_EQ(maximum[latent].item<float>(), most);
      EXPECT_NEAR(rate[latent].item<double>(), static_cast<double>(fired) / static_cast<double>(positions), 1e-6);
      EXPECT_EQ(counts[latent].sum().item<int64_t>(), fired);

      // the expected list: top, then of each part the lowest priorities of what is left
      std::vector<std::pair<ContextKind, uint64_t>> expected;
      std::set<uint64_t> seen;
      for (size_t i = 0; i < std::min<size_t>(5, by_value.size()); ++i) {
        expected.emplace_back(ContextKind::top, by_value[i].second);
        seen.insert(by_value[i].second);
      }
      const std::vector<int32_t> bins = part_bins(activation_bin(most), 3);
      const FeatureContexts contexts = store.contexts(index, latent);
      for (int64_t part = 2; part >= 0; --part) {
        std::set<uint64_t> members;
        for (const auto& [negative, id] : by_value) {
          const int32_t bin = activation_bin(-negative);
          const bool above = part == 0 || bin >= bins[part - 1], below = part == 2 || bin < bins[part];
          if (above && below && !seen.contains(id)) members.insert(id);
        }
        int64_t got = 0;
        for (size_t c = 0; c < contexts.kinds.size(); ++c) {
          if (contexts.kinds[c] != ContextKind::quantile) continue;
          const int32_t bin = activation_bin(contexts.values[static_cast<int64_t>(c)].item<float>());
          got += (part == 0 || bin >= bins[part - 1]) && (part == 2 || bin < bins[part]);
        }
        EXPECT_LE(got, 2);
        if (members.empty()) {
          EXPECT_EQ(got, 0);
        }
        if (std::ssize(members) >= 6) {
          EXPECT_EQ(got, 2) << "part " << part << " of " << members.size();
        }
      }
      for (size_t c = 0; c < expected.size(); ++c) {
        ASSERT_LT(c, contexts.kinds.size());
        EXPECT_EQ(contexts.kinds[c], ContextKind::top);
        const Sample& sample = *distinct.at(expected[c].second);
        const auto row = static_cast<int64_t>(c);
        at::Tensor activations = at::zeros({length});
        for (const LatentFiring& each : sample.firings[layer].firings) {
          if (each.latent == latent) activations[each.firing.position] = each.firing.value;
        }
        EXPECT_TRUE(at::equal(contexts.activations[row], activations));
        for (int64_t t = 0; t < length; ++t) {
          const int32_t token = t < std::ssize(sample.piece.tokens) ? sample.piece.tokens[static_cast<size_t>(t)] : -1;
          EXPECT_EQ(contexts.tokens[row][t].item<int32_t>(), token);
        }
      }
      size_t misses = 0;
      for (size_t c = 0; c < contexts.kinds.size(); ++c) {
        if (contexts.kinds[c] != ContextKind::near_miss) continue;
        EXPECT_EQ(contexts.values[static_cast<int64_t>(c)].item<float>(), -near[misses++].first);
        EXPECT_EQ(contexts.activations[static_cast<int64_t>(c)].abs().sum().item<float>(), 0);
      }
      EXPECT_EQ(misses, std::min<size_t>(3, near.size()));
      EXPECT_EQ(most == 0, latent == 3 || latent == 0);
    }
  }
}

TEST(ContextStore, DoesNotDependOnTheOrderOfThePieces) {
  std::vector<Sample> samples = draw_samples(300);
  const auto files = written(collect(samples, 0, samples.size()));
  std::reverse(samples.begin(), samples.end());
  // moving a sample moves its lists, whose memory stays where it was
  EXPECT_EQ(written(collect(samples, 0, samples.size())), files);
  Random(1, "order").shuffle(samples);
  EXPECT_EQ(written(collect(samples, 0, samples.size())), files);
}

TEST(ContextStore, MergedPartsAndReadAgainIsTheSame) {
  const std::vector<Sample> samples = draw_samples(300);
  const auto files = written(collect(samples, 0, samples.size()));
  TemporaryFolder folder;
  write_contexts(collect(samples, 0, 40), {}, folder / "a");
  write_contexts(collect(samples, 40, 300), {}, folder / "b");
  ContextSet set = ContextStore::open(folder / "a").read();
  set.merge(ContextStore::open(folder / "b").read());
  EXPECT_EQ(written(set), files);
  // the other way round, and going on after a stop
  set = ContextStore::open(folder / "b").read();
  for (size_t i = 0; i < 40; ++i) {
    set.add(samples[i].piece, {samples[i].firings[0], samples[i].firings[1]}, std::ssize(samples[i].piece.tokens) - 1);
  }
  EXPECT_EQ(written(set), files);
}

TEST(ContextStore, OtherSettingsAreNotMerged) {
  ContextSet set(few(), {{1, latents}});
  ContextSettings other = few();
  other.top = 6;
  EXPECT_TRUE(holds(error_of([&] { set.merge(ContextSet(other, {{1, latents}})); }), "cannot be merged"));
  EXPECT_TRUE(holds(error_of([&] { set.merge(ContextSet(few(), {{2, latents}})); }), "cannot be merged"));
  other.length = 1;
  EXPECT_TRUE(holds(error_of([&] { ContextSet(other, {{1, latents}}); }), "length: got 1"));
}

TEST(ContextStore, BinsAreLogarithmic) {
  EXPECT_EQ(bin_edge(activation_bin(1.0f)), 1);
  EXPECT_EQ(bin_edge(activation_bin(1.99f)), 1.875);
  for (const float value : {1e-30f, 0.3f, 7.0f, 1e30f}) {
    EXPECT_LE(bin_edge(activation_bin(value)), value);
    EXPECT_GT(bin_edge(activation_bin(value) + 1), value);
  }
  EXPECT_EQ(histogram_bin(1e-9f), 0);
  EXPECT_EQ(histogram_bin(1e9f), histogram_bins - 1);
  EXPECT_EQ(histogram_edge(histogram_bin(3.1f)), 3);
  EXPECT_EQ(histogram_edge(0), std::ldexp(1, -16));
  const std::vector<int32_t> bins = part_bins(activation_bin(1.9f), 5);
  ASSERT_EQ(bins.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(bin_edge(bins[i]), 0.4 * static_cast<double>(i + 1), 0.06);
}

// Every file of a store cut at any place, and contexts.json that says something else, give an Error that names a file.
TEST(ContextStore, DamagedFilesGiveErrors) {
  const std::vector<Sample> samples = draw_samples(60);
  TemporaryFolder folder;
  write_contexts(collect(samples, 0, samples.size()), {}, folder / "good");
  const auto read_all = [&](const fs::path& path) {
    const ContextStore store = ContextStore::open(path);
    store.read();
    for (int64_t latent = 0; latent < latents; ++latent) store.contexts(1, latent);
  };
  read_all(folder / "good");
  const auto files = files_of(folder / "good");
  EXPECT_EQ(files.size(), 4u);
  for (const auto& [name, bytes] : files) {
    for (const double share : {0.0, 0.01, 0.3, 0.9, 0.99}) {
      fs::remove_all(folder / "bad");
      fs::copy(folder / "good", folder / "bad");
      folder.write("bad/" + name, bytes.substr(0, static_cast<size_t>(static_cast<double>(bytes.size()) * share)));
      EXPECT_TRUE(holds(error_of([&] { read_all(folder / "bad"); }), name)) << name << " cut at " << share;
    }
    fs::remove(folder / "bad" / name);
    EXPECT_TRUE(holds(error_of([&] { read_all(folder / "bad"); }), name));
  }
  const auto edited = [&](const std::function<void(Json&)>& edit) {
    fs::remove_all(folder / "bad");
    fs::copy(folder / "good", folder / "bad");
    Json info = read_json(folder / "bad" / "contexts.json");
    edit(info);
    write_json(folder / "bad" / "contexts.json", info);
    return error_of([&] { read_all(folder / "bad"); });
  };
  EXPECT_TRUE(holds(edited([](Json& info) { info["layers"][0]["latents"] = 8; }), "expected 8"));
  EXPECT_TRUE(holds(edited([](Json& info) { info["layers"][0]["latents"] = -1; }), "-1 latents"));
  EXPECT_TRUE(holds(edited([](Json& info) { info["layers"][0]["layer"] = 9; }), "layer-9"));
  EXPECT_TRUE(holds(edited([](Json& info) { info["layers"] = Json::array(); }), "'layers'"));
  EXPECT_TRUE(holds(edited([](Json& info) { info["settings"]["length"] = 5; }), "expected 5"));
  EXPECT_TRUE(holds(edited([](Json& info) { info["settings"]["top"] = -5; }), "top: got -5"));
  EXPECT_TRUE(holds(edited([](Json& info) { info["format"] = "?"; }), "format"));
  EXPECT_TRUE(holds(error_of([&] { ContextStore::open(folder / "nowhere"); }), "contexts.json is missing"));
  const ContextStore store = ContextStore::open(folder / "good");
  EXPECT_TRUE(holds(error_of([&] { store.contexts(2, 0); }), "the store has layers 1, 4"));
  EXPECT_TRUE(holds(error_of([&] { store.contexts(1, latents); }), "has 7 latents"));
}

// Random bytes written over the tensors: an Error or a result, never a crash.
TEST(ContextStore, HostileNumbersGiveErrorsOrResults) {
  const std::vector<Sample> samples = draw_samples(60);
  TemporaryFolder folder;
  write_contexts(collect(samples, 0, samples.size()), {}, folder / "bad");
  const auto files = files_of(folder / "bad");
  int64_t errors = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Random random(seed, "damage");
    const std::string name = random.below(3) == 0 ? "pieces.safetensors" : "layer-1.safetensors";
    std::string bytes = files.at(name);
    uint64_t header = 0;
    std::memcpy(&header, bytes.data(), 8);
    for (int i = 0; i < 4; ++i) {
      bytes[8 + header + random.below(bytes.size() - 8 - header)] = static_cast<char>(random.below(256));
    }
    folder.write("bad/" + name, bytes);
    try {
      const ContextStore store = ContextStore::open(folder / "bad");
      for (int64_t latent = 0; latent < latents; ++latent) {
        store.contexts(1, latent);
        store.random_activations(1, latent);
      }
      store.read();
    } catch (const Error&) {
      ++errors;
    }
    folder.write("bad/" + name, files.at(name));
  }
  EXPECT_GT(errors, 0);
}

}  // namespace
}  // namespace introspect
