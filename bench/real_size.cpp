// What a checkpoint of real size takes on this machine: seconds, peak memory beside what 'introspect model plan' says,
// and the share of the rates that memory and matrix products have here. Each part runs in a program of its own, one
// alone with --part.
//   bench_real_size FOLDER [--dtype bf16] [--part open|forward|states|sweep|answer|train] [--threads N]
//                   [--prompt 64] [--sweep-tokens 24] [--rank 16] [--train-tokens 128]
// Make such a folder with 'introspect model synthesize'. Weights stay mapped where the stored type is the wanted one.
// Tokens are random ids; a tokenizer is not needed.
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "common.h"
#include "model/generate.h"
#include "model/kernels.h"
#include "model/lora.h"
#include "model/memory_plan.h"
#include "model/model.h"
#include "model/names.h"
#include "model/weight_type.h"
#include "procedure/sweep.h"
#include "text/bpe_train.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/rate.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

namespace introspect {
namespace {

struct Settings {
  std::string folder, dtype = "bf16";
  std::vector<std::string> parts;
  int64_t prompt = 64, sweep_tokens = 24, rank = 16, train_tokens = 128;
  int threads = 0;
};

constexpr int64_t new_tokens = 20, answer_prompt = 44, answer_rows = 20, sweep_blocks = 4, sweep_rows = 128;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Bytes a second of reading memory once.
double memory_rate() {
  const at::Tensor numbers = at::ones({64'000'000});
  double best = 1e30;
  for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of([&] { numbers.sum(); }));
  return static_cast<double>(numbers.nbytes()) / best;
}

std::vector<int64_t> random_tokens(int64_t count, int64_t vocabulary, const std::string& name) {
  Random random(1, "bench " + name);
  std::vector<int64_t> tokens(count);
  for (int64_t& token : tokens) token = static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary)));
  return tokens;
}

at::Tensor continuous_token(const Model& model) {
  Random random(1, "continuous token");
  at::Tensor row = at::empty({1, model.config.d_model});
  for (int64_t i = 0; i < row.numel(); ++i) row.data_ptr<float>()[i] = static_cast<float>(random.normal() * 0.02);
  return row;
}

struct Outcome {
  std::string what;
  double cold = 0, warm = 0;  // seconds of the first call and of the next one; 0: there was one alone
  double operations = 0;      // multiplications and additions of its matrix products
  double bytes_read = 0;      // weights that it cannot but read
  PlanOptions plan;
};

// Of the layers' matrices, for one position.
double layer_operations(const ModelConfig& c) {
  return 2 * static_cast<double>(c.parameter_count() - (c.tied_embeddings ? 1 : 2) * c.vocab_size * c.d_model);
}
double head_operations(const ModelConfig& c) {
  return 2 * static_cast<double>(c.vocab_size * c.d_model);
}

Outcome twice(const std::string& what, const std::function<void()>& work) {
  Outcome outcome;
  outcome.what = what;
  outcome.cold = seconds_of(work);
  outcome.warm = seconds_of(work);
  return outcome;
}

Outcome run_forward(const Model& model, const Settings& s) {
  c10::NoGradGuard guard;
  const Packed packed = pack({random_tokens(s.prompt, model.config.vocab_size, "prompt")});
  Outcome outcome =
      twice(fmt::format("a prompt of {} tokens, logits at each", s.prompt), [&] { forward(model, packed); });
  const auto rows = static_cast<double>(s.prompt);
  outcome.operations = rows * (layer_operations(model.config) + head_operations(model.config));
  outcome.plan.tokens = s.prompt;
  return outcome;
}

Outcome run_states(const Model& model, const Settings& s) {
  c10::NoGradGuard guard;
  const Packed packed = pack({random_tokens(s.prompt, model.config.vocab_size, "prompt")});
  Outcome outcome = twice(fmt::format("states of {} layers, {} tokens", model.config.layers, s.prompt), [&] {
    Taps taps;
    for (int64_t layer = 0; layer < model.config.layers; ++layer) {
      taps.push_back(Tap::capture({PlaceKind::resid_post, layer}));
    }
    ForwardOptions options;
    options.taps = &taps;
    options.logits_at = at::tensor(std::vector<int64_t>{s.prompt - 1}, at::kLong);
    forward(model, packed, options);
  });
  outcome.operations = static_cast<double>(s.prompt) * layer_operations(model.config);
  outcome.plan.tokens = s.prompt;
  outcome.plan.logit_rows = 1;
  return outcome;
}

