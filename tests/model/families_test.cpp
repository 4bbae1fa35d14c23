// What every family must do alike: saving and loading, adapters, continuous tokens; and what only some of them do.
#include "base/json.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "model/lora.h"
#include "model/names.h"
#include "tiny_model.h"

#include <set>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::difference;
using test::random_tokens;
using test::rows_of;
using test::run_logits;
using test::tiny_config;
using test::tiny_model;
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

Tensors tensors_of(const fs::path& folder) {
  const Checkpoint checkpoint(folder);
  Tensors tensors;
  for (const std::string& name : checkpoint.names()) tensors.emplace_back(name, checkpoint.get(name).clone());
  return tensors;
}

class FamilyTest : public testing::TestWithParam<std::string> {
 protected:
  Model model_ = tiny_model(tiny_config(GetParam()));
  std::vector<int64_t> tokens_ = random_tokens(14, 1);
  at::Tensor plain_ = run_logits(model_, tokens_);
  TemporaryFolder folder_;

  LoraConfig everywhere() const {
    LoraConfig config;
    config.rank = 3;
    config.targets = linear_modules(model_.config);
    return config;
  }
  void adapt(Model& model) const {
    add_lora(model, everywhere(), 7);
    for (auto& [name, tensor] : lora_parameters(model)) {
      if (name.ends_with("lora_B.weight")) tensor.copy_(test::random_tensor(tensor.sizes(), 3) * 0.1);
    }
  }
};

TEST_P(FamilyTest, SavedLoadsTheSame) {
  save_model(model_, folder_.path(), at::kFloat);
  const Model loaded = load_model(folder_.path());
  EXPECT_EQ(difference(run_logits(loaded, tokens_), plain_), 0);
  EXPECT_EQ(config_to_json(loaded.config), config_to_json(model_.config));
  EXPECT_EQ(weight_bytes(loaded.config, at::kFloat), Checkpoint(folder_.path()).bytes());
  EXPECT_EQ(std::ssize(parameters(model_)), std::ssize(Checkpoint(folder_.path()).names()));
  const Model copy = clone_model(model_);
  for (auto& [name, tensor] : parameters(model_)) tensor.zero_();
  EXPECT_EQ(difference(run_logits(copy, tokens_), plain_), 0);
}

TEST_P(FamilyTest, NamesWithoutTheirFirstPart) {
  save_model(model_, folder_.path(), at::kFloat);
  Tensors tensors = tensors_of(folder_.path());
  for (auto& [name, tensor] : tensors) {
    if (!name.starts_with("lm_head") && !name.starts_with("embed_out")) name = name.substr(name.find('.') + 1);
  }
  write_safetensors(folder_ / "model.safetensors", tensors);
  EXPECT_EQ(difference(run_logits(load_model(folder_.path()), tokens_), plain_), 0);
}

TEST_P(FamilyTest, OtherTensorsAreRefused) {
  save_model(model_, folder_.path(), at::kFloat);
  Tensors tensors = tensors_of(folder_.path());
  tensors.emplace_back("transformer.h.0.attn.extra", at::zeros({2}));
  write_safetensors(folder_ / "model.safetensors", tensors);
  EXPECT_TRUE(holds(error_of([&] { load_model(folder_.path()); }), "the first 'transformer.h.0.attn.extra'"));
}

TEST_P(FamilyTest, AFreshModelIsNearUniform) {
  const Model fresh = create_model(tiny_config(GetParam()), 3);
  const at::Tensor probabilities = at::softmax(run_logits(fresh, tokens_), -1);
  EXPECT_LT(probabilities.max().item<double>(), 0.1);
  EXPECT_GT(difference(probabilities[3], probabilities[9]), 0) << "but tokens matter";
}

TEST_P(FamilyTest, AdaptersOnEveryLinearLayer) {
  adapt(model_);
  const at::Tensor adapted = run_logits(model_, tokens_);
  EXPECT_GT(difference(adapted, plain_), 1e-2);
  save_lora(model_, everywhere(), folder_.path(), "base");
  Model other = tiny_model(tiny_config(GetParam()));
  load_lora(other, folder_.path());
  EXPECT_EQ(difference(run_logits(other, tokens_), adapted), 0);
  merge_lora(other);
  EXPECT_LT(difference(run_logits(other, tokens_), adapted), 5e-4);  // the weights are large, and so is rounding
  LoraConfig wrong = everywhere();
  wrong.targets = {"no_such_layer"};
  EXPECT_TRUE(holds(error_of([&] { add_lora(other, wrong, 1); }), everywhere().targets.front()));
}

