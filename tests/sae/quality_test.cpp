// What is measured of a SAE, against values that are known beforehand; and what is written in SAELens layout.
#include "sae/quality.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "model/tiny_model.h"
#include "sae/saved_sae.h"

#include <cmath>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::difference;
using test::random_tensor;

constexpr int64_t kWidth = 48;

// Latents 2j and 2j + 1 are the two signs of coordinate j: the reconstruction is the input.
Sae identity_sae(int64_t width = kWidth) {
  Sae sae;
  sae.encoder = at::zeros({2 * width, width});
  for (int64_t j = 0; j < width; ++j) {
    sae.encoder[2 * j][j] = 1;
    sae.encoder[2 * j + 1][j] = -1;
  }
  sae.decoder = sae.encoder.clone();
  sae.encoder_bias = at::zeros({2 * width});
  sae.decoder_bias = at::zeros({width});
  sae.place = {PlaceKind::resid_post, 1};
  return sae;
}

// Never active: the reconstruction is the decoder's bias.
Sae silent_sae(const at::Tensor& bias) {
  Sae sae = identity_sae(bias.size(0));
  sae.encoder_bias.fill_(-1e6);
  sae.decoder_bias = bias;
  return sae;
}

TEST(SaeQuality, PerfectAndMean) {
  const at::Tensor x = random_tensor({500, kWidth}, 1) + 3;
  Sae sae = identity_sae();
  SaeQuality perfect(sae);
  perfect.add(sae, x);
  EXPECT_NEAR(perfect.explained_variance(), 1, 1e-9);
  EXPECT_NEAR(perfect.l0(), static_cast<double>(kWidth), 1e-9);  // one sign of each
  EXPECT_EQ(perfect.positions(), 500);
  EXPECT_EQ(perfect.fired().sum().item<int64_t>(), 500 * kWidth);

  sae = silent_sae(x.mean(0));
  SaeQuality mean(sae);
  mean.add(sae, x);
  EXPECT_NEAR(mean.explained_variance(), 0, 1e-5);
  EXPECT_EQ(mean.l0(), 0);
  EXPECT_EQ(mean.dead_share(), 1);

  sae = silent_sae(at::zeros({kWidth}));
  SaeQuality zero(sae);
  zero.add(sae, x);
  EXPECT_LT(zero.explained_variance(), -5);  // the mean is far from 0
}

TEST(SaeQuality, PartsAddUp) {
  const at::Tensor x = random_tensor({101, kWidth}, 2);
  Sae sae = identity_sae();
  sae.kind = SaeKind::topk;
  sae.k = 7;
  SaeQuality whole(sae), parts(sae);
  whole.add(sae, x);
  for (int64_t i = 0; i < 101; i += 20) parts.add(sae, x.narrow(0, i, std::min<int64_t>(20, 101 - i)));
  EXPECT_NEAR(parts.explained_variance(), whole.explained_variance(), 1e-6);
  EXPECT_EQ(parts.l0(), 7);
  EXPECT_TRUE(at::equal(parts.fired(), whole.fired()));
  EXPECT_GT(whole.explained_variance(), 0.2);
  EXPECT_LT(whole.explained_variance(), 0.9);
}

class MeasureSae : public testing::Test {
 protected:
  Model model_ = test::tiny_model();
  std::vector<std::vector<int64_t>> documents_{test::random_tokens(30, 1), test::random_tokens(17, 2),
                                               test::random_tokens(9, 3)};
};

TEST_F(MeasureSae, APerfectSaeLosesNothing) {
  const SaeReport report = measure_sae(model_, identity_sae(), documents_, {}).report();
  EXPECT_EQ(report.positions, 29 + 16 + 8);
  EXPECT_NEAR(report.explained_variance, 1, 1e-6);
  EXPECT_NEAR(report.loss_spliced, report.loss, 1e-4);
  EXPECT_NEAR(report.loss_recovered(), 1, 1e-3);
  EXPECT_NE(report.loss_zero, report.loss);
}

TEST_F(MeasureSae, TextsAddUp) {
  const Sae sae = silent_sae(at::ones({kWidth}));
  SaeMeasured sums{SaeQuality(sae)};
  int64_t tokens = 0, all = 0;
  for (const std::vector<int64_t>& document : documents_) {
    sums.add(measure_sae(model_, sae, {document}, {}, [&](int64_t more) { tokens += more; }));
    all += std::ssize(document);
  }
  EXPECT_EQ(tokens, all);
  const SaeReport parts = sums.report(), whole = measure_sae(model_, sae, documents_, {}).report();
  EXPECT_EQ(parts.positions, whole.positions);
  EXPECT_NEAR(parts.explained_variance, whole.explained_variance, 1e-6);
  EXPECT_NEAR(parts.loss, whole.loss, 1e-5);
  EXPECT_NEAR(parts.loss_spliced, whole.loss_spliced, 1e-5);
}

