// Every layout: a small SAE is written as its publication writes it, loaded, and compared with the publication's
// formula, written out here number by number.
#include "base/json.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "sae/npz_files.h"
#include "sae/saved_sae.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

constexpr int64_t kLatents = 7, kWidth = 4, kPositions = 5;

using Matrix = std::vector<std::vector<double>>;
using Row = std::vector<double>;
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

at::Tensor random_tensor(const std::string& name, at::IntArrayRef shape, double scale = 1) {
  Random random(1, name);
  at::Tensor tensor = at::empty(shape);
  for (int64_t i = 0; i < tensor.numel(); ++i)
    tensor.data_ptr<float>()[i] = static_cast<float>(scale * random.normal());
  return tensor;
}

Matrix matrix_of(const at::Tensor& tensor) {
  const at::Tensor numbers = tensor.to(at::kDouble).contiguous();
  Matrix rows(numbers.size(0), Row(numbers.size(1)));
  for (int64_t i = 0; i < numbers.size(0); ++i) {
    for (int64_t j = 0; j < numbers.size(1); ++j) rows[i][j] = numbers.data_ptr<double>()[i * numbers.size(1) + j];
  }
  return rows;
}
Row row_of(const at::Tensor& tensor) {
  return matrix_of(tensor.unsqueeze(0))[0];
}

// The weights of every test, in the orientation of the formulas.
const at::Tensor kEncoder = random_tensor("encoder", {kWidth, kLatents});
const at::Tensor kDecoder = random_tensor("decoder", {kLatents, kWidth});
const at::Tensor kEncoderBias = random_tensor("encoder bias", {kLatents}, 0.3);
const at::Tensor kDecoderBias = random_tensor("decoder bias", {kWidth}, 0.5);
const at::Tensor kThreshold = random_tensor("threshold", {kLatents}).abs();
const at::Tensor kInput = random_tensor("input", {kPositions, kWidth}, 3) + 1;

const Matrix W_enc = matrix_of(kEncoder), W_dec = matrix_of(kDecoder);
const Row b_enc = row_of(kEncoderBias), b_dec = row_of(kDecoderBias), threshold = row_of(kThreshold);

double decoder_norm(int64_t latent) {
  double sum = 0;
  for (const double each : W_dec[latent]) sum += each * each;
  return std::sqrt(sum);
}

// x W_enc + b, of a position.
Row encode_linear(const Row& x, const Row& bias) {
  Row pre = bias;
  for (int64_t l = 0; l < kLatents; ++l) {
    for (int64_t d = 0; d < kWidth; ++d) pre[l] += x[d] * W_enc[d][l];
  }
  return pre;
}
// a W_dec + b, of a position.
Row decode_linear(const Row& activations, const Row& bias) {
  Row x = bias;
  for (int64_t l = 0; l < kLatents; ++l) {
    for (int64_t d = 0; d < kWidth; ++d) x[d] += activations[l] * W_dec[l][d];
  }
  return x;
}
Row minus(Row x, const Row& bias) {
  for (size_t i = 0; i < x.size(); ++i) x[i] -= bias[i];
  return x;
}
Row times(Row x, double factor) {
  for (double& each : x) each *= factor;
  return x;
}
Row top(Row activations, int64_t k) {
  Row sorted = activations;
  std::sort(sorted.rbegin(), sorted.rend());
  for (double& each : activations) each = each >= sorted[k - 1] ? std::max(each, 0.0) : 0;
  return activations;
}

struct Expected {
  Row activations, reconstruction;
};
using Formula = std::function<Expected(const Row& x)>;