TEST_P(FamilyTest, GradientsOfAdaptersAreTheSlopes) {
  adapt(model_);
  Model wide = clone_model(model_);
  for (auto& [name, tensor] : parameters(wide)) tensor.set_data(tensor.to(at::kDouble));
  Tensors factors = lora_parameters(wide);
  for (auto& [name, tensor] : factors) {
    tensor.set_data(tensor.to(at::kDouble));
    tensor.requires_grad_(true);
  }
  const auto loss = [&] { return run_logits(wide, tokens_).sin().sum(); };
  loss().backward();
  Random random(1, "places");
  for (auto& [name, tensor] : factors) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const int64_t at = static_cast<int64_t>(random.below(static_cast<uint64_t>(tensor.numel())));
    double* value = tensor.data_ptr<double>() + at;
    const double step = 1e-5, kept = *value;
    *value = kept + step;
    const double above = loss().item<double>();
    *value = kept - step;
    const double below = loss().item<double>();
    *value = kept;
    const double slope = (above - below) / (2 * step), gradient = tensor.grad().view({-1})[at].item<double>();
    EXPECT_NEAR(gradient, slope, 1e-3 * std::max(1.0, std::abs(slope))) << name;
  }
}

TEST_P(FamilyTest, AContinuousTokenIsAnEmbeddingRow) {
  Taps taps{Tap::replace({PlaceKind::embed, -1}, rows_of({4}), model_.embedding[tokens_[4]])};
  EXPECT_EQ(difference(run_logits(model_, tokens_, &taps), plain_), 0);
  taps[0].value = model_.embedding[tokens_[4] + 1];
  std::vector<int64_t> other = tokens_;
  ++other[4];
  EXPECT_EQ(difference(run_logits(model_, tokens_, &taps), run_logits(model_, other)), 0);
}

TEST_P(FamilyTest, PlacesFitTogether) {
  const auto capture = [&](PlaceKind kind, int64_t layer) {
    Taps taps{Tap::capture({kind, layer})};
    EXPECT_EQ(difference(run_logits(model_, tokens_, &taps), plain_), 0);
    return taps[0].captured;
  };
  for (int64_t layer = 0; layer < model_.config.layers; ++layer) {
    at::Tensor sum = capture(PlaceKind::resid_pre, layer) + capture(PlaceKind::attention_out, layer);
    if (model_.config.d_mlp == 0) {
      EXPECT_EQ(difference(capture(PlaceKind::resid_post, layer), sum), 0);
      EXPECT_TRUE(holds(error_of([&] { capture(PlaceKind::resid_mid, layer); }), "hook_resid_mid"));
      EXPECT_TRUE(holds(error_of([&] { capture(PlaceKind::mlp_out, layer); }), "have no MLP"));
      continue;
    }
    if (model_.config.parallel_residual) {
      EXPECT_TRUE(holds(error_of([&] { capture(PlaceKind::resid_mid, layer); }), "hook_resid_mid"));
    } else {
      EXPECT_EQ(difference(capture(PlaceKind::resid_mid, layer), sum), 0);
    }
    sum = sum + capture(PlaceKind::mlp_out, layer);
    EXPECT_EQ(difference(capture(PlaceKind::resid_post, layer), sum), 0);
  }
}

