// A small SAE with random weights, in the layouts of its publications, and the formulas that they must equal, written
// out number by number.
#pragma once

#include "base/json.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "sae/saved_sae.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {

constexpr int64_t kLatents = 7, kWidth = 4, kPositions = 5;

using Matrix = std::vector<std::vector<double>>;
using Row = std::vector<double>;
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

inline at::Tensor random_tensor(const std::string& name, at::IntArrayRef shape, double scale = 1) {
  Random random(1, name);
  at::Tensor tensor = at::empty(shape);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data_ptr<float>()[i] = static_cast<float>(scale * random.normal());
  return tensor;
}

inline Matrix matrix_of(const at::Tensor& tensor) {
  const at::Tensor numbers = tensor.to(at::kDouble).contiguous();
  Matrix rows(numbers.size(0), Row(numbers.size(1)));
  for (int64_t i = 0; i < numbers.size(0); ++i) {
    for (int64_t j = 0; j < numbers.size(1); ++j) rows[i][j] = numbers.data_ptr<double>()[i * numbers.size(1) + j];
  }
  return rows;
}
inline Row row_of(const at::Tensor& tensor) {
  return matrix_of(tensor.unsqueeze(0))[0];
}

// The weights of every test, in the orientation of the formulas.
inline const at::Tensor kEncoder = random_tensor("encoder", {kWidth, kLatents});
inline const at::Tensor kDecoder = random_tensor("decoder", {kLatents, kWidth});
inline const at::Tensor kEncoderBias = random_tensor("encoder bias", {kLatents}, 0.3);
inline const at::Tensor kDecoderBias = random_tensor("decoder bias", {kWidth}, 0.5);
inline const at::Tensor kThreshold = random_tensor("threshold", {kLatents}).abs();
inline const at::Tensor kInput = random_tensor("input", {kPositions, kWidth}, 3) + 1;

inline const Matrix W_enc = matrix_of(kEncoder), W_dec = matrix_of(kDecoder);
inline const Row b_enc = row_of(kEncoderBias), b_dec = row_of(kDecoderBias), threshold = row_of(kThreshold);

inline double decoder_norm(int64_t latent) {
  double sum = 0;
  for (const double each : W_dec[latent]) sum += each * each;
  return std::sqrt(sum);
}

// x W_enc + b, of a position.
inline Row encode_linear(const Row& x, const Row& bias) {
  Row pre = bias;
  for (int64_t l = 0; l < kLatents; ++l) {
    for (int64_t d = 0; d < kWidth; ++d) pre[l] += x[d] * W_enc[d][l];
  }
  return pre;
}
// a W_dec + b, of a position.
inline Row decode_linear(const Row& activations, const Row& bias) {
  Row x = bias;
  for (int64_t l = 0; l < kLatents; ++l) {
    for (int64_t d = 0; d < kWidth; ++d) x[d] += activations[l] * W_dec[l][d];
  }
  return x;
}
inline Row minus(Row x, const Row& bias) {
  for (size_t i = 0; i < x.size(); ++i) x[i] -= bias[i];
  return x;
}
inline Row times(Row x, double factor) {
  for (double& each : x) each *= factor;
  return x;
}
inline Row top(Row activations, int64_t k) {
  Row sorted = activations;
  std::sort(sorted.rbegin(), sorted.rend());
  for (double& each : activations) each = each >= sorted[k - 1] ? std::max(each, 0.0) : 0;
  return activations;
}

struct Expected {
  Row activations, reconstruction;
};
using Formula = std::function<Expected(const Row& x)>;

inline void expect_formula(const Sae& sae, const Formula& formula, double tolerance = 1e-4) {
  ASSERT_EQ(sae.latents(), kLatents);
  ASSERT_EQ(sae.width(), kWidth);
  const at::Tensor encoded = encode(sae, kInput);
  const Matrix activations = matrix_of(encoded), reconstruction = matrix_of(decode(sae, encoded, kInput));
  const Matrix x = matrix_of(kInput);
  int64_t active = 0;
  for (int64_t n = 0; n < kPositions; ++n) {
    const Expected expected = formula(x[n]);
    for (int64_t l = 0; l < kLatents; ++l) {
      EXPECT_NEAR(activations[n][l], expected.activations[l], tolerance) << "position " << n << " latent " << l;
      active += activations[n][l] > 0;
    }
    for (int64_t d = 0; d < kWidth; ++d) {
      EXPECT_NEAR(reconstruction[n][d], expected.reconstruction[d], tolerance) << "position " << n << " number " << d;
    }
  }
  // a test in which everything or nothing is active compares nothing
  EXPECT_GT(active, kPositions / 2);
  EXPECT_LT(active, kPositions * kLatents);
  const at::Tensor some = at::tensor({3, 0}, at::kLong);
  EXPECT_TRUE(at::allclose(encode_latents(sae, kInput, some), encoded.index_select(1, some), 1e-5, 1e-6));
}

inline Expected standard_formula(const Row& x) {
  Row a = encode_linear(minus(x, b_dec), b_enc);
  for (double& each : a) each = std::max(each, 0.0);
  return {a, decode_linear(a, b_dec)};
}

inline Tensors with(Tensors tensors, const std::string& name, const at::Tensor& tensor) {
  std::erase_if(tensors, [&](const auto& entry) { return entry.first == name; });
  if (tensor.defined()) tensors.emplace_back(name, tensor);
  return tensors;
}
inline Json with(Json config, const std::string& key, const Json& value) {
  config[key] = value;
  return config;
}

// ---- the tensors of a publication, also written where several layouts meet

inline Tensors gemma_tensors() {
  return {{"W_enc", kEncoder},
          {"b_enc", kEncoderBias},
          {"W_dec", kDecoder},
          {"b_dec", kDecoderBias},
          {"threshold", kThreshold}};
}

inline Tensors sparsify_tensors() {
  return {{"encoder.weight", kEncoder.t().contiguous()},
          {"encoder.bias", kEncoderBias},
          {"W_dec", kDecoder},
          {"b_dec", kDecoderBias}};
}
inline fs::path write_sparsify(const TemporaryFolder& folder, const std::string& name, const Json& config,
                               const Tensors& tensors) {
  const fs::path path = folder / name;
  fs::create_directories(path);
  write_json(path / "cfg.json", config);
  write_safetensors(path / "sae.safetensors", tensors);
  return path;
}
inline Json sparsify_config() {
  return {{"activation", "topk"},
          {"expansion_factor", 32},
          {"normalize_decoder", true},
          {"num_latents", kLatents},
          {"k", 3},
          {"multi_topk", true},
          {"transcode", false},
          {"d_in", kWidth}};
}

}  // namespace introspect