Outcome run_sweep(const Model& model, const Settings& s) {
  SweepPrompt prompt;
  prompt.tokens = random_tokens(s.sweep_tokens, model.config.vocab_size, "clean");
  prompt.counterfactual = random_tokens(s.sweep_tokens, model.config.vocab_size, "counterfactual");
  prompt.answer = {1};
  for (int64_t t = 0; t < s.sweep_tokens; ++t) {
    prompt.positions.push_back(t);
    prompt.sources.push_back(t);
  }
  SweepSettings settings;
  settings.blocks = std::min(sweep_blocks, model.config.layers);
  settings.only_correct = false;
  settings.rows_per_pass = sweep_rows;
  Outcome outcome;
  outcome.what = fmt::format("sweep of {} positions x {} blocks", s.sweep_tokens, settings.blocks);
  outcome.cold = seconds_of([&] { sweep_prompts(model, {prompt}, settings); });
  // two full runs; in front of the last position, the positions from the patched one from layer first + 1 on
  const auto T = static_cast<double>(s.sweep_tokens);
  const auto layers = static_cast<double>(model.config.layers);
  double rows = 2 * T;
  for (const LayerBlock& block : layer_blocks(model.config.layers, settings.blocks)) {
    rows += (T * (T + 1) / 2 - 1) * (layers - 1 - static_cast<double>(block.first)) / layers;
    rows += (layers - 1 - static_cast<double>(block.last)) / layers;
  }
  outcome.operations =
      rows * layer_operations(model.config) + T * static_cast<double>(settings.blocks) * head_operations(model.config);
  outcome.plan.task = PlanTask::sweep;
  outcome.plan.tokens = s.sweep_tokens;
  outcome.plan.pass_rows = sweep_rows;
  outcome.plan.blocks = settings.blocks;
  return outcome;
}

// Any will do: what is decoded is not looked at.
Tokenizer any_tokenizer() {
  BpeTrainer trainer(BpeTrainSettings{});
  trainer.add("the cat");
  trainer.train();
  return Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
}

// An explainer's embedding is read as a whole when it is opened: its vectors may be scaled to the mean norm of the
// rows.
void read_embedding(const Model& model) {
  model.embedding.max();
}

Outcome run_answer(const Model& model, const Settings&) {
  read_embedding(model);
  const Tokenizer tokenizer = any_tokenizer();
  Prompt prompt;
  prompt.tokens = random_tokens(answer_prompt, model.config.vocab_size, "question");
  prompt.slots = {answer_prompt / 2};
  prompt.vectors = continuous_token(model);
  GenerateOptions options;
  const auto answer = [&](int64_t count) {
    options.max_new_tokens = count;
    return seconds_of([&] { generate(model, tokenizer, {prompt}, options); });
  };
  Outcome outcome;
  outcome.cold = answer(new_tokens);
  const double first = answer(1), all = answer(new_tokens);
  outcome.warm = (all - first) / (new_tokens - 1);
  outcome.what = fmt::format("{} tokens behind {} with a continuous one (then: a token)", new_tokens, answer_prompt);
  outcome.bytes_read = static_cast<double>(
      weight_bytes(model.config, model.blocks[0].up.scale.defined() ? at::kChar : model.embedding.scalar_type()));
  // of the embedding one row is read
  if (!model.config.tied_embeddings) outcome.bytes_read -= static_cast<double>(model.embedding.nbytes());
  outcome.plan.task = PlanTask::answer;
  outcome.plan.tokens = answer_prompt + new_tokens;
  return outcome;
}

Outcome run_training(Model& model, const Settings& s) {
  read_embedding(model);
  LoraConfig lora;
  lora.rank = s.rank;
  lora.targets = linear_modules(model.config);
  add_lora(model, lora, 1);
  std::vector<Trainable> learnt;
  for (auto& [name, tensor] : lora_parameters(model)) {
    tensor.requires_grad_(true);
    learnt.push_back({name, tensor, UpdateRule::adamw, 1e-4, 0, false});
  }
  Optimizer optimizer(learnt, {});
  Document document;
  document.tokens = random_tokens(s.train_tokens, model.config.vocab_size, "training");
  document.weights.assign(s.train_tokens, 0.0f);
  for (int64_t i = 0; i < std::min(answer_rows, s.train_tokens - 1); ++i) document.weights.end()[-1 - i] = 1;
  const PackedTargets packed = pack_targets({document});
  Outcome outcome = twice(fmt::format("a LoRA step, rank {}, {} tokens, checkpointing", s.rank, s.train_tokens), [&] {
    at::Tensor token = continuous_token(model).requires_grad_(true);
    Taps taps{Tap::replace({PlaceKind::embed, -1}, at::tensor(std::vector<int64_t>{3}, at::kLong), token)};
    ForwardOptions options;
    options.taps = &taps;
    options.activation_checkpointing = true;
    const at::Tensor loss = packed_loss(model, packed, packed.weight_sum, options);
    loss.backward();
    optimizer.step(1);
    fmt::print("  loss {:.3f}, gradient of the continuous token {:.2e}\n", loss.item<double>(),
               token.grad().norm().item<double>());
  });
  // forward, forward again, and the gradients of the inputs
  outcome.operations = 3 * static_cast<double>(s.train_tokens) * layer_operations(model.config) +
                       2 * static_cast<double>(answer_rows) * head_operations(model.config);
  outcome.plan.task = PlanTask::train;
  outcome.plan.tokens = s.train_tokens;
  outcome.plan.lora_rank = s.rank;
  outcome.plan.logit_rows = answer_rows;
  outcome.plan.checkpointing = true;
  return outcome;
}

