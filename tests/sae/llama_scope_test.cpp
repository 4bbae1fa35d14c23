// Llama Scope: what is loaded equals the published formula; anything else is refused by name.
#include "sae/small_sae.h"

namespace introspect {
namespace {

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

}  // namespace
}  // namespace introspect
