#include "feature/describe.h"

#include "base/error.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>

#include <ATen/Functions.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr int64_t features_of_a_job = 64;

double quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

Json quartiles(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {{"lowest", values.front()},
          {"quarter", quantile(values, 0.25)},
          {"median", quantile(values, 0.5)},
          {"three_quarters", quantile(values, 0.75)},
          {"highest", values.back()}};
}

// A feature for which nothing holds in enough contexts counts as 0.
double held_out_of(const DescribedFeature& feature) {
  if (feature.descriptions.empty()) return 0;
  const double value = feature.descriptions.front().held_out;
  return std::isfinite(value) ? value : 0;
}

Json summarize_chance(const std::vector<DescribedFeature>& chance, double min_score) {
  std::vector<double> scores;
  for (const DescribedFeature& feature : chance) scores.push_back(held_out_of(feature));
  const auto described = std::count_if(scores.begin(), scores.end(), [&](double score) { return score >= min_score; });
  return {{"features", std::ssize(scores)}, {"described", described}, {"held_out", quartiles(std::move(scores))}};
}

Json summarize_layer(const DescribedFeatures& features, std::optional<int64_t> layer) {
  const auto belongs = [&](int64_t of) { return !layer || of == *layer; };
  std::map<std::string, int64_t> counts;
  std::vector<double> scores;
  for (const DescribedFeature& feature : features.described) {
    if (!belongs(feature.layer)) continue;
    ++counts[feature.descriptions.at(0).kind];
    scores.push_back(feature.descriptions[0].held_out);
  }
  const auto undescribed = std::count_if(features.undescribed.begin(), features.undescribed.end(),
                                         [&](const DescribedFeature& each) { return belongs(each.layer); });
  const auto rare =
      std::count_if(features.rare.begin(), features.rare.end(), [&](const auto& each) { return belongs(each.first); });
  const auto described = std::ssize(scores);
  const auto judged = static_cast<double>(described + undescribed);
  Json summary{{"features", described + undescribed + rare},
               {"rare", rare},
               {"undescribed", undescribed},
               {"described", described},
               {"share_described", judged > 0 ? static_cast<double>(described) / judged : 0.0}};
  summary["kinds"] = Json::object();
  for (const std::string& kind : description_kinds()) {
    if (described > 0) summary["kinds"][kind] = static_cast<double>(counts[kind]) / static_cast<double>(described);
  }
  if (!scores.empty()) summary["held_out"] = quartiles(std::move(scores));
  return summary;
}

}  // namespace

FeatureContexts with_shuffled_activations(const FeatureContexts& contexts, uint64_t seed) {
  Random random(seed, fmt::format("shuffled activations {}:{}", contexts.layer, contexts.latent));
  FeatureContexts shuffled = contexts;
  shuffled.activations = contexts.activations.clone(at::MemoryFormat::Contiguous);
  const at::Tensor tokens = contexts.tokens.contiguous();
  const int64_t width = tokens.size(1);
  for (int64_t c = 0; c < tokens.size(0); ++c) {
    const int32_t* row = tokens.data_ptr<int32_t>() + c * width;
    float* values = shuffled.activations.data_ptr<float>() + c * width;
    std::vector<float> own;
    for (int64_t t = 1; t < width; ++t) {
      if (row[t] >= 0) own.push_back(values[t]);
    }
    random.shuffle(own);
    size_t next = 0;
    for (int64_t t = 1; t < width; ++t) {
      if (row[t] >= 0) values[t] = own[next++];
    }
  }
  return shuffled;
}

DescribedFeatures describe_features(const ContextSource& source, std::shared_ptr<const DescriptionLibrary> library,
                                    const DescribeSettings& settings,
                                    const std::function<void(int64_t, int64_t)>& progress) {
  struct Job {
    int64_t layer, first, last;
    DescribedFeatures result;
  };
  std::vector<Job> jobs;
  int64_t total = 0, done = 0;
  for (const auto& [layer, latents] : source.latents_of_layers) {
    for (int64_t first = 0; first < latents; first += features_of_a_job) {
      jobs.push_back({layer, first, std::min(first + features_of_a_job, latents), {}});
    }
    total += latents;
  }
  // Searches remember words and contexts: as many as there are threads, handed from job to job.
  std::vector<std::unique_ptr<LibrarySearch>> idle;
  std::mutex mutex;
  const auto run = [&](Job& job) {
    check_interrupt("describe");
    std::unique_ptr<LibrarySearch> search;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!idle.empty()) {
        search = std::move(idle.back());
        idle.pop_back();
      }
    }
    if (!search) search = std::make_unique<LibrarySearch>(library, settings.search);
    for (int64_t latent = job.first; latent < job.last; ++latent) {
      const FeatureContexts contexts = source.contexts(job.layer, latent);
      const int64_t active =
          contexts.activations.numel() == 0 ? 0 : std::get<0>(contexts.activations.max(1)).gt(0).sum().item<int64_t>();
      if (active < settings.least_contexts) {
        job.result.rare.emplace_back(job.layer, latent);
        continue;
      }
      DescribedFeature feature{job.layer, latent, search->describe(contexts)};
      const bool fits = !feature.descriptions.empty() && feature.descriptions[0].held_out >= settings.min_score;
      (fits ? job.result.described : job.result.undescribed).push_back(std::move(feature));
      if (settings.chance_every > 0 && latent % settings.chance_every == 0) {
        job.result.chance.push_back(
            {job.layer, latent, search->describe(with_shuffled_activations(contexts, /*seed=*/1))});
      }
    }
    const std::lock_guard<std::mutex> lock(mutex);
    idle.push_back(std::move(search));
    done += job.last - job.first;
    if (progress) progress(done, total);
  };
  std::vector<std::function<void()>> calls;
  for (Job& job : jobs) calls.push_back([&run, &job] { run(job); });
  run_parallel(calls, settings.workers);

  DescribedFeatures all;
  const auto append = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  for (Job& job : jobs) {
    append(all.described, job.result.described);
    append(all.undescribed, job.result.undescribed);
    append(all.rare, job.result.rare);
    append(all.chance, job.result.chance);
  }
  return all;
}

Json summarize(const DescribedFeatures& features, double min_score) {
  Json summary = summarize_layer(features, std::nullopt);
  std::vector<int64_t> layers;
  for (const auto* list : {&features.described, &features.undescribed}) {
    for (const DescribedFeature& feature : *list) layers.push_back(feature.layer);
  }
  for (const auto& [layer, latent] : features.rare) layers.push_back(layer);
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  summary["layers"] = Json::object();
  for (const int64_t layer : layers) summary["layers"][std::to_string(layer)] = summarize_layer(features, layer);
  if (!features.chance.empty()) summary["chance"] = summarize_chance(features.chance, min_score);
  return summary;
}

}  // namespace introspect
