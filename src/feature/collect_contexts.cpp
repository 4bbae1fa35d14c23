#include "feature/collect_contexts.h"

#include "base/error.h"
#include "base/progress.h"
#include "feature/context_store.h"
#include "feature/firings.h"
#include "model/forward.h"
#include "procedure/saved_chunks.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <mutex>
#include <set>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// Numbers of a product [positions, L] that are looked at together: they should stay in the cache.
constexpr int64_t product_numbers = 1 << 19;

void check_saes(const Model& model, const std::vector<Sae>& saes) {
  if (saes.empty()) fail_usage("contexts", "got no SAE, expected at least one");
  std::set<int64_t> layers;
  for (const Sae& sae : saes) {
    if (sae.place.layer < 0 || sae.place.layer >= model.config.layers || sae.width() != model.config.d_model) {
      fail("contexts", fmt::format("a SAE of width {} at {}: the model has {} layers of width {}", sae.width(),
                                   place_name(sae.place), model.config.layers, model.config.d_model));
    }
    if (!layers.insert(sae.place.layer).second) {
      fail_usage("contexts", fmt::format("two SAEs of layer {}, expected one a layer", sae.place.layer));
    }
  }
}

Sae on_device(Sae sae, at::Device device) {
  for (at::Tensor* tensor : {&sae.encoder, &sae.encoder_bias, &sae.decoder, &sae.decoder_bias, &sae.threshold,
                             &sae.gate_bias, &sae.magnitude}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return sae;
}

std::vector<bool> counted_positions(const Piece& piece, const Tokenizer& tokenizer) {
  std::vector<bool> counted(piece.tokens.size());
  for (size_t t = 1; t < counted.size(); ++t) counted[t] = !tokenizer.is_special(piece.tokens[t]);
  return counted;
}

// Unfinished work: the newest folder partial-N, N the passes in it.
struct Partial {
  int64_t passes = 0;
  fs::path folder;
};

std::vector<Partial> partials_of(const fs::path& folder) {
  std::vector<Partial> found;
  if (!fs::is_directory(folder)) return found;
  constexpr std::string_view stem = "partial-";
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(stem)) continue;
    int64_t passes = 0;
    const auto [end, error] = std::from_chars(name.data() + stem.size(), name.data() + name.size(), passes);
    if (error != std::errc()) continue;
    // contexts.json is written last: without it the folder is of a process that was killed while it wrote
    if (fs::exists(entry.path() / "contexts.json")) found.push_back({passes, entry.path()});
  }
  std::sort(found.begin(), found.end(), [](const Partial& a, const Partial& b) { return a.passes < b.passes; });
  return found;
}

void remove_partials(const fs::path& folder, const fs::path& except) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const bool partial = entry.path().filename().string().starts_with("partial-");
    if (partial && entry.path() != except) fs::remove_all(entry.path());
  }
}

}  // namespace