void expect_formula(const Sae& sae, const Formula& formula, double tolerance = 1e-4) {
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

// ---------------------------------------------------------------------------------------------------- SAELens

Tensors saelens_tensors() {
  return {{"W_enc", kEncoder}, {"b_enc", kEncoderBias}, {"W_dec", kDecoder}, {"b_dec", kDecoderBias}};
}
Json saelens_config(const std::string& architecture) {
  return {{"architecture", architecture},
          {"d_in", kWidth},
          {"d_sae", kLatents},
          {"dtype", "float32"},
          {"apply_b_dec_to_input", true},
          {"normalize_activations", "none"},
          {"metadata",
           {{"sae_lens_version", "6.18.0"},
            {"model_name", "meta-llama/Llama-3.1-8B"},
            {"hook_name", "blocks.2.hook_resid_post"},
            {"hook_head_index", nullptr}}}};
}
fs::path write_saelens(const TemporaryFolder& folder, const Json& config, const Tensors& tensors) {
  write_json(folder / "cfg.json", config);
  write_safetensors(folder / "sae_weights.safetensors", tensors);
  return folder.path();
}
std::string saelens_error(const Json& config, const Tensors& tensors) {
  const TemporaryFolder folder;
  return error_of([&] { load_sae(write_saelens(folder, config, tensors)); });
}
Tensors with(Tensors tensors, const std::string& name, const at::Tensor& tensor) {
  std::erase_if(tensors, [&](const auto& entry) { return entry.first == name; });
  if (tensor.defined()) tensors.emplace_back(name, tensor);
  return tensors;
}
Json with(Json config, const std::string& key, const Json& value) {
  config[key] = value;
  return config;
}

Expected standard_formula(const Row& x) {
  Row a = encode_linear(minus(x, b_dec), b_enc);
  for (double& each : a) each = std::max(each, 0.0);
  return {a, decode_linear(a, b_dec)};
}

TEST(SaeLens, Standard) {
  const TemporaryFolder folder;
  const Sae sae = load_sae(write_saelens(folder, saelens_config("standard"), saelens_tensors()));
  EXPECT_EQ(sae.layout, "saelens");
  EXPECT_EQ(sae.kind, SaeKind::standard);
  EXPECT_EQ(sae.model, "meta-llama/Llama-3.1-8B");
  EXPECT_EQ(sae.place, (Place{PlaceKind::resid_post, 2}));
  expect_formula(sae, standard_formula);
}

TEST(SaeLens, ConfigsBeforeVersion6) {
  const TemporaryFolder folder;
  Json config = {{"d_in", kWidth},
                 {"d_sae", kLatents},
                 {"model_name", "gpt2-small"},
                 {"hook_point", "blocks.8.hook_resid_pre"},
                 {"hook_point_layer", 8},
                 {"hook_point_head_index", nullptr},
                 {"activation_fn_str", "topk"},
                 {"activation_fn_kwargs", {{"k", 2}}},
                 {"normalize_activations", false},
                 {"apply_b_dec_to_input", false}};
  const Sae sae = load_sae(write_saelens(folder, config, saelens_tensors()));
  EXPECT_EQ(sae.kind, SaeKind::topk);
  EXPECT_EQ(sae.place, (Place{PlaceKind::resid_pre, 8}));
  expect_formula(sae, [](const Row& x) {
    const Row a = top(encode_linear(x, b_enc), 2);
    return Expected{a, decode_linear(a, b_dec)};
  });
  // the oldest say neither architecture nor activation, and center the input
  for (const char* key : {"activation_fn_str", "activation_fn_kwargs", "apply_b_dec_to_input"}) config.erase(key);
  expect_formula(load_sae(write_saelens(folder, config, saelens_tensors())), standard_formula);
}

TEST(SaeLens, TopKByDecoderNorm) {
  const TemporaryFolder folder;
  Json config = with(with(saelens_config("topk"), "k", 3), "rescale_acts_by_decoder_norm", true);
  expect_formula(load_sae(write_saelens(folder, config, saelens_tensors())), [](const Row& x) {
    Row a = encode_linear(minus(x, b_dec), b_enc);
    for (int64_t l = 0; l < kLatents; ++l) a[l] *= decoder_norm(l);
    a = top(a, 3);
    Row scaled = a;
    for (int64_t l = 0; l < kLatents; ++l) scaled[l] /= decoder_norm(l);
    return Expected{a, decode_linear(scaled, b_dec)};
  });
}

TEST(SaeLens, JumpRelu) {
  const Formula formula = [](const Row& x) {
    Row a = encode_linear(minus(x, b_dec), b_enc);
    for (int64_t l = 0; l < kLatents; ++l) a[l] = a[l] > threshold[l] ? a[l] : 0;
    return Expected{a, decode_linear(a, b_dec)};
  };
  const TemporaryFolder folder;
  const Json config = saelens_config("jumprelu");
  Tensors tensors = with(saelens_tensors(), "threshold", kThreshold);
  expect_formula(load_sae(write_saelens(folder, config, tensors)), formula);
  tensors = with(saelens_tensors(), "log_threshold", kThreshold.log());
  expect_formula(load_sae(write_saelens(folder, config, tensors)), formula);
}

TEST(SaeLens, BatchTopK) {
  const TemporaryFolder folder;
  const Json config = with(saelens_config("batchtopk"), "k", 2.5);
  const Tensors tensors = with(saelens_tensors(), "topk_threshold", at::scalar_tensor(1.25, at::kDouble));
  const Sae sae = load_sae(write_saelens(folder, config, tensors));
  EXPECT_EQ(sae.kind, SaeKind::batchtopk);
  expect_formula(sae, [](const Row& x) {
    Row a = encode_linear(minus(x, b_dec), b_enc);
    for (double& each : a) each = each > 1.25 ? each : 0;
    return Expected{a, decode_linear(a, b_dec)};
  });
  const Json rescaled =
      with(with(config, "architecture", "matryoshka_batchtopk"), "rescale_acts_by_decoder_norm", true);
  expect_formula(load_sae(write_saelens(folder, rescaled, tensors)), [](const Row& x) {
    Row a = encode_linear(minus(x, b_dec), b_enc), scaled(kLatents);
    for (int64_t l = 0; l < kLatents; ++l) {
      a[l] *= decoder_norm(l);
      a[l] = a[l] > 1.25 ? a[l] : 0;
      scaled[l] = a[l] / decoder_norm(l);
    }
    return Expected{a, decode_linear(scaled, b_dec)};
  });
}

TEST(SaeLens, Gated) {
  const at::Tensor gate_bias = random_tensor("gate", {kLatents}),
                   magnitude = random_tensor("magnitude", {kLatents}, 0.4);
  const Tensors tensors = {{"W_enc", kEncoder},     {"b_gate", gate_bias}, {"r_mag", magnitude},
                           {"b_mag", kEncoderBias}, {"W_dec", kDecoder},   {"b_dec", kDecoderBias}};
  const TemporaryFolder folder;
  const Sae sae = load_sae(write_saelens(folder, saelens_config("gated"), tensors));
  expect_formula(sae, [&](const Row& x) {
    const Row centered = minus(x, b_dec), products = encode_linear(centered, Row(kLatents, 0));
    const Row b_gate = row_of(gate_bias), r_mag = row_of(magnitude);
    Row a(kLatents);
    for (int64_t l = 0; l < kLatents; ++l) {
      const double size = std::max(0.0, std::exp(r_mag[l]) * products[l] + b_enc[l]);
      a[l] = products[l] + b_gate[l] > 0 ? size : 0;
    }
    return Expected{a, decode_linear(a, b_dec)};
  });
}

TEST(SaeLens, LayerNorm) {
  const TemporaryFolder folder;
  const Json config = with(saelens_config("standard"), "normalize_activations", "layer_norm");
  expect_formula(load_sae(write_saelens(folder, config, saelens_tensors())), [](const Row& x) {
    double mean = 0, squares = 0;
    for (const double each : x) mean += each / kWidth;
    for (const double each : x) squares += (each - mean) * (each - mean);
    const double deviation = std::sqrt(squares / (kWidth - 1));  // torch.std is the unbiased one
    Row normed = x;
    for (double& each : normed) each = (each - mean) / (deviation + 1e-5);
    Expected expected = standard_formula(normed);
    for (double& each : expected.reconstruction) each = each * deviation + mean;
    return expected;
  });
}

TEST(SaeLens, ScaleOfTheInput) {
  const double scale = 0.37;
  const Formula formula = [&](const Row& x) {
    Expected expected = standard_formula(times(x, scale));
    expected.reconstruction = times(expected.reconstruction, 1 / scale);
    return expected;
  };
  const TemporaryFolder folder;
  Json config = with(saelens_config("standard"), "normalize_activations", "expected_average_only_in");
  const std::string error = error_of([&] { load_sae(write_saelens(folder, config, saelens_tensors())); });
  EXPECT_TRUE(holds(error, "the scale of the input is not there"));
  EXPECT_TRUE(holds(error, "hint: add \"norm_scaling_factor\""));
  write_json(folder / "activation_scaler.json", {{"scaling_factor", scale}});
  expect_formula(load_sae(folder.path()), formula);
  config["metadata"]["norm_scaling_factor"] = scale;  // goes before the checkpoint's file
  write_json(folder / "activation_scaler.json", {{"scaling_factor", 7}});
  expect_formula(load_sae(write_saelens(folder, config, saelens_tensors())), formula);
  config["metadata"]["norm_scaling_factor"] = -1;
  EXPECT_TRUE(holds(saelens_error(config, saelens_tensors()), "a number above 0"));
  // null: SAELens has folded it
  config["metadata"].erase("norm_scaling_factor");
  write_json(folder / "activation_scaler.json", {{"scaling_factor", nullptr}});
  expect_formula(load_sae(write_saelens(folder, config, saelens_tensors())), standard_formula);
}

TEST(SaeLens, FactorsFoundAfterTraining) {
  const at::Tensor factor = random_tensor("factor", {kLatents}).abs() + 0.5;
  const Formula formula = [&](const Row& x) {
    Expected expected = standard_formula(x);
    Row scaled = expected.activations;
    for (int64_t l = 0; l < kLatents; ++l) scaled[l] *= row_of(factor)[l];
    expected.reconstruction = decode_linear(scaled, b_dec);
    return expected;
  };
  const TemporaryFolder folder;
  const Json config = with(saelens_config("standard"), "finetuning_scaling_factor", true);
  for (const char* name : {"scaling_factor", "finetuning_scaling_factor"}) {
    expect_formula(load_sae(write_saelens(folder, config, with(saelens_tensors(), name, factor))), formula);
  }
  const Json silent = saelens_config("standard");
  EXPECT_TRUE(holds(saelens_error(silent, with(saelens_tensors(), "scaling_factor", factor)),
                    "finetuning_scaling_factor is false"));
  const Tensors ones = with(saelens_tensors(), "scaling_factor", at::ones({kLatents}));
  expect_formula(load_sae(write_saelens(folder, silent, ones)), standard_formula);
}

TEST(SaeLens, OtherTypesOfWeights) {
  const TemporaryFolder folder;
  const Sae exact = load_sae(write_saelens(folder, saelens_config("standard"), saelens_tensors()));
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kDouble}) {
    Tensors tensors = saelens_tensors();
    for (auto& [name, tensor] : tensors) tensor = tensor.to(type);
    const Sae sae = load_sae(write_saelens(folder, saelens_config("standard"), tensors));
    EXPECT_EQ(sae.encoder.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::allclose(sae.encoder, exact.encoder, 1e-2, 1e-2));
    EXPECT_TRUE(at::equal(sae.decoder, kDecoder.to(type).to(at::kFloat)));
  }
}

