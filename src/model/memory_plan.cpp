#include "model/memory_plan.h"

#include "base/error.h"
#include "model/model.h"
#include "model/names.h"
#include "model/weight_type.h"

#include <algorithm>

#include <fmt/format.h>

namespace introspect {

namespace {

// What the program and libtorch take before a model is opened, on the processor and beside a CUDA context.
constexpr uint64_t program_bytes = 165'000'000;
constexpr uint64_t cuda_bytes = 600'000'000;
// What the library keeps for products of int8 weights made wide (measured).
constexpr uint64_t widening_bytes = 45'000'000;

uint64_t unsigned_of(int64_t number) {
  return static_cast<uint64_t>(number);
}

// Bytes of a number of the residual stream.
uint64_t stream_bytes(at::ScalarType dtype) {
  return dtype == at::kFloat ? 4 : 2;
}

struct Sizes {
  uint64_t D, HE, KE, F, V, L;
  explicit Sizes(const ModelConfig& c)
      : D(unsigned_of(c.d_model)),
        HE(unsigned_of(c.recurrent() ? 2 * c.d_model : c.heads * c.head_dim)),
        KE(unsigned_of(c.recurrent() ? 2 * c.d_model : c.kv_heads * c.head_dim)),
        F(unsigned_of(std::max(c.d_mlp, c.recurrence.inner))),
        V(unsigned_of(c.vocab_size)),
        L(unsigned_of(c.layers)) {}
};

// The linear layers of the blocks: how many numbers they hold together, and in LoRA factors.
struct Matrices {
  uint64_t all = 0, lora = 0;
};
Matrices matrices_of(const ModelConfig& config, int64_t rank) {
  Model model;
  model.config = config;
  const std::vector<NamedWeight> weights = named_weights(model);
  Matrices made;
  for (const NamedLinear& named : named_linears(model)) {
    const auto found = std::find_if(weights.begin(), weights.end(),
                                    [&](const NamedWeight& weight) { return weight.tensor == &named.linear->weight; });
    const uint64_t out = unsigned_of(found->shape[0]), in = unsigned_of(found->shape[1]);
    made.all += out * in;
    made.lora += unsigned_of(rank) * (out + in);
  }
  return made;
}

// What a block holds at its widest moment without gradients, for a position: gate, up, their product, norms, stream.
uint64_t passing(const Sizes& s, at::ScalarType dtype) {
  return dtype == at::kFloat ? 4 * (3 * s.F + 4 * s.D) : std::max(8 * s.F + 8 * s.D, 10 * s.HE + 12 * s.KE + 8 * s.D);
}

// What a block keeps of a position for its gradients; see kernels.h for which operations keep what.
uint64_t kept(const Sizes& s, const PlanOptions& o) {
  if (o.dtype != at::kFloat) return 12 * s.D + 10 * s.HE + 8 * s.KE + 8 * s.F;
  const uint64_t own = 4 * (4 * s.D + 2 * s.HE + 2 * s.KE + 3 * s.F);
  return o.mixed ? own + 2 * (2 * s.D + s.HE + s.F) : own;
}

class Plan {
 public:
  Plan(const ModelConfig& config, const PlanOptions& options)
      : c_(config), o_(options), s_(config), matrices_(matrices_of(config, options.lora_rank)) {}

  MemoryPlan make() {
    add("program and libraries", o_.cpu ? program_bytes : cuda_bytes, o_.cpu ? "" : "on the device: its context");
    add_weights();
    switch (o_.task) {
      case PlanTask::forward:
        add_pass(positions(), positions());
        add("captured states", s_.L * positions() * s_.D * stream(), fmt::format("{} layers", s_.L));
        break;
      case PlanTask::answer:
        add_pass(positions(), batch());
        add_cache();
        break;
      case PlanTask::sweep:
        add_sweep();
        break;
      case PlanTask::train:
        add_training();
        break;
    }
    return std::move(plan_);
  }

 private:
  uint64_t batch() const { return unsigned_of(o_.batch); }
  uint64_t positions() const { return unsigned_of(o_.batch * o_.tokens); }
  uint64_t stream() const { return stream_bytes(o_.dtype); }
  void add(const std::string& name, uint64_t bytes, const std::string& from) {
    if (bytes > 0) plan_.parts.push_back({name, bytes, from});
  }