TEST_F(MeasureSae, ASilentSaeLosesAll) {
  const SaeReport report = measure_sae(model_, silent_sae(at::zeros({kWidth})), documents_, {}).report();
  EXPECT_EQ(report.loss_spliced, report.loss_zero);
  EXPECT_EQ(report.loss_recovered(), 0);
  EXPECT_EQ(report.dead_share, 1);
}

TEST_F(MeasureSae, TheLossIsTheModels) {
  double loss = 0, count = 0;
  for (const auto& tokens : documents_) {
    const at::Tensor log_p = test::run_logits(model_, tokens).log_softmax(1);
    for (size_t i = 1; i < tokens.size(); ++i, ++count) {
      loss -= log_p[static_cast<int64_t>(i) - 1][tokens[i]].item<double>();
    }
  }
  EXPECT_NEAR(measure_sae(model_, identity_sae(), documents_, {}).report().loss, loss / count, 1e-4);
}

TEST_F(MeasureSae, SpecialAndFirstPositionsAreNeitherCountedNorReplaced) {
  std::vector<int64_t> tokens = test::random_tokens(20, 4);
  tokens[5] = tokens[11] = 299;
  EXPECT_EQ(measure_sae(model_, identity_sae(), {tokens}, {299}).report().positions, 17);
  // with every position left out but one, zeros change only what follows that one
  const std::vector<int64_t> mostly(20, 299);
  EXPECT_THROW(measure_sae(model_, identity_sae(), {mostly}, {299}).report(), Error);
  std::vector<int64_t> last = mostly;
  last[19] = 3;  // predicts nothing
  const SaeReport report = measure_sae(model_, silent_sae(at::zeros({kWidth})), {last}, {299}).report();
  EXPECT_EQ(report.positions, 1);
  EXPECT_NEAR(report.loss_zero, report.loss, 1e-6);
  EXPECT_THROW(measure_sae(model_, identity_sae(), {}, {}).report(), Error);
  EXPECT_THROW(measure_sae(model_, identity_sae(), {{1}}, {}).report(), Error);
}

TEST_F(MeasureSae, EveryPlaceCanBeMeasured) {
  for (PlaceKind kind : {PlaceKind::resid_pre, PlaceKind::resid_mid, PlaceKind::mlp_out, PlaceKind::attention_out}) {
    Sae sae = identity_sae();
    sae.place = {kind, 1};
    EXPECT_NEAR(measure_sae(model_, sae, documents_, {}).report().loss_recovered(), 1, 1e-2) << place_name(sae.place);
  }
}

TEST(AbsurdSae, SaysWhatCannotBe) {
  const Sae sae = identity_sae();
  SaeReport good;
  good.positions = 1000;
  good.explained_variance = 0.8;
  good.l0 = 10;
  good.dead_share = 0.05;
  EXPECT_EQ(absurd(good, sae), "");
  const auto with = [&](auto change) {
    SaeReport report = good;
    change(report);
    return absurd(report, sae);
  };
  EXPECT_TRUE(holds(with([](SaeReport& r) { r.explained_variance = -0.1; }), "worse than the mean"));
  EXPECT_TRUE(holds(with([](SaeReport& r) { r.explained_variance = std::nan(""); }), "worse than the mean"));
  EXPECT_TRUE(holds(with([](SaeReport& r) { r.l0 = 0; }), "no latent"));
  EXPECT_TRUE(holds(with([](SaeReport& r) { r.l0 = 95; }), "of 96 latents"));
  EXPECT_TRUE(holds(with([](SaeReport& r) { r.dead_share = 0.995; }), "never fire"));
  EXPECT_EQ(with([](SaeReport& r) {
              r.dead_share = 0.995;
              r.positions = 0;  // too little text to say
            }),
            "");
}

class SaveSae : public testing::Test {
 protected:
  TemporaryFolder folder_;
  Sae random_sae(SaeKind kind) {
    Sae sae;
    sae.kind = kind;
    sae.k = 3;
    sae.encoder = random_tensor({12, 8}, 1);
    sae.encoder_bias = random_tensor({12}, 2);
    sae.decoder = random_tensor({12, 8}, 3);
    sae.decoder_bias = random_tensor({8}, 4);
    sae.threshold = random_tensor({12}, 5).abs();
    sae.gate_bias = random_tensor({12}, 6);
    sae.magnitude = random_tensor({12}, 7);
    sae.place = {PlaceKind::resid_post, 4};
    sae.model = "some/model";
    return sae;
  }
  std::vector<std::string> saved_names(const Sae& sae) {
    save_sae(sae, folder_ / "sae", at::kFloat, {});
    const Safetensors file(folder_ / "sae/sae_weights.safetensors");
    std::vector<std::string> names;
    for (const auto& [name, info] : file.tensors()) names.push_back(name);
    return names;
  }
};

