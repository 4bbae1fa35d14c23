#include "model/generate.h"

#include "base/error.h"
#include "base/progress.h"
#include "model/sampling.h"

#include <algorithm>
#include <cmath>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

// Bounds of one group of prompts.
constexpr int64_t tokens_per_pass = 16384;
constexpr int64_t cache_bytes_per_group = int64_t{1} << 30;
constexpr int64_t logit_bytes_per_group = int64_t{1} << 29;

at::Tensor index_of(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

void check_options(const GenerateOptions& options) {
  const auto expect = [](bool good, const char* key, const std::string& got, const char* expected) {
    if (!good) fail_usage("generate", fmt::format("{}: got {}, expected {}", key, got, expected));
  };
  expect(options.max_new_tokens >= 0, "max_new_tokens", fmt::to_string(options.max_new_tokens), "0 or more");
  expect(options.temperature >= 0 && std::isfinite(options.temperature), "temperature",
         fmt::to_string(options.temperature), "0 (greedy) or more");
  expect(options.top_k >= 0, "top_k", fmt::to_string(options.top_k), "0 (all) or more");
  expect(options.top_p > 0 && options.top_p <= 1, "top_p", fmt::to_string(options.top_p), "more than 0, at most 1");
}

void check_prompt(const Prompt& prompt, size_t index, const ModelConfig& config, const GenerateOptions& options) {
  const auto refuse = [&](const std::string& what, const char* hint = "") {
    fail("generate", fmt::format("prompt {}: {}", index, what), hint);
  };
  const int64_t length = std::ssize(prompt.tokens), slots = std::ssize(prompt.slots);
  if (length == 0) refuse("got no tokens, expected at least one");
  if (length + options.max_new_tokens > config.max_positions) {
    refuse(fmt::format("{} tokens and {} new ones: the model has {} positions", length, options.max_new_tokens,
                       config.max_positions),
           "shorten the prompt or ask for fewer new tokens");
  }
  for (int64_t token : prompt.tokens) {
    if (token < 0 || token >= config.vocab_size) {
      refuse(fmt::format("token {}: the vocabulary has {} tokens", token, config.vocab_size));
    }
  }
  for (int64_t slot : prompt.slots) {
    if (slot < 0 || slot >= length) refuse(fmt::format("slot {}: the prompt has {} tokens", slot, length));
  }
  const at::Tensor& vectors = prompt.vectors;
  if (slots > 0 &&
      (!vectors.defined() || vectors.dim() != 2 || vectors.size(0) != slots || vectors.size(1) != config.d_model)) {
    refuse(fmt::format("vectors: expected shape [{}, {}], one row a slot", slots, config.d_model));
  }
  if (slots == 0 && vectors.defined() && vectors.numel() > 0) refuse("vectors without slots");
  if (prompt.vector_layer < -1 || prompt.vector_layer >= config.layers) {
    refuse(fmt::format("vector_layer {}: the model has {} blocks", prompt.vector_layer, config.layers));
  }
}

// How many first tokens all prompts have in common in front of any slot. At least one token of each is left over: its
// logits are wanted.
int64_t common_beginning(const std::vector<Prompt>& prompts) {
  if (prompts.size() < 2) return 0;
  const std::vector<int64_t>& first = prompts.front().tokens;
  int64_t common = std::ssize(first);
  for (const Prompt& prompt : prompts) {
    common = std::min(common, std::ssize(prompt.tokens) - 1);
    for (int64_t slot : prompt.slots) common = std::min(common, slot);
    const auto differ = std::mismatch(first.begin(), first.begin() + common, prompt.tokens.begin());
    common = differ.first - first.begin();
  }
  return common;
}

// One sequence while it grows.
struct Sequence {
  size_t prompt;
  int64_t begin;   // its first row in the caches
  int64_t filled;  // how many rows it has
  Random random;
  std::vector<int64_t> tokens;  // new ones
  std::vector<size_t> ends;     // behind each of them, in bytes
  std::string bytes;            // what the new tokens stand for; kept only to find stop strings
  size_t cut = std::string::npos;
  bool finished = false, done = false;
};

class Group {
 public:
  Group(const Model& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
        const GenerateOptions& options, const KeyValues& shared, const States& shared_states, int64_t common)
      : model_(model),
        tokenizer_(tokenizer),
        prompts_(prompts),
        options_(options),
        shared_(shared),
        shared_states_(shared_states),
        common_(common),
        device_(model.embedding.device()) {}

  // Runs prompts [begin, end) to their ends.
  void run(size_t begin, size_t end, std::vector<Generated>& results) {
    int64_t rows = 0;
    for (size_t i = begin; i < end; ++i) {
      const int64_t length = std::ssize(prompts_[i].tokens);
      sequences_.push_back({i, rows, length, Random(options_.seed, fmt::format("generate {}", i)), {}, {}, {}});
      rows += length + options_.max_new_tokens;
    }
    at::Tensor logits = run_prompts(rows);
    std::vector<Sequence*> alive;
    for (Sequence& sequence : sequences_) alive.push_back(&sequence);
    while (true) {
      check_interrupt("generate");
      choose(alive, logits);
      std::erase_if(alive, [](const Sequence* sequence) { return sequence->done; });
      if (alive.empty()) break;
      logits = step(alive);
    }
    for (Sequence& sequence : sequences_) results[sequence.prompt] = finish(sequence);
  }

 private:
  // The prompts behind their common beginning in one pass; lays out the caches and returns the logits behind each.
  at::Tensor run_prompts(int64_t cache_rows) {
    std::vector<std::vector<int64_t>> own;
    Prefix prefix;
    prefix.cache = &shared_;
    std::vector<int64_t> last;
    int64_t flat = 0;
    for (const Sequence& sequence : sequences_) {
      const std::vector<int64_t>& tokens = prompts_[sequence.prompt].tokens;
      own.emplace_back(tokens.begin() + common_, tokens.end());
      flat += std::ssize(own.back());
      last.push_back(flat - 1);
    }
    const Packed packed = pack(own, std::vector<int64_t>(own.size(), common_));
    prefix.begin.assign(own.size(), 0);
    prefix.length.assign(own.size(), common_);
    Taps taps = vectors_of(packed);
    ForwardOptions options;
    options.compute = options_.compute;
    options.logits_at = at::tensor(last, at::kLong);
    if (!taps.empty()) options.taps = &taps;
    if (model_.config.recurrent()) {
      States states;
      if (common_ > 0) {
        states = select_rows(shared_states_, at::zeros({std::ssize(sequences_)}, at::kLong).to(device_));
        options.states = &states;
      }
      for (Sequence& sequence : sequences_) state_rows_.push_back(&sequence);
      options.keep_states = true;
      ForwardResult result = forward(model_, packed, options);
      states_ = std::move(result.states);
      return result.logits;
    }
    options.keep_cache = true;
    if (common_ > 0) options.prefix = &prefix;
    ForwardResult result = forward(model_, packed, options);
    lay_out(packed, result.cache, cache_rows);
    return result.logits;
  }

  // One tap for all slots of one layer.
  Taps vectors_of(const Packed& packed) const {
    Taps taps;
    for (int64_t layer = -1; layer < model_.config.layers; ++layer) {
      std::vector<int64_t> rows;
      std::vector<at::Tensor> values;
      for (size_t s = 0; s < sequences_.size(); ++s) {
        const Prompt& prompt = prompts_[sequences_[s].prompt];
        if (prompt.vector_layer != layer || prompt.slots.empty()) continue;
        for (int64_t slot : prompt.slots) rows.push_back(packed.starts[s] + slot - common_);
        values.push_back(prompt.vectors.to(device_, model_.embedding.scalar_type()));
      }
      if (rows.empty()) continue;
      const at::Tensor index = index_of(rows, device_);
      taps.push_back(layer < 0 ? Tap::replace({PlaceKind::embed, -1}, index, at::cat(values))
                               : Tap::add({PlaceKind::resid_post, layer}, index, at::cat(values)));
    }
    return taps;
  }

  // Each sequence's range of the caches: the common beginning, its own prompt, room for what it will write. The pass's
  // keys and values are given up layer by layer.
  void lay_out(const Packed& packed, KeyValues& own, int64_t rows) {
    std::vector<int64_t> common_rows, own_rows;
    for (size_t s = 0; s < sequences_.size(); ++s) {
      for (int64_t i = 0; i < common_; ++i) common_rows.push_back(sequences_[s].begin + i);
      const int64_t count = packed.starts[s + 1] - packed.starts[s];
      for (int64_t i = 0; i < count; ++i) own_rows.push_back(sequences_[s].begin + common_ + i);
    }
    const at::Tensor common_to = index_of(common_rows, device_), own_to = index_of(own_rows, device_);
    const auto laid_out = [&](const std::vector<at::Tensor>& shared, at::Tensor& computed, size_t layer) {
      // on the processor attention works in float32, whatever the weights are
      const auto type = computed.device().is_cpu() ? at::kFloat : computed.scalar_type();
      at::Tensor cache = at::empty({rows, computed.size(1), computed.size(2)}, computed.options().dtype(type));
      if (common_ > 0) {
        const at::Tensor copies = shared[layer].to(type).repeat({std::ssize(sequences_), 1, 1});
        cache.index_copy_(0, common_to.to(cache.device()), copies);
      }
      cache.index_copy_(0, own_to.to(cache.device()), computed.to(type));
      computed = at::Tensor();
      return cache;
    };
    for (size_t layer = 0; layer < own.keys.size(); ++layer) {
      caches_.keys.push_back(laid_out(shared_.keys, own.keys[layer], layer));
      caches_.values.push_back(laid_out(shared_.values, own.values[layer], layer));
    }
  }

  // The last token of every unfinished sequence through the model.
  at::Tensor step(const std::vector<Sequence*>& alive) {
    std::vector<int64_t> tokens, positions, written;
    Prefix prefix;
    prefix.cache = &caches_;
    Packed packed;
    packed.starts.assign(1, 0);
    for (Sequence* sequence : alive) {
      tokens.push_back(sequence->tokens.back());
      positions.push_back(sequence->filled);
      packed.starts.push_back(std::ssize(tokens));
      prefix.begin.push_back(sequence->begin);
      prefix.length.push_back(sequence->filled);
      written.push_back(sequence->begin + sequence->filled);
      ++sequence->filled;
    }
    packed.tokens = at::tensor(tokens, at::kLong);
    packed.positions = at::tensor(positions, at::kLong);
    ForwardOptions options;
    options.compute = options_.compute;
    if (model_.config.recurrent()) return step_from_states(alive, packed, options);
    options.keep_cache = true;
    options.prefix = &prefix;
    ForwardResult result = forward(model_, packed, options);
    const at::Tensor rows = index_of(written, device_);
    for (size_t layer = 0; layer < caches_.keys.size(); ++layer) {
      const auto type = caches_.keys[layer].scalar_type();
      const at::Tensor to = rows.to(caches_.keys[layer].device());
      caches_.keys[layer].index_copy_(0, to, result.cache.keys[layer].to(type));
      caches_.values[layer].index_copy_(0, to, result.cache.values[layer].to(type));
    }
    return result.logits;
  }

  at::Tensor step_from_states(const std::vector<Sequence*>& alive, const Packed& packed, ForwardOptions options) {
    if (alive.size() < state_rows_.size()) {  // some have ended; the order is kept
      std::vector<int64_t> rows;
      for (size_t row = 0; row < state_rows_.size(); ++row) {
        const bool going = rows.size() < alive.size() && state_rows_[row] == alive[rows.size()];
        if (going) rows.push_back(static_cast<int64_t>(row));
      }
      states_ = select_rows(states_, index_of(rows, device_));
      state_rows_ = alive;
    }
    options.states = &states_;
    options.keep_states = true;
    ForwardResult result = forward(model_, packed, options);
    states_ = std::move(result.states);
    return result.logits;
  }

  // Appends the next token to each sequence; logits [alive, vocabulary].
  void choose(const std::vector<Sequence*>& alive, const at::Tensor& logits) {
    const auto [largest, greedy] = logits.max(1);
    if (!largest.isfinite().all().item<bool>()) {
      fail("generate", "the logits are not finite", "the weights or a vector given hold NaN or infinity");
    }
    std::vector<int64_t> next(alive.size());
    if (options_.temperature == 0) {
      const at::Tensor best = greedy.to(at::kCPU).contiguous();
      std::copy_n(best.data_ptr<int64_t>(), next.size(), next.begin());
    } else {
      const at::Tensor rows = logits.to(at::kCPU, at::kFloat).contiguous();
      const SamplingSettings settings{options_.temperature, options_.top_k, options_.top_p};
      at::parallel_for(0, std::ssize(alive), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          next[i] = sample_token(rows.data_ptr<float>() + i * rows.size(1), rows.size(1), settings, alive[i]->random);
        }
      });
    }
    for (size_t i = 0; i < alive.size(); ++i) append(*alive[i], next[i]);
  }

  void append(Sequence& sequence, int64_t token) {
    const auto& stops = options_.stop_tokens;
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
      sequence.finished = sequence.done = true;
      return;
    }
    sequence.tokens.push_back(token);
    sequence.done = std::ssize(sequence.tokens) >= options_.max_new_tokens;
    if (options_.stop.empty()) return;
    const size_t before = sequence.bytes.size();
    sequence.bytes += tokenizer_.piece(token);
    sequence.ends.push_back(sequence.bytes.size());
    sequence.cut = find_stop(sequence.bytes, options_.stop, before);
    if (sequence.cut != std::string::npos) sequence.finished = sequence.done = true;
  }

  Generated finish(const Sequence& sequence) const {
    Generated result{sequence.tokens, tokenizer_.decode(sequence.tokens, true), sequence.finished};
    if (sequence.cut == std::string::npos) return result;
    while (!result.tokens.empty()) {
      const size_t last = result.tokens.size() - 1;
      if (last == 0 ? sequence.cut > 0 : sequence.ends[last - 1] < sequence.cut) break;
      result.tokens.pop_back();
    }
    // A decoder may change text (drop its first blank), so the cut is looked up again; where it cannot be found, the
    // tokens in front of it are all there is.
    const size_t cut = find_stop(result.text, options_.stop);
    result.text = cut == std::string::npos ? tokenizer_.decode(result.tokens, true) : result.text.substr(0, cut);
    return result;
  }

  const Model& model_;
  const Tokenizer& tokenizer_;
  const std::vector<Prompt>& prompts_;
  const GenerateOptions& options_;
  const KeyValues& shared_;
  const States& shared_states_;
  const int64_t common_;
  const at::Device device_;
  std::vector<Sequence> sequences_;
  KeyValues caches_;  // [rows of all sequences, kv_heads, head_dim] a layer
  // Recurrent models: the states behind the last pass, and which sequence each of their rows is.
  States states_;
  std::vector<Sequence*> state_rows_;
};

}  // namespace