  void add_weights() {
    const uint64_t bytes = weight_bytes(c_, o_.dtype);
    const at::ScalarType outside = o_.dtype == at::kChar ? at::kBFloat16 : o_.dtype;  // of the blocks' matrices
    const bool views = o_.mapped && o_.cpu && !o_.full && o_.stored == outside;
    const std::string count = fmt::format("{:.2f} billion in {}", static_cast<double>(c_.parameter_count()) / 1e9,
                                          weight_type_name(o_.dtype));
    if (!views) return add("weights, copied", bytes, count);
    // of a mapped table the rows of the tokens are all that is read; an explainer reads it once, for its mean norm
    const bool explainer = o_.task == PlanTask::answer || o_.task == PlanTask::train;
    const uint64_t unread = c_.tied_embeddings || explainer ? 0 : s_.V * s_.D * stream();
    const uint64_t copied =
        o_.dtype == at::kChar ? bytes - stream() * (unsigned_of(c_.parameter_count()) - matrices_.all) : 0;
    add("weights, copied", copied, "linear layers of the blocks in int8, and their scales");
    if (o_.dtype == at::kChar) add("blocks made wide", widening_bytes, "for products of many rows");
    add("weights, mapped", bytes - copied - unread,
        unread > 0 ? count + ", of the embedding only the rows that are used" : count);
  }

  // A pass without gradients of `rows` positions, whose logits are wanted at `logits` of them.
  void add_pass(uint64_t rows, uint64_t logits) {
    add("activations", rows * passing(s_, o_.dtype), fmt::format("{} positions of one layer", rows));
    if (o_.logit_rows > 0) logits = batch() * unsigned_of(o_.logit_rows);
    add("logits", logits * s_.V * (stream() == 4 ? 4 : 6), fmt::format("{} positions x {} tokens", logits, s_.V));
  }

  void add_states(uint64_t sequences) {
    const uint64_t memory =
        unsigned_of(c_.mixer == Mixer::mamba ? c_.recurrence.inner * c_.recurrence.state : c_.d_model * c_.head_dim);
    add("states", 2 * sequences * s_.L * memory * 4, fmt::format("{} sequences", sequences));
  }

  void add_cache() {
    const uint64_t number = o_.cpu ? 4 : stream();
    if (c_.recurrent()) return add_states(batch());
    add("keys and values", positions() * s_.L * 2 * s_.KE * (number + stream()),
        fmt::format("{} positions, as kept and as the prompts' pass made them", positions()));
  }

  void add_sweep() {
    const uint64_t N = positions();
    if (!c_.recurrent()) {
      add("clean run", N * stream() * (s_.L * (2 * s_.KE + s_.HE) + unsigned_of(o_.blocks) * s_.D),
          "queries, keys and values of every layer, states of every block of layers");
    }
    add("counterfactual run", N * stream() * s_.L * s_.D, "states of every layer");
    add_pass(unsigned_of(o_.pass_rows), 0);
    const uint64_t patches =
        std::max<uint64_t>(1, 2 * unsigned_of(o_.pass_rows) / std::max<uint64_t>(1, unsigned_of(o_.tokens)));
    add("logits", patches * s_.V * stream(), fmt::format("about {} patches a pass", patches));
    if (c_.recurrent()) return add_states(batch() + patches);
    if (o_.cpu) add("prefixes in float32", N * 8 * s_.KE, "keys and values of one layer");
  }

  void add_training() {
    const uint64_t N = positions();
    const uint64_t rows = o_.logit_rows > 0 ? batch() * unsigned_of(o_.logit_rows) : N;
    const uint64_t learnt = o_.full ? unsigned_of(c_.parameter_count()) : matrices_.lora;
    if (!o_.full) add("LoRA factors", 4 * learnt, fmt::format("rank {}, every linear layer", o_.lora_rank));
    add("gradients", 4 * learnt, "");
    add("optimiser state", 8 * learnt, "AdamW: two moments");
    if (o_.checkpointing) {
      add("activations kept", N * s_.D * stream() * s_.L, "what enters every layer");
      add("activations, one layer", N * (kept(s_, o_) + passing(s_, o_.dtype)), "run again, with its gradients");
    } else {
      add("activations kept", N * kept(s_, o_) * s_.L, "what the gradients of every layer need");
      add("activations, one layer", N * passing(s_, o_.dtype), "gradients under way");
    }
    if (o_.mixed && o_.dtype == at::kFloat) {
      add("weights in bf16", 2 * (o_.checkpointing ? matrices_.all / s_.L : matrices_.all) + 2 * s_.V * s_.D,
          o_.checkpointing ? "of one layer and the head, for products" : "for products, kept for the gradients");
    }
    add("logits", rows * s_.V * (stream() == 4 ? (o_.mixed ? 8 : 4) : 16),
        fmt::format("{} positions x {} tokens, with log-probabilities and gradients", rows, s_.V));
    if (o_.full) add("the best so far", 4 * learnt, "a copy, once there has been a validation");
  }

