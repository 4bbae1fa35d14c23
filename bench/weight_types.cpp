// What bf16 and int8 weights cost in exactness and save in time, against fp32.
//   bench_weight_types FOLDER [--text FILE] [--threads N]
// Exactness: divergence of the next token's distribution (nats) and agreement of the likeliest token with fp32, over
// windows of 128 tokens of the text (README.md). Time: a pass of one token, which is bound by reading the weights, and
// one of 64. Without a tokenizer in the folder the tokens are random.
#include "base/files.h"
#include "base/parallel.h"
#include "base/random.h"
#include "common.h"
#include "model/forward.h"
#include "model/weight_type.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

namespace introspect {
namespace {

std::vector<std::vector<int64_t>> windows_of(const fs::path& folder, const fs::path& text, const ModelConfig& config) {
  constexpr size_t count = 16, length = 128;
  std::vector<int64_t> tokens;
  if (fs::exists(folder / "tokenizer.json")) {
    tokens = Tokenizer::open(folder).encode(read_text(text));
  } else {
    Random random(1, "tokens");
    for (size_t i = 0; i < count * length; ++i) {
      tokens.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(config.vocab_size))));
    }
  }
  std::vector<std::vector<int64_t>> windows;
  for (size_t begin = 0; begin + length <= tokens.size() && windows.size() < count; begin += length) {
    windows.emplace_back(tokens.begin() + static_cast<int64_t>(begin),
                         tokens.begin() + static_cast<int64_t>(begin + length));
  }
  return windows;
}

double best_seconds(const Model& model, int64_t tokens) {
  std::vector<int64_t> ids(tokens, 1);
  ForwardOptions options;
  options.logits_at = at::tensor(std::vector<int64_t>{tokens - 1}, at::kLong);
  double best = 1e30;
  const auto begin = std::chrono::steady_clock::now();
  do {
    const auto start = std::chrono::steady_clock::now();
    forward(model, pack({ids}), options);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  } while (std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
  return best;
}

int run(int argc, char** argv) {
  if (argc < 2) {
    fmt::print("usage: bench_weight_types FOLDER [--text FILE] [--threads N]\n");
    return 2;
  }
  const fs::path folder = argv[1];
  fs::path text = INTROSPECT_SOURCE_DIR "/README.md";
  use_all_processors();
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--text") text = argv[i + 1];
    if (option == "--threads") at::set_num_threads(std::atoi(argv[i + 1]));
  }
  c10::NoGradGuard guard;
  const ModelConfig config = read_config(folder);
  const auto windows = windows_of(folder, text, config);
  if (windows.empty()) throw std::runtime_error("the text is too short");
  const Packed packed = pack(windows);
  fmt::print("{}: {:.1f} million parameters, {} tokens, {} threads\n", folder.string(),
             static_cast<double>(config.parameter_count()) / 1e6, packed.size(), at::get_num_threads());
  fmt::print("type   weights      divergence mean / largest   same likeliest token   one token    64 tokens\n");
  at::Tensor exact;
  for (const char* type : {"fp32", "bf16", "int8"}) {
    LoadOptions load;
    load.dtype = parse_weight_type(type);
    load.mapped = true;
    const Model model = load_model(folder, load);
    const at::Tensor logs = at::log_softmax(forward(model, packed).logits.to(at::kFloat), -1);
    if (!exact.defined()) exact = logs;
    const at::Tensor divergence = (exact.exp() * (exact - logs)).sum(-1);
    const at::Tensor same = exact.argmax(-1).eq(logs.argmax(-1)).to(at::kFloat);
    fmt::print("{:<5} {:>7.1f} MB   {:>15.2e} / {:.2e}   {:>19.2f}%   {:>7.2f} ms   {:>7.1f} ms\n", type,
               static_cast<double>(weight_bytes(config, load.dtype)) / 1e6, divergence.mean().item<double>(),
               divergence.max().item<double>(), 100 * same.mean().item<double>(), 1e3 * best_seconds(model, 1),
               1e3 * best_seconds(model, 64));
  }
  return 0;
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  return introspect::reporting_errors(introspect::run, argc, argv);
}
