// Recurrent models beside a transformer of the same size: tokens a second forward, and forward with gradients, of 8
// texts of 256 tokens; and the recurrences alone, as the loops of src/model/scan.h and step by step.
//   bench_recurrent [--threads N] [--bf16]    (--bf16: matrix products in bfloat16)
#include "base/random.h"
#include "common.h"
#include "model/forward.h"
#include "model/kernels.h"
#include "model/scan.h"

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

constexpr int64_t texts = 8, length = 256;

// recipes/pretrain/tiny-mamba.toml and tiny-rwkv7.toml.
ModelConfig recurrent_shape(const std::string& family) {
  Json json = {{"model_type", family}, {"vocab_size", 5120}, {"hidden_size", 192}, {"tie_word_embeddings", true}};
  if (family == "mamba") {
    json["num_hidden_layers"] = 14;
  } else {
    json["num_hidden_layers"] = 8;
    json["head_dim"] = 64;
    json["intermediate_size"] = 608;
    for (const char* key : {"decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim"}) json[key] = 32;
    json["gate_low_rank_dim"] = 64;
  }
  return parse_config(json, family);
}

// Microseconds a token: the best of some runs.
double time_of(const std::function<void()>& work, int runs) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const double start = now();
    work();
    best = std::min(best, now() - start);
  }
  return best * 1e6 / static_cast<double>(texts * length);
}

void bench_models(at::ScalarType compute) {
  std::vector<std::vector<int64_t>> tokens(texts);
  std::vector<int64_t> targets;
  Random random(1, "bench");
  for (auto& text : tokens) {
    for (int64_t i = 0; i < length; ++i) text.push_back(static_cast<int64_t>(random.below(5120)));
    targets.insert(targets.end(), text.begin(), text.end());
  }
  const Packed packed = pack(tokens);
  const at::Tensor weights = at::ones({packed.size()});
  fmt::print("{:<8} {:>12} {:>18} {:>28}\n", "", "parameters", "forward tokens/s", "forward and back tokens/s");
  double forward_first = 0, both_first = 0;
  for (const char* family : {"llama", "mamba", "rwkv7"}) {
    const bool plain = std::string(family) == "llama";
    Model model = create_model(plain ? bundled_shape() : recurrent_shape(family), 1);
    ForwardOptions options;
    options.compute = compute;
    const double front = time_of(
        [&] {
          c10::NoGradGuard no_gradients;
          forward(model, packed, options);
        },
        3);
    require_gradients(model, true);
    const double both = time_of(
        [&] {
          for (auto& [name, tensor] : parameters(model)) tensor.mutable_grad() = at::Tensor();
          weighted_cross_entropy(forward(model, packed, options).logits, at::tensor(targets, at::kLong), weights)
              .backward();
        },
        3);
    if (plain) forward_first = front, both_first = both;
    fmt::print("{:<8} {:>10.2f} M {:>11.0f} ({:>3.0f}%) {:>21.0f} ({:>3.0f}%)\n", family,
               static_cast<double>(model.config.parameter_count()) / 1e6, 1e6 / front, 100 * forward_first / front,
               1e6 / both, 100 * both_first / both);
  }
}

using Inputs = std::vector<at::Tensor>;
using Scan = std::function<at::Tensor(const Inputs& inputs, at::Tensor& memory)>;
void bench_scan(const std::string& name, const Inputs& inputs, const Scan& scan) {
  const double front = time_of(
      [&] {
        c10::NoGradGuard no_gradients;
        at::Tensor memory = inputs.back();
        scan(inputs, memory);
      },
      3);
  Inputs leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.detach().requires_grad_(true));
  const double both = time_of(
      [&] {
        at::Tensor memory = leaves.back();
        scan(leaves, memory).sum().backward();
      },
      3);
  fmt::print("{:<26} {:>10.2f} {:>22.2f}\n", name, front, both);
}

void bench_scans() {
  std::vector<int64_t> starts{0};
  for (int64_t i = 0; i < texts; ++i) starts.push_back(starts.back() + length);
  const int64_t N = starts.back();
  const auto small = [](at::IntArrayRef shape) { return at::rand(shape) * 0.2; };
  const Inputs selective{small({N, 384}), small({N, 384}),      small({N, 16}),
                         small({N, 16}),  -at::rand({384, 16}), at::zeros({texts, 384, 16})};
  fmt::print("\nmicroseconds a token and layer  forward  forward and back\n");
  bench_scan("mamba, loops", selective, [&](const Inputs& in, at::Tensor& memory) {
    return selective_scan(starts, in[0], in[1], in[2], in[3], in[4], memory);
  });
  bench_scan("mamba, step by step", selective, [&](const Inputs& in, at::Tensor& memory) {
    return selective_scan_plain(starts, in[0], in[1], in[2], in[3], in[4], memory);
  });
  const std::vector<int64_t> shape{N, 3, 64};
  const Inputs delta{1 - small(shape),
                     small(shape),
                     small(shape),
                     small(shape),
                     small(shape),
                     small(shape),
                     at::zeros({texts, 3, 64, 64})};
  bench_scan("rwkv7, loops", delta, [&](const Inputs& in, at::Tensor& memory) {
    return delta_scan(starts, {in[0], in[1], in[2], in[3], in[4], in[5]}, memory);
  });
  bench_scan("rwkv7, step by step", delta, [&](const Inputs& in, at::Tensor& memory) {
    return delta_scan_plain(starts, {in[0], in[1], in[2], in[3], in[4], in[5]}, memory);
  });
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  at::ScalarType compute = at::kFloat;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--threads") && i + 1 < argc) {
      at::set_num_threads(std::stoi(argv[++i]));
    } else if (!std::strcmp(argv[i], "--bf16")) {
      compute = at::kBFloat16;
    } else {
      fmt::print("usage: bench_recurrent [--threads N] [--bf16]\n");
      return 2;
    }
  }
  introspect::bench_models(compute);
  introspect::bench_scans();
}