void run_part(const std::string& part, const Settings& s) {
  if (s.threads > 0) at::set_num_threads(s.threads);
  LoadOptions load;
  load.dtype = parse_weight_type(s.dtype);
  load.mapped = true;
  Model model;
  const double opened = seconds_of([&] { model = load_model(s.folder, load); });
  Outcome outcome;
  if (part == "open") {
    outcome.what = "opened";
    outcome.cold = opened;
  } else if (part == "forward") {
    outcome = run_forward(model, s);
  } else if (part == "states") {
    outcome = run_states(model, s);
  } else if (part == "sweep") {
    outcome = run_sweep(model, s);
  } else if (part == "answer") {
    outcome = run_answer(model, s);
  } else if (part == "train") {
    outcome = run_training(model, s);
  } else {
    throw std::runtime_error("--part: got " + part);
  }
  const uint64_t peak = peak_memory();
  const ModelConfig& c = model.config;
  PlanOptions plan = outcome.plan;
  plan.dtype = load.dtype;
  plan.stored = c.stored_dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  std::string line = fmt::format("{:<62} {:>8.2f} s", outcome.what, outcome.cold);
  line += outcome.warm > 0 ? fmt::format(", then {:>7.2f} s", outcome.warm) : std::string(16, ' ');
  line += fmt::format("  peak {:>6.2f} GB", static_cast<double>(peak) / 1e9);
  if (part != "open") {
    const auto planned = static_cast<double>(plan_memory(c, plan).total());
    line +=
        fmt::format(", planned {:>6.2f} ({:+.0f}%)", planned / 1e9, 100 * (planned / static_cast<double>(peak) - 1));
  }
  const double seconds = outcome.warm > 0 ? outcome.warm : outcome.cold;
  if (outcome.operations > 0) {
    const at::ScalarType type = model.embedding.scalar_type();
    const double rate = matrix_product_rate(type, 512, c.d_model, c.d_mlp);
    line += fmt::format("  {:.0f} GFLOP/s, {:.0f}% of {:.0f}", outcome.operations / seconds / 1e9,
                        100 * outcome.operations / seconds / rate, rate / 1e9);
  }
  if (outcome.bytes_read > 0) {
    const double rate = memory_rate();
    line += fmt::format("  {:.1f} GB/s, {:.0f}% of {:.1f}", outcome.bytes_read / seconds / 1e9,
                        100 * outcome.bytes_read / seconds / rate, rate / 1e9);
  }
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

// In a program of its own: peak memory is counted from its beginning, and what a part leaves behind is gone.
bool run_apart(const std::string& part, char** argv) {
  std::vector<char*> arguments;
  for (char** each = argv; *each; ++each) arguments.push_back(*each);
  std::string option = "--part", name = part;
  arguments.insert(arguments.end(), {option.data(), name.data(), nullptr});
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execv("/proc/self/exe", arguments.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) fmt::print(stderr, "{}: ended by signal {}\n", part, WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int run(int argc, char** argv) {
  Settings s;
  if (argc < 2) {
    fmt::print("usage: bench_real_size FOLDER [--dtype bf16] [--part NAME] (see the head of the source)\n");
    return 2;
  }
  s.folder = argv[1];
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    if (option == "--dtype") s.dtype = value;
    if (option == "--part") s.parts.push_back(value);
    if (option == "--prompt") s.prompt = std::stoll(value);
    if (option == "--sweep-tokens") s.sweep_tokens = std::stoll(value);
    if (option == "--rank") s.rank = std::stoll(value);
    if (option == "--train-tokens") s.train_tokens = std::stoll(value);
    if (option == "--threads") s.threads = std::stoi(value);
  }
  if (s.parts.size() == 1) {
    use_all_processors();
    run_part(s.parts[0], s);
    return 0;
  }
  const ModelConfig config = read_config(s.folder);
  fmt::print("{}: {:.2f} billion parameters in {}, stored {}\n", s.folder,
             static_cast<double>(config.parameter_count()) / 1e9, s.dtype, config.stored_dtype);
  bool good = true;
  for (const char* part : {"open", "forward", "states", "sweep", "answer", "train"})
    good = run_apart(part, argv) && good;
  return good ? 0 : 1;
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  return introspect::reporting_errors(introspect::run, argc, argv);
}