TEST(SaeLens, WhatIsNotSupportedIsNamed) {
  const Json config = saelens_config("standard");
  const auto refused = [&](const std::string& key, const Json& value, const std::string& text) {
    EXPECT_TRUE(holds(saelens_error(with(config, key, value), saelens_tensors()), text)) << key;
  };
  refused("architecture", "skip_transcoder", "architecture 'skip_transcoder' is not supported");
  refused("activation_fn_str", "tanh-relu", "activation 'tanh-relu'");
  refused("normalize_activations", "constant_norm_rescale", "normalize_activations 'constant_norm_rescale'");
  refused("hook_head_index", 3, "a single attention head");
  refused("hook_name", "blocks.2.attn.hook_z", "hook 'blocks.2.attn.hook_z'");
  refused("hook_name", "blocks.2.ln2.hook_normalized", "hook 'blocks.2.ln2.hook_normalized'");
  refused("hook_name_out", "blocks.2.hook_mlp_out", "a transcoder from blocks.2.hook_resid_post");
  Json nameless = config;
  nameless.erase("metadata");
  EXPECT_TRUE(holds(saelens_error(nameless, saelens_tensors()), "'hook_name' is missing"));
}

TEST(SaeLens, NewerHookNames) {
  const TemporaryFolder folder;
  const auto place = [&](const char* hook) {
    return load_sae(write_saelens(folder, with(saelens_config("standard"), "hook_name", hook), saelens_tensors()))
        .place;
  };
  EXPECT_EQ(place("blocks.3.hook_out"), (Place{PlaceKind::resid_post, 3}));
  EXPECT_EQ(place("blocks.3.hook_in"), (Place{PlaceKind::resid_pre, 3}));
  EXPECT_EQ(place("hook_embed"), (Place{PlaceKind::embed, -1}));
}

