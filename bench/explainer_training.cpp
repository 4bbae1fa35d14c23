// Answer tokens a second of explainer training, forward and backward: questions packed end to end with logits at the
// answers alone, as train_explainer does it, against batches padded to their longest question with logits everywhere.
//   bench_explainer_training [--compute fp32|bf16] [--batch N] [--rounds N] [--threads N]
// A random model of the bundled shape; most questions have 60 to 110 tokens, one in sixteen has up to 240.
#include "base/random.h"
#include "common.h"
#include "model/kernels.h"
#include "model/model.h"
#include "train/loss.h"
#include "train/rate.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>

namespace introspect {
namespace {

// Questions with answers of 12 to 16 tokens at their ends.
std::vector<Document> random_questions(int64_t count, int64_t vocabulary, Random& random) {
  std::vector<Document> documents;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t length =
        i % 16 == 7 ? 160 + static_cast<int64_t>(random.below(81)) : 60 + static_cast<int64_t>(random.below(51));
    const int64_t answer = 12 + static_cast<int64_t>(random.below(5));
    Document document;
    for (int64_t t = 0; t < length; ++t) {
      document.tokens.push_back(static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary))));
      document.weights.push_back(t >= length - answer ? 1.0f : 0.0f);
    }
    documents.push_back(std::move(document));
  }
  return documents;
}

std::vector<Document> padded(std::vector<Document> documents) {
  size_t longest = 0;
  for (const Document& document : documents) longest = std::max(longest, document.tokens.size());
  for (Document& document : documents) {
    document.tokens.resize(longest, 0);
    document.weights.resize(longest, 0.0f);
  }
  return documents;
}

// Loss of the answers with logits at every position, as a plain trainer computes it.
at::Tensor full_logits_loss(const Model& model, const std::vector<Document>& documents, double divisor,
                            const ForwardOptions& options) {
  std::vector<std::vector<int64_t>> sequences;
  std::vector<int64_t> targets;
  std::vector<float> weights;
  for (const Document& document : documents) {
    sequences.push_back(document.tokens);
    for (size_t t = 0; t < document.tokens.size(); ++t) {
      const bool last = t + 1 == document.tokens.size();
      targets.push_back(last ? 0 : document.tokens[t + 1]);
      weights.push_back(last ? 0.0f : document.weights[t + 1] / static_cast<float>(divisor));
    }
  }
  const at::Tensor logits = forward(model, pack(sequences), options).logits;
  return weighted_cross_entropy(logits, at::tensor(targets, at::kLong), at::tensor(weights, at::kFloat));
}

double largest_gradient_difference(Model& model, const std::vector<at::Tensor>& before) {
  double largest = 0, norm = 0;
  size_t i = 0;
  for (auto& [name, tensor] : parameters(model)) {
    largest = std::max(largest, (tensor.grad() - before[i]).abs().max().item<double>());
    norm = std::max(norm, before[i++].abs().max().item<double>());
  }
  return largest / norm;
}

void clear_gradients(Model& model) {
  for (auto& [name, tensor] : parameters(model)) tensor.mutable_grad().reset();
}

int run(int argc, char** argv) {
  std::string compute = "fp32";
  int64_t batch = 32, rounds = 5;
  at::set_num_threads(1);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--compute") compute = argv[i + 1];
    if (option == "--batch") batch = std::atoll(argv[i + 1]);
    if (option == "--rounds") rounds = std::atoll(argv[i + 1]);
    if (option == "--threads") at::set_num_threads(std::atoi(argv[i + 1]));
  }
  Model model = create_model(bundled_shape(), 1);
  require_gradients(model, true);
  ForwardOptions options;
  options.compute = choose_compute(compute);
  Random random(1, "bench");
  const std::vector<Document> questions = random_questions(batch, model.config.vocab_size, random);
  const std::vector<Document> rectangle = padded(questions);
  const PackedTargets shape = pack_targets(questions);
  const double answers = shape.weight_sum;
  fmt::print("{} questions, {} tokens ({:.1f} each, longest {}), {:.0f} answer tokens; products in {}, {} threads\n",
             batch, shape.input.size(), static_cast<double>(shape.input.size()) / static_cast<double>(batch),
             rectangle.front().tokens.size(), answers, dtype_name(options.compute), at::get_num_threads());

  const auto run_packed = [&] {
    const PackedTargets packed = pack_targets(questions);
    at::Tensor loss = packed_loss(model, packed, answers, options);
    loss.backward();
    return loss.item<double>();
  };
  const auto run_padded = [&] {
    at::Tensor loss = full_logits_loss(model, rectangle, answers, options);
    loss.backward();
    return loss.item<double>();
  };

  // warm up, and see that both are the same training
  const double packed_value = run_packed();
  std::vector<at::Tensor> gradients;
  for (auto& [name, tensor] : parameters(model)) gradients.push_back(tensor.grad().clone());
  clear_gradients(model);
  const double padded_value = run_padded();
  fmt::print("loss {:.6f} packed, {:.6f} padded; largest difference of a gradient {:.1e} of the largest\n",
             packed_value, padded_value, largest_gradient_difference(model, gradients));
  clear_gradients(model);

  // Rounds are interleaved, so that a busy machine slows both.
  double packed_best = 1e30, padded_best = 1e30;
  for (int64_t round = 0; round < rounds; ++round) {
    const double start = now();
    run_packed();
    clear_gradients(model);
    const double middle = now();
    run_padded();
    clear_gradients(model);
    packed_best = std::min(packed_best, middle - start);
    padded_best = std::min(padded_best, now() - middle);
  }
  fmt::print("padded, logits everywhere    {:>7.0f} answer tokens/s\n", answers / padded_best);
  fmt::print("packed, logits at answers    {:>7.0f} answer tokens/s\n", answers / packed_best);
  fmt::print("packed against padded        {:.2f}x (wanted: 2)\n", padded_best / packed_best);
  fmt::print("matrix products here         {:.0f} GFLOP/s fp32, {:.0f} GFLOP/s bf16\n",
             matrix_product_rate(at::kFloat) / 1e9, matrix_product_rate(at::kBFloat16) / 1e9);
  return 0;
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  return introspect::reporting_errors(introspect::run, argc, argv);
}