  const ModelConfig& c_;
  const PlanOptions& o_;
  const Sizes s_;
  const Matrices matrices_;
  MemoryPlan plan_;
};

}  // namespace

PlanTask parse_plan_task(const std::string& name) {
  if (name == "forward") return PlanTask::forward;
  if (name == "answer") return PlanTask::answer;
  if (name == "sweep") return PlanTask::sweep;
  if (name == "train") return PlanTask::train;
  fail_usage("plan", fmt::format("task: got '{}', expected train, answer, sweep or forward", name));
}

uint64_t MemoryPlan::total() const {
  uint64_t sum = 0;
  for (const PlanPart& part : parts) sum += part.bytes;
  return sum;
}

MemoryPlan plan_memory(const ModelConfig& config, const PlanOptions& options) {
  if (options.full && options.dtype != at::kFloat) {
    fail_usage("plan", fmt::format("full training of weights in {}, expected fp32", weight_type_name(options.dtype)),
               "train LoRA factors on them");
  }
  if (options.checkpointing && config.recurrent()) {
    fail_usage("plan", fmt::format("activation checkpointing: {} is recurrent", config.family));
  }
  return Plan(config, options).make();
}

std::vector<std::string> plan_advice(const ModelConfig& config, const PlanOptions& options, uint64_t memory) {
  struct Change {
    std::string text;
    PlanOptions options;
  };
  std::vector<Change> changes;
  PlanOptions all = options;
  const auto change = [&](const std::string& text, const auto& apply) {
    PlanOptions changed = options;
    apply(changed);
    apply(all);
    changes.push_back({text, changed});
  };
  if (options.full) {
    change("--lora 16 in place of --full", [](PlanOptions& o) { o.full = false; });
    all.mixed = false;
  }
  if (options.task == PlanTask::train && !options.checkpointing && !config.recurrent()) {
    change("--checkpointing", [](PlanOptions& o) { o.checkpointing = true; });
  }
  if (options.dtype == at::kFloat) {
    change("--dtype bf16", [](PlanOptions& o) {
      o.dtype = at::kBFloat16;
      o.full = o.mixed = false;
    });
  }
  if (options.dtype != at::kChar) {
    change("--dtype int8", [](PlanOptions& o) {
      o.dtype = at::kChar;
      o.full = o.mixed = false;
    });
  }
  if (options.batch > 1) change("--batch 1", [](PlanOptions& o) { o.batch = 1; });
  if (options.task == PlanTask::sweep && options.pass_rows > 128) {
    change("--pass-rows 128", [](PlanOptions& o) { o.pass_rows = 128; });
  }
  std::vector<std::string> advice;
  for (const Change& each : changes) {
    const uint64_t total = plan_memory(config, each.options).total();
    if (total > memory) continue;
    const bool changes_method = options.full && !each.options.full && each.text.find("--full") == std::string::npos;
    advice.push_back(fmt::format("{}{}: {:.2f} GB", each.text, changes_method ? " with --lora 16" : "",
                                 static_cast<double>(total) / 1e9));
  }
  if (!advice.empty() || changes.empty()) return advice;
  std::string together;
  for (const Change& each : changes) {
    if (each.text == "--dtype bf16") continue;  // int8 is in the list too
    together += (together.empty() ? "" : ", ") + each.text;
  }
  const uint64_t total = plan_memory(config, all).total();
  advice.push_back(
      fmt::format("all of {} together: {:.2f} GB{}", together, static_cast<double>(total) / 1e9,
                  total > memory ? ", which does not fit either: a smaller model, or several devices" : ""));
  return advice;
}

PlanShares plan_shares(const ModelConfig& config, const PlanOptions& options) {
  const uint64_t number = stream_bytes(options.dtype);
  PlanShares shares;
  shares.first = unsigned_of(config.vocab_size * config.d_model) * number;
  shares.last = shares.first;  // a tied head is copied where it lies on another device
  const uint64_t total = plan_memory(config, options).total();
  const uint64_t tables = config.tied_embeddings ? shares.first : shares.first + shares.last;
  const uint64_t layers = unsigned_of(config.layers);
  shares.layer = ((total > tables ? total - tables : 0) + layers - 1) / layers;
  return shares;
}

}  // namespace introspect