TEST(SaeLens, ContradictionsAreErrorsWithThePath) {
  const Json config = saelens_config("topk");
  const auto error = [&](const std::string& key, const Json& value) {
    return saelens_error(with(with(config, "k", 3), key, value), saelens_tensors());
  };
  EXPECT_TRUE(holds(error("d_in", 5), "d_in is 5, but the tensors have 4"));
  EXPECT_TRUE(holds(error("d_in", 5), "cfg.json"));
  EXPECT_TRUE(holds(error("d_sae", 8), "d_sae is 8, but the tensors have 7"));
  EXPECT_TRUE(holds(error("d_out", 8), "d_out is 8"));
  EXPECT_TRUE(holds(error("hook_layer", 3), "hook_layer is 3, but hook_name is blocks.2"));
  EXPECT_TRUE(holds(error("k", 8), "k: got 8, expected 1 to"));
  EXPECT_TRUE(holds(error("k", 0), "k: got 0"));
  EXPECT_TRUE(holds(error("k", "many"), "expected an integer"));
  EXPECT_TRUE(holds(saelens_error(config, saelens_tensors()), "key 'k' is missing"));
}

TEST(SaeLens, MalformedWeights) {
  const Json config = saelens_config("standard");
  const Tensors good = saelens_tensors();
  const auto error = [&](const std::string& name, const at::Tensor& tensor) {
    return saelens_error(config, with(good, name, tensor));
  };
  at::Tensor broken = kEncoder.clone();
  EXPECT_TRUE(holds(error("b_enc", {}), "tensor 'b_enc' is missing, the file has"));
  EXPECT_TRUE(holds(error("W_dec", {}), "tensor 'W_dec' is missing"));
  EXPECT_TRUE(holds(error("W_enc", kEncoder.t().contiguous()), "tensor 'W_enc': got shape [7, 4], expected [4, 7]"));
  EXPECT_TRUE(holds(error("W_dec", kDecoderBias), "expected 2 dimensions"));
  EXPECT_TRUE(holds(error("W_dec", at::zeros({0, 4})), "of at least 1"));
  EXPECT_TRUE(holds(error("b_dec", at::zeros({4}, at::kInt)), "expected a floating-point type"));
  EXPECT_TRUE(holds(error("W_skip", at::zeros({4, 4})), "tensor 'W_skip' has no meaning"));
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    broken[1][2] = bad;
    EXPECT_TRUE(holds(error("W_enc", broken), "tensor 'W_enc' holds numbers that are not finite"));
  }
  EXPECT_TRUE(holds(error("b_dec", at::full({4}, 1e300, at::kDouble)), "not finite in float32"));
  EXPECT_TRUE(holds(error("b_dec", at::full({4}, 1e300, at::kDouble)), "sae_weights.safetensors"));

  const TemporaryFolder folder;
  write_saelens(folder, config, good);
  const std::string bytes = read_text(folder / "sae_weights.safetensors");
  for (size_t size = 0; size < bytes.size(); size += 37) {
    folder.write("sae_weights.safetensors", bytes.substr(0, size));
    EXPECT_THROW(load_sae(folder.path()), Error) << size;
  }
  for (const char* text : {"", "[]", "{", "{\"architecture\": 3}", "{\"metadata\": 1}"}) {
    folder.write("cfg.json", text);
    EXPECT_THROW(load_sae(folder.path()), Error) << text;
  }
}

