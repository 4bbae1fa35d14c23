// Tokens a second of forward passes and of generation, and the share of the measured matrix product rate they reach.
//   bench_forward [--model FOLDER] [--threads N] [--bf16]
// Without a model: a random one of the bundled shape.
#include "base/random.h"
#include "common.h"
#include "model/generate.h"
#include "text/bpe_train.h"
#include "train/rate.h"

#include <chrono>
#include <cstring>
#include <functional>
#include <string>

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

namespace introspect {
namespace {

std::vector<int64_t> random_tokens(int64_t length, int64_t vocabulary, uint64_t seed) {
  Random random(seed, "bench");
  std::vector<int64_t> tokens(length);
  for (int64_t& token : tokens) token = static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary)));
  return tokens;
}

Tokenizer any_tokenizer() {
  BpeTrainer trainer(BpeTrainSettings{});
  trainer.add("the cat");
  trainer.train();
  return Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
}

// The fastest of the runs that fit into a second, at least two.
double seconds_of(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  double best = 1e30;
  for (int runs = 0; runs < 2 || Clock::now() - begin < std::chrono::seconds(1); ++runs) {
    const auto start = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

// Multiplications and additions of the matrix products of one token; attention itself is left out.
double operations_a_token(const ModelConfig& c, bool head) {
  const double attention = static_cast<double>(c.d_model * c.head_dim * (2 * c.heads + 2 * c.kv_heads));
  const double mlp = 3.0 * static_cast<double>(c.d_model * c.d_mlp);
  return 2 * (static_cast<double>(c.layers) * (attention + mlp) +
              (head ? static_cast<double>(c.d_model * c.vocab_size) : 0.0));
}

void run(const std::string& folder, at::ScalarType dtype) {
  c10::NoGradGuard no_gradients;
  const Model model = [&] {
    if (!folder.empty()) return load_model(folder, {dtype, "cpu"});
    Model random = create_model(bundled_shape(1024), 1);
    for (auto& [name, tensor] : parameters(random)) tensor.set_data(tensor.to(dtype));
    return random;
  }();
  const ModelConfig& c = model.config;
  fmt::print("{}: {:.1f} million parameters in {}, {} threads\n", folder.empty() ? "random model" : folder,
             static_cast<double>(c.parameter_count()) / 1e6, dtype_name(dtype), at::get_num_threads());
  // the rate is measured again before every pass and its best kept: a busy machine slows both alike
  double rate = 0;
  struct Line {
    std::string name;
    double speed, operations;
  };
  std::vector<Line> lines;
  for (const auto& [count, length, head] : {std::tuple<int64_t, int64_t, bool>{256, 16, true},
                                            {64, 64, true},
                                            {64, 64, false},
                                            {8, 512, true},
                                            {1, 512, true},
                                            {1, 16, true}}) {
    std::vector<std::vector<int64_t>> sequences;
    for (int64_t i = 0; i < count; ++i) {
      sequences.push_back(random_tokens(std::min(length, c.max_positions), c.vocab_size, static_cast<uint64_t>(i)));
    }
    const Packed packed = pack(sequences);
    ForwardOptions options;
    options.want_logits = head;
    rate = std::max(rate, matrix_product_rate(dtype));
    const double seconds = seconds_of([&] { forward(model, packed, options); });
    lines.push_back({fmt::format("{} x {}{}", count, length, head ? "" : ", no head"),
                     static_cast<double>(packed.size()) / seconds, operations_a_token(c, head)});
  }
  fmt::print("matrix products: {:.0f} GFLOP/s\n\nforward              tokens/s   share of that rate\n", rate / 1e9);
  for (const Line& line : lines) {
    fmt::print("{:<18} {:>10.0f}   {:.0f}%\n", line.name, line.speed, 100 * line.speed * line.operations / rate);
  }
  const Tokenizer tokenizer = folder.empty() ? any_tokenizer() : Tokenizer::open(folder);
  fmt::print("\ngeneration (64 tokens behind prompts of 64, the first 40 in common)   new tokens/s   a step\n");
  for (int64_t count : {1, 8, 64, 512}) {
    std::vector<Prompt> prompts(count);
    for (int64_t i = 0; i < count; ++i) {
      prompts[i].tokens = random_tokens(40, c.vocab_size, 1000);
      for (int64_t token : random_tokens(24, c.vocab_size, static_cast<uint64_t>(i)))
        prompts[i].tokens.push_back(token);
    }
    GenerateOptions options;
    options.max_new_tokens = 64;
    const double seconds = seconds_of([&] { generate(model, tokenizer, prompts, options); });
    fmt::print("{:>4} at once {:>10.0f} tokens/s {:>8.2f} ms\n", count, static_cast<double>(count) * 64 / seconds,
               seconds * 1000 / 64);
  }
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  std::string folder;
  at::ScalarType dtype = at::kFloat;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--model") && i + 1 < argc) {
      folder = argv[++i];
    } else if (!std::strcmp(argv[i], "--threads") && i + 1 < argc) {
      at::set_num_threads(std::stoi(argv[++i]));
    } else if (!std::strcmp(argv[i], "--bf16")) {
      dtype = at::kBFloat16;
    } else {
      fmt::print("usage: bench_forward [--model FOLDER] [--threads N] [--bf16]\n");
      return 2;
    }
  }
  introspect::run(folder, dtype);
}