void run_pieces(const Model& model, const Tokenizer& tokenizer, const std::vector<Sae>& saes,
                const std::vector<Piece>& pieces, const PieceSink& sink) {
  c10::NoGradGuard no_gradients;
  std::vector<std::vector<int64_t>> sequences;
  int64_t last_layer = 0, most_latents = 0, longest = 1;
  for (const Piece& piece : pieces) {
    sequences.emplace_back(piece.tokens.begin(), piece.tokens.end());
    longest = std::max(longest, std::ssize(piece.tokens));
  }
  Taps taps;
  std::vector<FiringFinder> finders;
  for (const Sae& sae : saes) {
    taps.push_back(Tap::capture(sae.place));
    finders.emplace_back(sae);
    last_layer = std::max(last_layer, sae.place.layer + 1);
    most_latents = std::max(most_latents, sae.latents());
  }
  const Packed packed = pack(sequences);
  ForwardOptions options;
  options.taps = &taps;
  options.last_layer = last_layer;
  options.want_logits = false;
  forward(model, packed, options);
  for (const Tap& tap : taps) {
    if (!tap.captured.isfinite().all().item<bool>()) {
      fail("contexts", fmt::format("residual states at {} are not finite", place_name(tap.place)),
           "the weights hold NaN or infinity, or overflow in this type; introspect model verify finds where");
    }
  }

  // few pieces at a time, as the products of many latents are large
  const size_t together = static_cast<size_t>(std::max<int64_t>(1, product_numbers / (longest * most_latents)));
  std::vector<std::vector<PieceFirings>> firings;  // [pieces of the group][SAEs]
  std::vector<std::vector<float>> nearest(saes.size());
  for (size_t begin = 0; begin < pieces.size(); begin += together) {
    const size_t end = std::min(begin + together, pieces.size());
    const int64_t first = packed.starts[begin], rows = packed.starts[end] - first;
    firings.assign(end - begin, std::vector<PieceFirings>(saes.size()));
    for (size_t s = 0; s < saes.size(); ++s) {
      const Preactivations pre = preactivations(saes[s], taps[s].captured.narrow(0, first, rows));
      const at::Tensor gate = pre.gate.to(at::kCPU).contiguous();
      const at::Tensor value = pre.value.is_same(pre.gate) ? gate : pre.value.to(at::kCPU).contiguous();
      const int64_t L = saes[s].latents();
      nearest[s].resize((end - begin) * static_cast<size_t>(L));
      for (size_t p = begin; p < end; ++p) {
        const int64_t row = packed.starts[p] - first;
        PieceFirings& found = firings[p - begin][s];
        float* const mine = nearest[s].data() + static_cast<int64_t>(p - begin) * L;
        finders[s].find(gate.data_ptr<float>() + row * L, value.data_ptr<float>() + row * L,
                        counted_positions(pieces[p], tokenizer), found.firings, mine);
        found.nearest = mine;
      }
    }
    for (size_t p = begin; p < end; ++p) {
      const std::vector<bool> counted = counted_positions(pieces[p], tokenizer);
      sink(pieces[p], firings[p - begin], std::count(counted.begin(), counted.end(), true));
    }
  }
}