TEST(SaeLens, WhatIsSavedIsReadBack) {
  for (const SaeKind kind : {SaeKind::standard, SaeKind::topk, SaeKind::batchtopk, SaeKind::jumprelu, SaeKind::gated}) {
    Sae sae;
    sae.kind = kind;
    sae.k = 2;
    sae.encoder = kEncoder.t();
    sae.encoder_bias = kEncoderBias;
    sae.decoder = kDecoder;
    sae.decoder_bias = kDecoderBias;
    sae.threshold = kThreshold;
    sae.gate_bias = random_tensor("gate", {kLatents});
    sae.magnitude = random_tensor("magnitude", {kLatents}, 0.4);
    sae.input_scale = 1.7;
    sae.layer_norm = kind == SaeKind::topk;
    sae.place = {PlaceKind::resid_mid, 1};
    sae.model = "models/tiny-llama";
    const TemporaryFolder folder;
    save_sae(sae, folder.path(), at::kFloat, Json::object());
    const Sae read = load_sae(folder.path());
    EXPECT_EQ(read.place, sae.place);
    EXPECT_EQ(read.model, sae.model);
    const at::Tensor expected = encode(sae, kInput), activations = encode(read, kInput);
    EXPECT_TRUE(at::allclose(activations, expected, 1e-4, 1e-5)) << sae_kind_name(kind);
    EXPECT_TRUE(at::allclose(decode(read, activations, kInput), decode(sae, expected, kInput), 1e-4, 1e-5));
  }
}

// ------------------------------------------------------------------------------------------------ Llama Scope

Json llama_settings() {
  return {{"d_model", kWidth},
          {"d_sae", kLatents},
          {"hook_point_in", "blocks.19.hook_resid_post"},
          {"hook_point_out", "blocks.19.hook_resid_post"},
          {"act_fn", "jumprelu"},
          {"jump_relu_threshold", 0.9},
          {"norm_activation", "dataset-wise"},
          {"dataset_average_activation_norm", {{"in", 5.5}, {"out", 5.5}}},
          {"use_decoder_bias", true},
          {"apply_decoder_bias_to_pre_encoder", false},
          {"sparsity_include_decoder_norm", true},
          {"top_k", 2}};
}
Tensors llama_tensors() {
  return {{"encoder.weight", kEncoder.t().contiguous()},
          {"encoder.bias", kEncoderBias},
          {"decoder.weight", kDecoder.t().contiguous()},
          {"decoder.bias", kDecoderBias}};
}
fs::path write_llama(const TemporaryFolder& folder, const Json& settings, const Tensors& tensors) {
  const fs::path path = folder / "Llama3_1-8B-Base-L19R-32x";
  fs::create_directories(path / "checkpoints");
  write_json(path / "hyperparams.json", settings);
  write_safetensors(path / "checkpoints" / "final.safetensors", tensors);
  return path;
}
std::string llama_error(const Json& settings, const Tensors& tensors) {
  const TemporaryFolder folder;
  return error_of([&] { load_sae(write_llama(folder, settings, tensors)); });
}
const double kLlamaScale = std::sqrt(static_cast<double>(kWidth)) / 5.5;

// Their inference: the scale is folded into the biases, the decoder's norms into the encoder; the input is taken as it
// is. `scale` is 1 where the activations are compared in the units of the residual stream.
TEST(LlamaScope, JumpRelu) {
  const TemporaryFolder folder;
  for (const bool with_norm : {true, false}) {
    const Sae sae = load_sae(
        write_llama(folder, with(llama_settings(), "sparsity_include_decoder_norm", with_norm), llama_tensors()));
    EXPECT_EQ(sae.layout, "llama-scope");
    EXPECT_EQ(sae.model, "meta-llama/Llama-3.1-8B");
    EXPECT_EQ(sae.place, (Place{PlaceKind::resid_post, 19}));
    expect_formula(sae, [&](const Row& x) {
      const Row folded = encode_linear(x, times(b_enc, 1 / kLlamaScale));
      Row activations(kLatents), ours(kLatents);
      for (int64_t l = 0; l < kLatents; ++l) {
        const double compared = folded[l] * (with_norm ? decoder_norm(l) : 1);
        activations[l] = compared > 0.9 ? folded[l] : 0;
        ours[l] = activations[l] * kLlamaScale;  // of the scaled input, as SAELens and Neuronpedia give them
      }
      return Expected{ours, decode_linear(activations, times(b_dec, 1 / kLlamaScale))};
    });
  }
}

TEST(LlamaScope, BiasBeforeTheEncoder) {
  const TemporaryFolder folder;
  Json settings = with(with(llama_settings(), "act_fn", "relu"), "apply_decoder_bias_to_pre_encoder", true);
  expect_formula(load_sae(write_llama(folder, settings, llama_tensors())), [](const Row& x) {
    Expected expected = standard_formula(times(x, kLlamaScale));
    expected.reconstruction = times(expected.reconstruction, 1 / kLlamaScale);
    return expected;
  });
}

