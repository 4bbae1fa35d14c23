// The comparison with another implementation finds the place where they part.
#include "base/json.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "goldens.h"
#include "model/lora.h"
#include "model/parity.h"
#include "tiny_model.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::random_tokens;
using test::tiny_model;
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

class VerifyTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
  Model model_ = tiny_model();
  std::vector<int64_t> tokens_ = random_tokens(10, 2);

  // What the model itself gives, as another implementation would write it.
  Tensors own_values() const {
    Tensors tensors{{"logits.0", test::run_logits(model_, {5})}, {"logits.1", test::run_logits(model_, tokens_)}};
    Taps taps{Tap::capture({PlaceKind::resid_pre, 0})};
    for (int64_t layer = 0; layer < 3; ++layer) taps.push_back(Tap::capture({PlaceKind::resid_post, layer}));
    test::run_logits(model_, tokens_, &taps);
    for (size_t k = 0; k < taps.size(); ++k) tensors.emplace_back(fmt::format("resid.1.{}", k), taps[k].captured);
    return tensors;
  }
  VerifyReport verify(const Model& model, const Tensors& tensors) const {
    Json prompts;
    prompts["prompts"] = Json::array({{{"tokens", {5}}}, {{"tokens", tokens_}}});
    write_json(folder_ / "prompts.json", prompts);
    write_safetensors(folder_ / "expected.safetensors", tensors);
    return verify_model(model, folder_ / "expected.safetensors", folder_ / "prompts.json");
  }
};

TEST_F(VerifyTest, EqualModelsAgree) {
  Tensors tensors = own_values();
  tensors.emplace_back("something.else", at::zeros({1}));
  const VerifyReport report = verify(model_, tensors);
  EXPECT_TRUE(report.ok());
  ASSERT_EQ(report.records.size(), 6u);
  EXPECT_EQ(report.records[0].place, "blocks.0.hook_resid_pre");
  EXPECT_EQ(report.records[3].place, "blocks.2.hook_resid_post");
  EXPECT_EQ(report.records[4].place, "logits");
  EXPECT_EQ(report.ignored, std::vector<std::string>{"something.else"});
}

TEST_F(VerifyTest, NamesTheFirstPlaceThatDiffers) {
  const Tensors tensors = own_values();
  const std::pair<at::Tensor*, const char*> changes[] = {{&model_.embedding, "blocks.0.hook_resid_pre"},
                                                         {&model_.blocks[1].value.weight, "blocks.1.hook_resid_post"},
                                                         {&model_.blocks[2].mlp_norm, "blocks.2.hook_resid_post"},
                                                         {&model_.head, "logits"}};
  for (const auto& [weight, place] : changes) {
    const at::Tensor kept = *weight;
    *weight = kept * 1.02;
    const VerifyReport report = verify(model_, tensors);
    ASSERT_FALSE(report.ok()) << place;
    EXPECT_EQ(report.first_difference()->place, place);
    *weight = kept;
  }
}

