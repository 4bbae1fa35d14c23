// The loops of recurrent models against the same formulas step by step: values and gradients, over packed sequences.
#include "model/scan.h"

#include "tiny_model.h"

#include <functional>

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

namespace introspect {
namespace {

using test::difference;
using test::random_tensor;
using Tensors = std::vector<at::Tensor>;

// Lengths at and around the chunks whose memory is kept, and a sequence of nothing.
const std::vector<int64_t> starts{0, 1, 17, 17, 50, 53, 85};
constexpr int64_t rows = 85, sequences = 6;

struct Made {
  at::Tensor output, memory;
  Tensors gradients;
};
// A scan of `inputs` (the memory last), and the gradients of a random sum of what it makes.
using Scan = std::function<at::Tensor(const Tensors& inputs, at::Tensor& memory)>;
Made run(const Tensors& inputs, const Scan& scan) {
  Made made;
  Tensors leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.clone().requires_grad_(true));
  made.memory = leaves.back();
  made.output = scan(leaves, made.memory);
  const at::Tensor of_output = random_tensor(made.output.sizes(), 90).to(made.output.scalar_type());
  const at::Tensor of_memory = random_tensor(made.memory.sizes(), 91).to(made.output.scalar_type());
  ((made.output * of_output).sum() + (made.memory * of_memory).sum()).backward();
  for (const at::Tensor& leaf : leaves) made.gradients.push_back(leaf.grad());
  return made;
}

void expect_near(const at::Tensor& got, const at::Tensor& expected, double tolerance, const std::string& name) {
  EXPECT_LT(difference(got, expected), tolerance * (1 + expected.abs().max().item<double>())) << name;
}
void expect_same(const Tensors& inputs, const Scan& fast, const Scan& plain, at::ScalarType type, double tolerance) {
  Tensors typed;
  for (const at::Tensor& input : inputs) typed.push_back(input.to(type));
  Tensors wide;
  for (const at::Tensor& input : inputs) wide.push_back(input.to(at::kDouble));
  const Made expected = run(wide, plain);
  for (const int threads : {1, 3, 8}) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    const Made made = run(typed, fast);
    at::set_num_threads(before);
    expect_near(made.output, expected.output, tolerance, "output");
    expect_near(made.memory, expected.memory, tolerance, "memory");
    for (size_t i = 0; i < inputs.size(); ++i) {
      expect_near(made.gradients[i], expected.gradients[i], tolerance, "gradient " + std::to_string(i));
    }
    at::NoGradGuard no_gradients;  // without gradients nothing is kept
    at::Tensor memory = typed.back();
    expect_near(fast(typed, memory), expected.output, tolerance, "output without gradients");
    EXPECT_EQ(difference(typed.back(), inputs.back().to(type)), 0) << "what was given stays";
  }
}

Tensors selective_inputs(int64_t channels, int64_t states) {
  return {random_tensor({rows, channels}, 1).exp(),
          random_tensor({rows, channels}, 2),
          random_tensor({rows, states}, 3),
          random_tensor({rows, states}, 4),
          -random_tensor({channels, states}, 5).exp() * 2,
          random_tensor({sequences, channels, states}, 6)};
}
const Scan selective = [](const Tensors& in, at::Tensor& memory) {
  return selective_scan(starts, in[0], in[1], in[2], in[3], in[4], memory);
};
const Scan selective_plain = [](const Tensors& in, at::Tensor& memory) {
  return selective_scan_plain(starts, in[0], in[1], in[2], in[3], in[4], memory);
};

TEST(SelectiveScan, IsThePlainLoopInValuesAndGradients) {
  for (const auto& [channels, states] : {std::pair<int64_t, int64_t>{37, 5}, {64, 16}, {3, 1}}) {
    SCOPED_TRACE(channels);
    const Tensors inputs = selective_inputs(channels, states);
    expect_same(inputs, selective, selective_plain, at::kDouble, 1e-12);
    expect_same(inputs, selective, selective_plain, at::kFloat, 3e-5);
  }
}

TEST(SelectiveScan, DecaysOfAnySizeGiveNumbersAndNoNumberStaysOne) {
  Tensors inputs = selective_inputs(20, 4);
  inputs[0] *= 1e4;  // all is forgotten
  at::Tensor memory = inputs[5];
  EXPECT_TRUE(selective(inputs, memory).isfinite().all().item<bool>());
  for (const size_t input : {0, 1, 2, 3, 4}) {
    Tensors broken = selective_inputs(20, 4);
    broken[input].view({-1})[1] = std::nanf("");
    memory = broken[5];
    EXPECT_TRUE(selective(broken, memory).isnan().any().item<bool>()) << input;
  }
}