TEST(LlamaScope, TopKByDecoderNorm) {
  const TemporaryFolder folder;
  Json settings = with(with(llama_settings(), "act_fn", "topk"), "jump_relu_threshold", 0.0);
  settings["norm_activation"] = "inference";
  settings["use_decoder_bias"] = false;
  const Tensors tensors = with(llama_tensors(), "decoder.bias", {});
  const Sae sae = load_sae(write_llama(folder, settings, tensors));
  EXPECT_EQ(sae.kind, SaeKind::topk);
  expect_formula(sae, [](const Row& x) {
    Row a = encode_linear(x, b_enc), scaled(kLatents);
    for (int64_t l = 0; l < kLatents; ++l) a[l] *= decoder_norm(l);
    a = top(a, 2);
    for (int64_t l = 0; l < kLatents; ++l) scaled[l] = a[l] / decoder_norm(l);
    return Expected{a, decode_linear(scaled, Row(kWidth, 0))};
  });
  // with a threshold, their code uses it in the place of k
  settings["jump_relu_threshold"] = 0.9;
  EXPECT_EQ(load_sae(write_llama(folder, settings, tensors)).kind, SaeKind::jumprelu);
}

TEST(LlamaScope, Refusals) {
  const auto refused = [&](const std::string& key, const Json& value, const std::string& text) {
    EXPECT_TRUE(holds(llama_error(with(llama_settings(), key, value), llama_tensors()), text)) << key;
  };
  refused("act_fn", "layertopk", "act_fn 'layertopk' is not supported");
  refused("norm_activation", "token-wise", "norm_activation 'token-wise'");
  refused("hook_point_out", "blocks.19.hook_mlp_out", "a transcoder from");
  refused("use_glu_encoder", true, "use_glu_encoder");
  refused("hook_point_in", "blocks.19.attn.hook_z", "transcoder");
  refused("d_model", 5, "d_model is 5, but the tensors have 4");
  refused("d_sae", 5, "d_sae is 5, but the tensors have 7");
  refused("jump_relu_threshold", nullptr, "key 'jump_relu_threshold'");
  refused("dataset_average_activation_norm", {{"in", 0}}, "a number above 0");
  refused("dataset_average_activation_norm", {{"in", 2}, {"out", 3}}, "at one place");
  refused("dataset_average_activation_norm", nullptr, "'in'");
  Json settings = llama_settings();
  settings.erase("sparsity_include_decoder_norm");
  EXPECT_TRUE(holds(llama_error(settings, llama_tensors()), "'sparsity_include_decoder_norm' is missing"));
  EXPECT_TRUE(holds(llama_error(llama_settings(), with(llama_tensors(), "decoder.weight", kDecoder)),
                    "tensor 'decoder.weight': got shape [7, 4], expected [4, 7]"));
  EXPECT_TRUE(
      holds(llama_error(llama_settings(), with(llama_tensors(), "encoder.bias", {})), "'encoder.bias' is missing"));
}

// ------------------------------------------------------------------------------------------------ Gemma Scope

Tensors gemma_tensors() {
  return {{"W_enc", kEncoder},
          {"b_enc", kEncoderBias},
          {"W_dec", kDecoder},
          {"b_dec", kDecoderBias},
          {"threshold", kThreshold}};
}
const std::string kGemmaPath = "gemma-scope-9b-pt-res/layer_20/width_16k/average_l0_71/";

Expected gemma_formula(const Row& x) {
  Row a = encode_linear(x, b_enc);  // the input is not centred
  for (int64_t l = 0; l < kLatents; ++l) a[l] = a[l] > threshold[l] ? a[l] : 0;
  return {a, decode_linear(a, b_dec)};
}

TEST(GemmaScope, JumpRelu) {
  const TemporaryFolder folder;
  for (const bool fortran : {false, true}) {
    const fs::path path = folder.write(kGemmaPath + "params.npz", npz_of(gemma_tensors(), fortran));
    for (const Sae& sae : {load_sae(path), load_sae(path.parent_path())}) {
      EXPECT_EQ(sae.layout, "gemma-scope");
      EXPECT_EQ(sae.model, "google/gemma-2-9b");
      EXPECT_EQ(sae.place, (Place{PlaceKind::resid_post, 20}));
      expect_formula(sae, gemma_formula);
    }
  }
}

// The residual stream begins with sqrt(D) times the rows that it was trained on.
TEST(GemmaScope, Embedding) {
  const TemporaryFolder folder;
  const Sae sae = load_sae(
      folder.write("gemma-scope-2b-it-res/embedding/width_4k/average_l0_6/params.npz", npz_of(gemma_tensors())));
  EXPECT_EQ(sae.place, (Place{PlaceKind::embed, -1}));
  EXPECT_EQ(sae.model, "google/gemma-2-2b-it");
  expect_formula(sae, [](const Row& x) {
    const double root = std::sqrt(static_cast<double>(kWidth));
    Expected expected = gemma_formula(times(x, 1 / root));
    expected.reconstruction = times(expected.reconstruction, root);
    return expected;
  });
}

