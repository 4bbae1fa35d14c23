// SAELens: what is loaded equals the formula of its kind, and what contradicts itself is refused by name.
#include "sae/small_sae.h"

namespace introspect {
namespace {

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

}  // namespace
}  // namespace introspect