Tensors delta_inputs(int64_t heads, int64_t width) {
  const auto of = [&](uint64_t seed) { return random_tensor({rows, heads, width}, seed); };
  const at::Tensor removal = of(2) / of(2).norm(2, -1, true);
  return {at::exp(-0.6 * at::sigmoid(of(1))),
          removal,
          removal * at::sigmoid(of(3)),
          of(4),
          of(5),
          of(6),
          random_tensor({sequences, heads, width, width}, 7)};
}
const Scan delta = [](const Tensors& in, at::Tensor& memory) {
  return delta_scan(starts, {in[0], in[1], in[2], in[3], in[4], in[5]}, memory);
};
const Scan delta_plain = [](const Tensors& in, at::Tensor& memory) {
  return delta_scan_plain(starts, {in[0], in[1], in[2], in[3], in[4], in[5]}, memory);
};

TEST(DeltaScan, IsThePlainLoopInValuesAndGradients) {
  for (const auto& [heads, width] : {std::pair<int64_t, int64_t>{3, 12}, {1, 16}, {2, 20}, {1, 64}, {1, 72}}) {
    SCOPED_TRACE(width);
    const Tensors inputs = delta_inputs(heads, width);
    expect_same(inputs, delta, delta_plain, at::kDouble, 1e-11);
    expect_same(inputs, delta, delta_plain, at::kFloat, 1e-4);
  }
}

TEST(DeltaScan, WiderHeadsGoStepByStepAndNoNumberStaysOne) {
  const Tensors wide = delta_inputs(1, 130);
  at::Tensor memory = wide[6], again = wide[6];
  EXPECT_EQ(difference(delta(wide, memory), delta_plain(wide, again)), 0);
  for (size_t input = 0; input < 6; ++input) {
    Tensors broken = delta_inputs(2, 12);
    broken[input].view({-1})[1] = std::nanf("");
    memory = broken[6];
    EXPECT_TRUE(delta(broken, memory).isnan().any().item<bool>()) << input;
  }
}

TEST(ShortConvolution, IsLibtorchsOnEachSequenceWithWhatCameBefore) {
  const at::Tensor both = random_tensor({rows, 42}, 1).to(at::kDouble);
  const at::Tensor x = both.slice(1, 0, 21), weight = random_tensor({21, 4}, 2).to(at::kDouble);
  const at::Tensor bias = random_tensor({21}, 3).to(at::kDouble);
  const at::Tensor kept = random_tensor({sequences, 3, 21}, 4).to(at::kDouble);
  for (const bool fresh : {false, true}) {
    const Scan fast = [&](const Tensors& in, at::Tensor& last) {
      last = in[0];  // there is no memory; one more output
      return short_convolution(starts, in[0], fresh ? at::Tensor() : kept, in[1], in[2]);
    };
    const Scan plain = [&](const Tensors& in, at::Tensor& last) {
      last = in[0];
      Tensors made;
      for (int64_t s = 0; s < sequences; ++s) {
        if (starts[s] == starts[s + 1]) continue;
        const at::Tensor front = fresh ? at::zeros_like(kept[s]) : kept[s];
        const at::Tensor joined = at::cat({front, in[0].slice(0, starts[s], starts[s + 1])}).t().unsqueeze(0);
        made.push_back(at::conv1d(joined, in[1].unsqueeze(1), in[2], at::IntArrayRef{1}, at::IntArrayRef{0},
                                  at::IntArrayRef{1}, 21)
                           .squeeze(0)
                           .t());
      }
      return at::cat(made);
    };
    const Tensors inputs{x, weight, bias};
    const Made expected = run(inputs, plain);
    const Made made = run(inputs, fast);
    expect_near(made.output, expected.output, 1e-12, "output");
    for (size_t i = 0; i < 3; ++i) expect_near(made.gradients[i], expected.gradients[i], 1e-12, std::to_string(i));
    // other types take the rows before from Lagged
    at::Tensor unused;
    const at::Tensor half = fast({x.to(at::kBFloat16), weight.to(at::kBFloat16), bias.to(at::kBFloat16)}, unused);
    expect_near(half, expected.output, 0.05, "bfloat16");
  }
}

}  // namespace
}  // namespace introspect