std::vector<Generated> generate(const Model& model, const Tokenizer& tokenizer, const std::vector<Prompt>& prompts,
                                const GenerateOptions& options) {
  c10::NoGradGuard no_gradients;
  const ModelConfig& c = model.config;
  check_options(options);
  for (size_t i = 0; i < prompts.size(); ++i) check_prompt(prompts[i], i, c, options);
  std::vector<Generated> results(prompts.size());
  if (options.max_new_tokens == 0) return results;

  const int64_t common = common_beginning(prompts);
  KeyValues shared;
  States shared_states;
  if (common > 0) {
    const auto& first = prompts.front().tokens;
    ForwardOptions only_cache;
    only_cache.compute = options.compute;
    only_cache.keep_cache = !c.recurrent();
    only_cache.keep_states = c.recurrent();
    only_cache.want_logits = false;
    ForwardResult result = forward(model, pack({{first.begin(), first.begin() + common}}), only_cache);
    shared = std::move(result.cache);
    shared_states = std::move(result.states);
  }
  // keys and values grow with the text, states do not
  const int64_t memory = c.mixer == Mixer::mamba ? c.recurrence.inner * c.recurrence.state : c.d_model * c.head_dim;
  const int64_t bytes_per_row = c.recurrent() ? 0 : 2 * c.layers * c.kv_heads * c.head_dim * 4;
  const int64_t bytes_per_sequence = c.recurrent() ? c.layers * memory * 4 : 0;
  size_t begin = 0;
  while (begin < prompts.size()) {
    int64_t tokens = 0, rows = 0;
    size_t end = begin;
    for (; end < prompts.size(); ++end) {
      const int64_t length = std::ssize(prompts[end].tokens);
      tokens += length - common;
      rows += length + options.max_new_tokens;
      const int64_t sequences = static_cast<int64_t>(end - begin + 1);
      const int64_t cache_bytes = rows * bytes_per_row + sequences * bytes_per_sequence;
      const bool full = tokens > tokens_per_pass || cache_bytes > cache_bytes_per_group ||
                        sequences * c.vocab_size * 4 > logit_bytes_per_group;
      if (full && end > begin) break;
    }
    Group(model, tokenizer, prompts, options, shared, shared_states, common).run(begin, end, results);
    begin = end;
  }
  return results;
}

}  // namespace introspect
