// How fast the patching sweep is against full re-runs of every patched prompt: one at a time, and packed in batches.
//   bench_patching_sweep [--model FOLDER] [--facts FOLDER] [--prompts N] [--rows N] [--threads N]
// Without a model: a random one of the bundled shape and random tokens.
#include "base/random.h"
#include "common.h"
#include "model/model.h"
#include "procedure/patching.h"
#include "procedure/saved_chunks.h"
#include "procedure/saved_sweep.h"
#include "procedure/sweep.h"

#include <cstdlib>
#include <string>
#include <tuple>

#include <ATen/Parallel.h>
#include <fmt/format.h>

namespace introspect {
namespace {

std::vector<SweepPrompt> random_prompts(int64_t count, int64_t vocabulary) {
  Random random(1, "bench");
  std::vector<SweepPrompt> prompts;
  for (int64_t p = 0; p < count; ++p) {
    SweepPrompt prompt;
    const int64_t length = 40 + static_cast<int64_t>(random.below(11));
    for (int64_t t = 0; t < length; ++t) {
      prompt.tokens.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary))));
      prompt.counterfactual.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary))));
      if (t == 0) continue;
      prompt.positions.push_back(t);
      prompt.sources.push_back(t);
    }
    prompt.answer = {1};
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::vector<SweepPrompt> fact_prompts(const Model& model, const std::string& model_folder,
                                      const std::string& facts_folder, int64_t count) {
  PatchingSettings settings;
  settings.pairs.max_pairs = count;
  DropReport dropped;
  std::vector<SweepPrompt> prompts;
  for (const PatchPrompt& prompt :
       make_patch_prompts(model, Tokenizer::open(model_folder), read_facts(facts_folder), settings, dropped)) {
    prompts.push_back(sweep_prompt_of(prompt));
  }
  return prompts;
}

struct Timing {
  double patches = 0, seconds = 0;
  double rate() const { return patches / seconds; }
};

template <class Run>
Timing timed(const Run& run) {
  const double start = now();
  const std::vector<SweepResult> results = run();
  Timing timing;
  timing.seconds = now() - start;
  for (const SweepResult& result : results) {
    for (const auto& block : result.after) timing.patches += static_cast<double>(block.size());
  }
  return timing;
}

// As the data set's sweep does it: chunks beside each other.
std::vector<SweepResult> sweep_in_chunks(const Model& model, const std::vector<SweepPrompt>& prompts,
                                         const SweepSettings& settings) {
  constexpr size_t chunk = 8;
  std::vector<SweepResult> results(prompts.size());
  std::vector<std::function<void()>> work;
  for (size_t begin = 0; begin < prompts.size(); begin += chunk) {
    work.emplace_back([&, begin] {
      std::vector<SweepResult> made =
          sweep_prompts(model, slice(prompts, begin, std::min(prompts.size(), begin + chunk)), settings);
      std::move(made.begin(), made.end(), results.begin() + static_cast<std::ptrdiff_t>(begin));
    });
  }
  run_chunks(model, work);
  return results;
}

int64_t differing(const std::vector<SweepResult>& a, const std::vector<SweepResult>& b) {
  int64_t count = 0;
  for (size_t p = 0; p < a.size(); ++p) {
    for (size_t block = 0; block < a[p].after.size(); ++block) {
      for (size_t i = 0; i < a[p].after[block].size(); ++i) count += a[p].after[block][i] != b[p].after[block][i];
    }
  }
  return count;
}

int run(int argc, char** argv) {
  std::string model_folder, facts_folder = INTROSPECT_SOURCE_DIR "/facts";
  int64_t count = 16;
  SweepSettings settings;
  settings.only_correct = false;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--model") model_folder = argv[i + 1];
    if (option == "--facts") facts_folder = argv[i + 1];
    if (option == "--prompts") count = std::atoll(argv[i + 1]);
    if (option == "--rows") settings.rows_per_pass = std::atoll(argv[i + 1]);
    if (option == "--threads") at::set_num_threads(std::atoi(argv[i + 1]));
  }
  const Model model = model_folder.empty() ? create_model(bundled_shape(), 1) : load_model(model_folder);
  const std::vector<SweepPrompt> prompts = model_folder.empty()
                                               ? random_prompts(count, model.config.vocab_size)
                                               : fact_prompts(model, model_folder, facts_folder, count);
  const std::vector<SweepPrompt> few(prompts.begin(), prompts.begin() + std::min<int64_t>(2, std::ssize(prompts)));
  double positions = 0;
  for (const SweepPrompt& prompt : prompts) positions += static_cast<double>(prompt.tokens.size());
  fmt::print("{} prompts of {:.1f} tokens, {} layers in {} blocks, {} threads\n", prompts.size(),
             positions / static_cast<double>(prompts.size()), model.config.layers, settings.blocks,
             at::get_num_threads());

  // warm up, and see that all three say the same
  const auto ours = sweep_in_chunks(model, few, settings);
  fmt::print("labels that differ: {} from single runs, {} from batched runs\n",
             differing(ours, sweep_by_full_runs(model, few, settings, 1)),
             differing(ours, sweep_by_full_runs(model, few, settings, 45)));

  // Full runs compute logits everywhere, as a plain run of a model does; for comparison also at the last position only.
  // Batched runs are given the best of three batch sizes. Rounds are interleaved, so that a busy machine slows all.
  Timing sweep, single[2], batched[2];
  const std::vector<SweepPrompt> some(prompts.begin(), prompts.begin() + std::min<int64_t>(3, std::ssize(prompts)));
  for (int round = 0; round < 3; ++round) {
    const auto better = [](Timing& best, const Timing& timing) {
      if (best.seconds == 0 || timing.rate() > best.rate()) best = timing;
    };
    better(sweep, timed([&] { return sweep_in_chunks(model, prompts, settings); }));
    for (const bool all_logits : {true, false}) {
      better(single[all_logits], timed([&] { return sweep_by_full_runs(model, few, settings, 1, all_logits); }));
      for (const int64_t size : {8, 16, 64}) {
        better(batched[all_logits], timed([&] { return sweep_by_full_runs(model, some, settings, size, all_logits); }));
      }
    }
  }
  fmt::print("sweep                          {:>6.0f} patches/s\n", sweep.rate());
  for (const bool all_logits : {true, false}) {
    fmt::print("full runs{}\n", all_logits ? "" : " with logits at the last position only");
    for (const auto& [name, timing, wanted] :
         {std::tuple{"one at a time", single[all_logits], 10.0}, std::tuple{"batched", batched[all_logits], 2.5}}) {
      const std::string goal = all_logits ? fmt::format(" (wanted: {})", wanted) : "";
      fmt::print("  {:<27}  {:>6.0f} patches/s: sweep {:.1f}x{}\n", name, timing.rate(), sweep.rate() / timing.rate(),
                 goal);
    }
  }
  return 0;
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  return introspect::reporting_errors(introspect::run, argc, argv);
}