TEST(GemmaScope, Refusals) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& path, const Tensors& tensors) {
    return error_of([&] { load_sae(folder.write(path + "params.npz", npz_of(tensors))); });
  };
  EXPECT_TRUE(holds(error("somewhere/", gemma_tensors()), "the layer is not known"));
  EXPECT_TRUE(holds(error("gemma-scope-9b-pt-att/layer_2/width_16k/", gemma_tensors()), "attention heads"));
  EXPECT_TRUE(holds(error("gemma-scope-2b-pt-transcoders/layer_2/", gemma_tensors()), "transcoders"));
  EXPECT_TRUE(holds(error(kGemmaPath, with(gemma_tensors(), "threshold", {})), "tensor 'threshold' is missing"));
  EXPECT_TRUE(
      holds(error(kGemmaPath, with(gemma_tensors(), "threshold", at::zeros({3}))), "got shape [3], expected [7]"));
  EXPECT_TRUE(holds(error(kGemmaPath, with(gemma_tensors(), "b_enc", at::full({7}, NAN))), "not finite"));
  EXPECT_TRUE(holds(error(kGemmaPath, with(gemma_tensors(), "extra", at::zeros({3}))), "'extra' has no meaning"));
  const std::string integers = npy_file(npy_header("<i4", {7}), std::string(28, '\0'));
  std::vector<ZipEntry> entries;
  for (const auto& [name, tensor] : gemma_tensors()) {
    entries.push_back({name + ".npy", name == "b_enc" ? integers : npy_of(tensor), -1, -1, 0});
  }
  const fs::path path = folder.write(kGemmaPath + "params.npz", zip_of(entries));
  EXPECT_TRUE(holds(error_of([&] { load_sae(path); }), "'b_enc': got Int, expected a floating-point type"));
}

// --------------------------------------------------------------------------------------------------- sparsify

Tensors sparsify_tensors() {
  return {{"encoder.weight", kEncoder.t().contiguous()},
          {"encoder.bias", kEncoderBias},
          {"W_dec", kDecoder},
          {"b_dec", kDecoderBias}};
}
fs::path write_sparsify(const TemporaryFolder& folder, const std::string& name, const Json& config,
                        const Tensors& tensors) {
  const fs::path path = folder / name;
  fs::create_directories(path);
  write_json(path / "cfg.json", config);
  write_safetensors(path / "sae.safetensors", tensors);
  return path;
}
Json sparsify_config() {
  return {{"activation", "topk"},
          {"expansion_factor", 32},
          {"normalize_decoder", true},
          {"num_latents", kLatents},
          {"k", 3},
          {"multi_topk", true},
          {"transcode", false},
          {"d_in", kWidth}};
}

TEST(Sparsify, TopK) {
  const TemporaryFolder folder;
  folder.write("run/config.json", R"({"model": "EleutherAI/pythia-160m", "k": 1})");
  const Sae sae = load_sae(write_sparsify(folder, "run/layers.10", sparsify_config(), sparsify_tensors()));
  EXPECT_EQ(sae.layout, "sparsify");
  EXPECT_EQ(sae.model, "EleutherAI/pythia-160m");
  EXPECT_EQ(sae.place, (Place{PlaceKind::resid_post, 10}));
  expect_formula(sae, [](const Row& x) {
    const Row a = top(encode_linear(minus(x, b_dec), b_enc), 3);
    return Expected{a, decode_linear(a, b_dec)};
  });
}

TEST(Sparsify, PlacesAndRefusals) {
  const TemporaryFolder folder;
  const auto place = [&](const std::string& name) {
    return load_sae(write_sparsify(folder, name, sparsify_config(), sparsify_tensors())).place;
  };
  EXPECT_EQ(place("layers_3"), (Place{PlaceKind::resid_post, 3}));
  EXPECT_EQ(place("h.3"), (Place{PlaceKind::resid_post, 3}));
  EXPECT_EQ(place("gpt_neox.layers.3"), (Place{PlaceKind::resid_post, 3}));
  EXPECT_EQ(place("layers.3.mlp"), (Place{PlaceKind::mlp_out, 3}));
  EXPECT_EQ(place("layers.3.self_attn"), (Place{PlaceKind::attention_out, 3}));
  EXPECT_EQ(place("embed_tokens"), (Place{PlaceKind::embed, -1}));
  EXPECT_TRUE(holds(error_of([&] { place("best"); }), "the folder's name is 'best'"));
  EXPECT_TRUE(holds(error_of([&] { place("layers.3.router"); }), "the place is not known"));
  const auto refused = [&](const std::string& key, const Json& value, const std::string& text) {
    const fs::path path = write_sparsify(folder, "layers.1", with(sparsify_config(), key, value), sparsify_tensors());
    EXPECT_TRUE(holds(error_of([&] { load_sae(path); }), text)) << key;
  };
  refused("signed", true, "option 'signed' is not supported");
  refused("transcode", true, "option 'transcode'");
  refused("skip_connection", true, "option 'skip_connection'");
  refused("activation", "groupmax", "activation 'groupmax'");
  refused("d_in", 5, "d_in is 5");
  refused("num_latents", 5, "num_latents is 5");
  refused("k", 70, "k: got 70");
  const fs::path path = write_sparsify(folder, "layers.1", sparsify_config(), with(sparsify_tensors(), "W_dec", {}));
  EXPECT_TRUE(holds(error_of([&] { load_sae(path); }), "'W_dec' is missing"));
}