TEST_F(VerifyTest, NanIsADifference) {
  Tensors tensors = own_values();
  tensors[0].second[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(verify(model_, tensors).ok());
}

TEST_F(VerifyTest, LenientAboutWhatIsAbsentStrictAboutShapes) {
  const Tensors tensors = own_values();
  EXPECT_EQ(verify(model_, {tensors[1]}).records.size(), 1u);
  EXPECT_EQ(verify(model_, {tensors[3]}).records.size(), 1u);
  EXPECT_TRUE(holds(error_of([&] {
                      verify(model_, {{"logits.1", tensors[0].second}});
                    }),
                    "'logits.1': got shape [1, 300], expected [10, 300]"));
  EXPECT_TRUE(holds(error_of([&] { verify(model_, {{"resid.1.4", tensors[3].second}}); }), "the model has 3 blocks"));
  EXPECT_TRUE(holds(error_of([&] { verify(model_, {{"resid.7.1", tensors[3].second}}); }), "prompt 7"));
  EXPECT_TRUE(holds(error_of([&] { verify(model_, {{"other", tensors[3].second}}); }), "nothing to compare"));
  EXPECT_TRUE(holds(error_of([&] { verify(model_, {{"lora.logits.0", tensors[0].second}}); }), "needs an adapter"));
  write_text(folder_ / "prompts.json", "{\"prompts\": 3}");
  EXPECT_TRUE(holds(error_of([&] { verify_model(model_, folder_ / "expected.safetensors", folder_ / "prompts.json"); }),
                    "key 'prompts'"));
}

TEST_F(VerifyTest, ParityOfAFolderOfModels) {
  std::vector<std::string> begun;
  const auto measure = [&](const fs::path& folder) {
    begun.clear();
    return measure_parity(folder, {}, [&](const std::string& model) { begun.push_back(model); });
  };
  EXPECT_TRUE(holds(error_of([&] { measure(folder_ / "nowhere"); }), "nowhere"));
  EXPECT_TRUE(holds(error_of([&] { measure(folder_.path()); }), "no subfolder has config.json"));
  for (const char* name : {"b-off", "a-exact"}) {
    const fs::path folder = folder_ / "references" / name;
    verify(model_, own_values());
    save_model(model_, folder, at::kFloat);
    for (const char* file : {"prompts.json", "expected.safetensors"}) fs::copy_file(folder_ / file, folder / file);
  }
  fs::create_directories(folder_ / "references/no-model");
  Model off = model_;
  off.blocks[2].mlp_norm = off.blocks[2].mlp_norm * 1.1;
  save_model(off, folder_ / "references/b-off", at::kFloat);

  const Parity parity = measure(folder_ / "references");
  EXPECT_EQ(begun, (std::vector<std::string>{"a-exact", "b-off"}));
  EXPECT_FALSE(parity.ok());
  ASSERT_EQ(parity.rows.size(), 4u);
  EXPECT_EQ(parity.rows[0].kind, "residual states");
  EXPECT_EQ(parity.rows[0].places, 4);
  EXPECT_EQ(parity.rows[1].kind, "logits");
  EXPECT_EQ(parity.rows[1].places, 2);
  EXPECT_TRUE(parity.rows[0].ok && parity.rows[1].ok);
  EXPECT_LT(parity.rows[1].difference, 1e-5);
  EXPECT_FALSE(parity.rows[2].ok || parity.rows[3].ok);
  EXPECT_GT(parity.rows[3].difference, 2e-4);
  ASSERT_EQ(parity.precision.size(), 2u);
  EXPECT_EQ(parity.precision[0].positions, 11);
  EXPECT_GT(parity.precision[0].mean_divergence, 0);
  EXPECT_LE(parity.precision[0].same_likeliest, 1);
}

TEST(VerifyGoldens, EveryCaseIsCompared) {
  for (const auto& [name, records] : {std::pair{"llama3", 7 + 5 + 3 + 2},
                                      {"qwen3_tied", 7 + 5 + 3 + 2},
                                      {"llama_bias", 7},
                                      {"qwen2", 7},
                                      {"gpt2", 7 + 5},
                                      {"gpt_neox", 7},
                                      {"gemma2", 7},
                                      {"mamba", 7},
                                      {"rwkv7", 7}}) {
    const fs::path folder = test::golden_folder(name);
    REQUIRE_GOLDENS(folder);
    Model model = load_model(folder);
    const VerifyReport report = verify_model(model, folder / "expected.safetensors", folder / "prompts.json");
    EXPECT_TRUE(report.ok()) << name;
    EXPECT_EQ(std::ssize(report.records), records) << name;
    EXPECT_TRUE(report.ignored.empty()) << name;
    if (!fs::exists(folder / "lora")) continue;
    load_lora(model, folder / "lora");
    const VerifyReport adapted = verify_model(model, folder / "lora" / "expected.safetensors", folder / "prompts.json");
    EXPECT_TRUE(adapted.ok());
    EXPECT_EQ(adapted.records.size(), 2u);
  }
}

}  // namespace
}  // namespace introspect