TEST_F(SaveSae, NamesOfEachKind) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(saved_names(random_sae(SaeKind::standard)), (Names{"W_dec", "W_enc", "b_dec", "b_enc"}));
  EXPECT_EQ(saved_names(random_sae(SaeKind::topk)), (Names{"W_dec", "W_enc", "b_dec", "b_enc"}));
  EXPECT_EQ(read_json(folder_ / "sae/cfg.json")["k"], 3);
  EXPECT_EQ(saved_names(random_sae(SaeKind::jumprelu)), (Names{"W_dec", "W_enc", "b_dec", "b_enc", "threshold"}));
  EXPECT_EQ(saved_names(random_sae(SaeKind::batchtopk)), (Names{"W_dec", "W_enc", "b_dec", "b_enc", "threshold"}));
  EXPECT_EQ(read_json(folder_ / "sae/cfg.json")["architecture"], "jumprelu");
  EXPECT_EQ(saved_names(random_sae(SaeKind::gated)), (Names{"W_dec", "W_enc", "b_dec", "b_gate", "b_mag", "r_mag"}));
}

TEST_F(SaveSae, WhereItBelongsAndWhatIsAdded) {
  save_sae(random_sae(SaeKind::topk), folder_ / "a/b", at::kBFloat16, {{"training_tokens", 7}});
  const Json config = read_json(folder_ / "a/b/cfg.json");
  EXPECT_EQ(config["architecture"], "topk");
  EXPECT_EQ(config["d_in"], 8);
  EXPECT_EQ(config["d_sae"], 12);
  EXPECT_EQ(config["dtype"], "bfloat16");
  EXPECT_EQ(config["model_name"], "some/model");
  EXPECT_EQ(config["hook_name"], "blocks.4.hook_resid_post");
  EXPECT_EQ(config["hook_layer"], 4);
  EXPECT_EQ(config["normalize_activations"], "none");
  EXPECT_EQ(config["training_tokens"], 7);
  const Safetensors file(folder_ / "a/b/sae_weights.safetensors");
  EXPECT_EQ(file.tensors().at("W_enc").dtype, "BF16");
  EXPECT_EQ(file.tensors().at("W_enc").shape, (std::vector<int64_t>{8, 12}));
  EXPECT_EQ(file.tensors().at("W_dec").shape, (std::vector<int64_t>{12, 8}));
}

TEST_F(SaveSae, AScaleGoesIntoTheWeights) {
  for (bool subtract : {true, false}) {
    for (SaeKind kind : {SaeKind::standard, SaeKind::topk, SaeKind::jumprelu, SaeKind::gated}) {
      Sae sae = random_sae(kind);
      sae.subtract_decoder_bias = subtract;
      sae.input_scale = 3.5;
      save_sae(sae, folder_ / "sae", at::kFloat, {});
      const Safetensors file(folder_ / "sae/sae_weights.safetensors");
      Sae read = sae;  // the biases that no scale touches, as they are
      read.input_scale = 1;
      read.encoder = file.get("W_enc").t();
      read.decoder = file.get("W_dec");
      read.decoder_bias = file.get("b_dec");
      EXPECT_EQ(read_json(folder_ / "sae/cfg.json")["apply_b_dec_to_input"], subtract);
      const at::Tensor x = random_tensor({20, 8}, 9);
      EXPECT_LT(difference(encode(read, x), encode(sae, x)), 1e-4) << sae_kind_name(kind);
      EXPECT_LT(difference(decode(read, encode(read, x), x), decode(sae, encode(sae, x), x)), 1e-4);
    }
  }
}

TEST_F(SaveSae, WhatIsNotFiniteIsRefused) {
  Sae sae = random_sae(SaeKind::standard);
  sae.decoder[3][2] = std::nanf("");
  EXPECT_TRUE(holds(error_of([&] { save_sae(sae, folder_ / "sae", at::kFloat, {}); }), "not finite"));
  EXPECT_FALSE(fs::exists(folder_ / "sae/sae_weights.safetensors"));
  sae = random_sae(SaeKind::standard);
  sae.decoder[3][2] = 1e6;
  EXPECT_TRUE(holds(error_of([&] { save_sae(sae, folder_ / "sae", at::kHalf, {}); }), "float16"));
  EXPECT_TRUE(holds(error_of([&] { save_sae(random_sae(SaeKind::topk), folder_ / "sae", at::kLong, {}); }), "saved"));
}

}  // namespace
}  // namespace introspect