// ------------------------------------------------------------------------------------------- folders and targets

TEST(LoadSae, PickledFilesAreRefusedWithTheWayToConvert) {
  const TemporaryFolder folder;
  for (const char* name : {"ae.pt", "sae.pth", "sae.bin", "sae.ckpt"}) {
    const TemporaryFolder one;
    const fs::path path = one.write(name, "\x80\x02}q");
    for (const fs::path& given : {path, one.path()}) {
      const std::string error = error_of([&] { load_sae(given); });
      EXPECT_TRUE(holds(error, "pickled Python")) << name;
      EXPECT_TRUE(holds(error, fmt::format("torch.load('{}', weights_only=True", name)));
      EXPECT_TRUE(holds(error, "save_file"));
    }
    EXPECT_TRUE(holds(error_of([&] { load_saes(one.path()); }), "pickled Python"));
  }
}

TEST(LoadSae, UnknownLayoutsSayWhatIsThere) {
  const TemporaryFolder folder;
  folder.write("cfg.json", "{}");
  const std::string error = error_of([&] { load_sae(folder.path()); });
  EXPECT_TRUE(holds(error, "got the files [cfg.json], expected cfg.json with sae_weights.safetensors"));
  EXPECT_TRUE(holds(error_of([&] { load_sae(folder / "absent"); }), "no such file or folder"));
  EXPECT_TRUE(holds(error_of([&] { load_sae(folder / "cfg.json"); }), "give the SAE's folder"));
  EXPECT_TRUE(holds(error_of([&] { load_saes(folder / "absent"); }), "no such file or folder"));
}

TEST(LoadSae, EverySaeOfAFolder) {
  const TemporaryFolder folder;
  for (const int layer : {10, 9, 2}) {
    write_sparsify(folder, fmt::format("run/layers.{}", layer), sparsify_config(), sparsify_tensors());
  }
  folder.write("gemma-scope-9b-pt-res/layer_5/width_16k/average_l0_71/params.npz", npz_of(gemma_tensors()));
  folder.write(".cache/layer_1/params.npz", "");
  const std::vector<fs::path> paths = find_saes(folder / "run");
  ASSERT_EQ(paths.size(), 3u);
  EXPECT_EQ(paths[0].filename(), "layers.2");
  EXPECT_EQ(paths[2].filename(), "layers.10");
  std::vector<int64_t> layers;
  for (const Sae& sae : load_saes(folder.path())) layers.push_back(sae.place.layer);
  EXPECT_EQ(layers, (std::vector<int64_t>{2, 5, 9, 10}));
  EXPECT_EQ(load_saes(folder / "run/layers.2").size(), 1u);
}

TEST(CheckSae, AgainstATarget) {
  ModelConfig config;
  config.d_model = kWidth;
  config.layers = 3;
  Sae sae;
  sae.encoder = kEncoder.t();
  sae.decoder = kDecoder;
  sae.place = {PlaceKind::resid_post, 2};
  sae.model = "meta-llama/Llama-3.1-8B";
  EXPECT_TRUE(check_sae(sae, config, "/models/Llama-3.1-8B").empty());
  EXPECT_TRUE(check_sae(sae, config, "/models/llama-3.1-8b/").empty());
  EXPECT_TRUE(check_sae(sae, config, "/hub/models--meta-llama--Llama-3.1-8B/snapshots/abc").empty());
  const std::vector<std::string> warnings = check_sae(sae, config, "/models/Llama-3.1-8B-Instruct");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(holds(warnings[0], "trained on meta-llama/Llama-3.1-8B"));
  sae.model.clear();
  EXPECT_TRUE(check_sae(sae, config, "anything").empty());

  const auto error = [&](PlaceKind kind, int64_t layer) {
    sae.place = {kind, layer};
    return error_of([&] { check_sae(sae, config, "target"); });
  };
  EXPECT_TRUE(holds(error(PlaceKind::resid_post, 3), "the target has layers 0 to 2 (target)"));
  EXPECT_TRUE(holds(error(PlaceKind::mlp_out, 0), "a SAE of blocks.0.hook_mlp_out"));
  EXPECT_TRUE(holds(error(PlaceKind::attention_out, 0), "hook_attn_out"));
  EXPECT_TRUE(holds(error(PlaceKind::final_norm, -1), "ln_final"));
  for (const Place& place :
       {Place{PlaceKind::embed, -1}, Place{PlaceKind::resid_pre, 0}, Place{PlaceKind::resid_mid, 2}}) {
    sae.place = place;
    EXPECT_TRUE(check_sae(sae, config, "target").empty());
  }
  config.d_model = 8;
  EXPECT_TRUE(
      holds(error_of([&] { check_sae(sae, config, "target"); }), "the SAE has 4, the target's residual stream 8"));
}

}  // namespace
}  // namespace introspect