CollectResult collect_contexts(const Model& model, const Tokenizer& tokenizer, const std::vector<Sae>& given,
                               TextPieces& text, const CollectSettings& settings, const Json& info,
                               const fs::path& folder) {
  using Clock = std::chrono::steady_clock;
  check_saes(model, given);
  if (settings.tokens < 1 || settings.shards < 1 || settings.shard < 0 || settings.shard >= settings.shards ||
      settings.pass_pieces < 1) {
    fail_usage("contexts", fmt::format("got {} tokens, shard {} of {} and {} pieces a pass", settings.tokens,
                                       settings.shard, settings.shards, settings.pass_pieces));
  }
  if (settings.contexts.length > model.config.max_positions) {
    fail_usage("contexts", fmt::format("length: got {}, the model has {} positions", settings.contexts.length,
                                       model.config.max_positions));
  }
  std::vector<Sae> saes;
  for (const Sae& sae : given) saes.push_back(on_device(sae, model.embedding.device()));
  std::sort(saes.begin(), saes.end(), [](const Sae& a, const Sae& b) { return a.place.layer < b.place.layer; });
  std::vector<std::pair<int64_t, int64_t>> sizes;
  for (const Sae& sae : saes) sizes.emplace_back(sae.place.layer, sae.latents());
  ContextSet set(settings.contexts, sizes);

  // What the store says of itself, also while it is unfinished.
  Json whole = info;
  whole["tokens_wanted"] = settings.tokens;
  whole["pass_pieces"] = settings.pass_pieces;
  if (settings.shards > 1) whole["shard"] = {{"index", settings.shard}, {"count", settings.shards}};

  CollectResult result;
  const std::vector<Partial> partials = partials_of(folder);
  if (!partials.empty()) {
    const ContextStore store = ContextStore::open(partials.back().folder);
    for (const auto& [key, value] : whole.items()) {
      if (!store.info().contains(key) || store.info().at(key) != value) {
        fail("contexts",
             fmt::format("the unfinished work there is of another '{}' ({})", key, partials.back().folder.string()),
             "give another folder, or remove this one");
      }
    }
    ContextSet there = store.read();
    ContextSet(settings.contexts, sizes).merge(there);  // throws for other settings
    set = std::move(there);
    result.resumed_passes = partials.back().passes;
  }

  int64_t done = result.resumed_passes;  // passes of this shard
  const auto save = [&] {
    const fs::path partial = folder / fmt::format("partial-{}", done);
    fs::remove_all(partial);
    write_contexts(set, whole, partial);
    remove_partials(folder, partial);
  };

  const int threads = at::get_num_threads();
  const bool small = model.config.d_model < 1024 && model.embedding.device().is_cpu();
  const int64_t round_passes = small ? 8 * threads : 1;
  Progress progress("contexts", settings.tokens, "token");
  const auto start = Clock::now();
  auto saved = start;
  std::mutex mutex;
  bool ended = false;
  int64_t pass = 0, mine = 0;  // passes of the text so far, and those of this shard
  while (!ended) {
    std::vector<std::vector<Piece>> passes;
    while (!ended && std::ssize(passes) < round_passes) {
      std::vector<Piece> pieces;
      while (std::ssize(pieces) < settings.pass_pieces) {
        std::optional<Piece> piece = result.text_tokens < settings.tokens ? text.next() : std::nullopt;
        ended = !piece;
        if (ended) break;
        result.text_tokens += std::ssize(piece->tokens);
        pieces.push_back(std::move(*piece));
      }
      const bool own = pass++ % settings.shards == settings.shard && !pieces.empty();
      if (own && ++mine > done) passes.push_back(std::move(pieces));
    }
    std::vector<std::function<void()>> jobs;
    for (const std::vector<Piece>& pieces : passes) {
      jobs.emplace_back([&] {
        run_pieces(model, tokenizer, saes, pieces,
                   [&](const Piece& piece, const std::vector<PieceFirings>& firings, int64_t counted) {
                     const std::lock_guard<std::mutex> lock(mutex);
                     set.add(piece, firings, counted);
                   });
      });
    }
    run_chunks(model, jobs);
    done += std::ssize(passes);
    progress.set(std::min(result.text_tokens, settings.tokens));

    const bool stop = settings.stop_after > 0 && done - result.resumed_passes >= settings.stop_after;
    const bool due = std::chrono::duration<double>(Clock::now() - saved).count() > settings.save_seconds;
    if (!ended && (stop || due || interrupted())) {
      save();
      saved = Clock::now();
    }
    if (stop && !ended) throw Error(ErrorKind::interrupted, "contexts", "stopped; the work is kept");
    if (!ended) check_interrupt("contexts");
  }
  progress.finish();
  if (result.text_tokens == 0) {
    fail("contexts", "the text holds no piece: it is empty or shorter than 4 tokens");
  }

  result.pieces = set.pieces;
  result.positions = set.positions;
  result.left_out = text.left_out();
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  whole["text_tokens"] = result.text_tokens;
  whole["left_out_tokens"] = result.left_out;
  write_contexts(set, whole, folder);
  remove_partials(folder, {});
  return result;
}

void merge_contexts(const std::vector<fs::path>& shards, const fs::path& folder) {
  if (shards.empty()) fail_usage("contexts", "merge: got no stores, expected all shards of one text");
  std::set<int64_t> seen;
  std::optional<ContextSet> set;
  Json common;
  int64_t count = 0;
  for (const fs::path& path : shards) {
    const ContextStore store = ContextStore::open(path);
    Json info = store.info();
    const std::string label = (path / "contexts.json").string();
    if (!info.contains("shard") || !info["shard"].is_object()) {
      fail("contexts", fmt::format("merge: not the store of a shard ({})", path.string()));
    }
    const auto index = json_get<int64_t>(info["shard"], "index", label);
    if (!seen.insert(index).second) {
      fail("contexts", fmt::format("merge: shard {} is given twice ({})", index, path.string()));
    }
    const auto of = json_get<int64_t>(info["shard"], "count", label);
    for (const char* key : {"shard", "pieces", "positions", "format", "settings", "layers"}) info.erase(key);
    if (set && (info != common || of != count)) {
      fail("contexts",
           fmt::format("merge: of another model, SAE, text or number of shards than the first ({})", path.string()));
    }
    common = info;
    count = of;
    if (!set) {
      set = store.read();
    } else {
      set->merge(store.read());
    }
  }
  if (std::ssize(seen) != count) {
    fail("contexts", fmt::format("merge: got {} of {} shards", seen.size(), count), "give the folders of all shards");
  }
  write_contexts(*set, common, folder);
}

}  // namespace introspect