TEST_P(FamilyTest, SixteenBitsRun) {
  save_model(model_, folder_.path(), at::kBFloat16);
  LoadOptions narrow;
  narrow.dtype = at::kBFloat16;
  const at::Tensor logits = run_logits(load_model(folder_.path(), narrow), tokens_);
  EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(logits.isfinite().all().item<bool>());
  ForwardOptions mixed;
  mixed.compute = at::kBFloat16;
  const at::Tensor product = forward(model_, pack({tokens_}), mixed).logits;
  EXPECT_EQ(product.scalar_type(), at::kFloat);
  EXPECT_TRUE(product.isfinite().all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyTest, testing::ValuesIn(test::all_families()),
                         [](const auto& given) { return given.param; });

// With one layer, a query sees what it would see if the text began at its window: rotary positions are relative.
TEST(SlidingWindow, IsTheLastPositionsAlone) {
  for (const char* family : {"mistral", "gemma2", "qwen2", "qwen3"}) {
    ModelConfig config = tiny_config(family);
    config.layers = 1;
    config.sliding_window = 5;
    const Model model = tiny_model(config);
    const std::vector<int64_t> tokens = random_tokens(20, 1);
    const at::Tensor logits = run_logits(model, tokens);
    for (int64_t i : {3, 4, 5, 12, 19}) {
      const int64_t first = std::max<int64_t>(0, i - 4);
      const at::Tensor alone = run_logits(model, {tokens.begin() + first, tokens.begin() + i + 1});
      EXPECT_LT(difference(logits[i], alone[alone.size(0) - 1]), 1e-4) << family << " " << i;
    }
    config.sliding_window = 0;
    const at::Tensor full = run_logits(tiny_model(config), tokens);
    EXPECT_LT(difference(full.slice(0, 0, 5), logits.slice(0, 0, 5)), 1e-4);
    EXPECT_GT(difference(full[5], logits[5]), 1e-3) << family;
  }
}

TEST(SlidingWindow, WhichLayers) {
  const auto windowed = [](const std::string& family, const Json& keys) {
    Json json = parse_json(test::tiny_config_json(family), family);
    for (const auto& [key, value] : keys.items()) json[key] = value;
    std::vector<int64_t> layers;
    const ModelConfig config = parse_config(json, family);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      if (config.window(layer) > 0) layers.push_back(layer);
    }
    const ModelConfig again = parse_config(config_to_json(config), family);
    for (int64_t layer = 0; layer < config.layers; ++layer) EXPECT_EQ(again.window(layer), config.window(layer));
    return layers;
  };
  using List = std::vector<int64_t>;
  EXPECT_EQ(windowed("gemma2", {{"vocab_size", 300}}), (List{0, 2}));
  EXPECT_EQ(windowed("mistral", {{"sliding_window", nullptr}}), List{});
  EXPECT_EQ(windowed("mistral", {{"sliding_window", 7}}), (List{0, 1, 2}));
  EXPECT_EQ(windowed("qwen2", {{"max_window_layers", 1}}), List{}) << "a window that is not used";
  EXPECT_EQ(windowed("qwen2", {{"max_window_layers", 1}, {"use_sliding_window", true}}), (List{1, 2}));
  EXPECT_EQ(windowed("qwen3", {{"max_window_layers", 2}, {"use_sliding_window", true}}), List{2});
  const Json types = {"sliding_attention", "sliding_attention", "full_attention"};
  EXPECT_TRUE(holds(error_of([&] { windowed("gemma2", {{"layer_types", types}}); }), "layer_types"));
}

TEST(Gpt2, AdaptersSayThatTheLayersAreTransposed) {
  TemporaryFolder folder;
  Model model = tiny_model(tiny_config("gpt2"));
  LoraConfig config;
  config.targets = {"c_attn"};
  add_lora(model, config, 1);
  save_lora(model, config, folder.path(), "base");
  EXPECT_TRUE(read_json(folder / "adapter_config.json")["fan_in_fan_out"].get<bool>());
  const Safetensors saved(folder / "adapter_model.safetensors");
  const std::string name = "base_model.model.transformer.h.2.attn.c_attn.lora_";
  EXPECT_EQ(saved.get(name + "A.weight").sizes(), (std::vector<int64_t>{16, 48}));
  EXPECT_EQ(saved.get(name + "B.weight").sizes(), (std::vector<int64_t>{144, 16}));
}

TEST(FamilyConfig, WhatWouldComputeSomethingElseIsRefused) {
  const auto message = [](const std::string& family, const char* key, const Json& value) {
    Json json = parse_json(test::tiny_config_json(family), family);
    json[key] = value;
    return error_of([&] { parse_config(json, family); });
  };
  EXPECT_TRUE(holds(message("gpt2", "n_head", 5), "n_head: got 5"));
  EXPECT_TRUE(holds(message("gpt2", "activation_function", "tanh"), "activation_function: got 'tanh'"));
  EXPECT_TRUE(holds(message("gpt2", "scale_attn_by_inverse_layer_idx", true), "scale_attn_by_inverse_layer_idx"));
  EXPECT_TRUE(holds(message("gpt2", "n_positions", 0), "n_positions"));
  EXPECT_TRUE(holds(message("gpt_neox", "rotary_pct", 1.5), "rotary_pct: got 1.5"));
  EXPECT_TRUE(holds(message("gpt_neox", "num_attention_heads", 7), "num_attention_heads: got 7"));
  EXPECT_TRUE(holds(message("gemma2", "query_pre_attn_scalar", -1), "query_pre_attn_scalar: got -1"));
  EXPECT_TRUE(holds(message("gemma2", "final_logit_softcapping", -3), "final_logit_softcapping: got -3"));
  EXPECT_TRUE(holds(message("mistral", "hidden_act", "gelu"), "hidden_act: got 'gelu', expected silu for mistral"));
}

TEST(FamilyConfig, NewerKeys) {
  Json json = parse_json(test::tiny_config_json("qwen2"), "qwen2");
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  json["dtype"] = "bfloat16";
  const ModelConfig config = parse_config(json, "qwen2");
  EXPECT_EQ(config.rope_theta, 5e5);
  EXPECT_EQ(config.stored_dtype, "bfloat16");
}

}  // namespace
}  // namespace introspect
