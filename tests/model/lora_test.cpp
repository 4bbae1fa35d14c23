// Adapters: what is saved loads, merging changes nothing, and what does not fit is refused.
#include "model/lora.h"

#include "base/json.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "model/names.h"
#include "tiny_model.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::difference;
using test::run_logits;
using test::tiny_model;

class LoraTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
  Model model_ = tiny_model();
  std::vector<int64_t> tokens_ = test::random_tokens(11, 1);
  at::Tensor plain_ = run_logits(model_, tokens_);

  LoraConfig config() const {
    LoraConfig config;
    config.rank = 3;
    config.alpha = 12;
    return config;
  }
  // An adapter whose B is not zero.
  void adapt(Model& model) const {
    add_lora(model, config(), 7);
    for (auto& [name, tensor] : lora_parameters(model)) {
      if (name.ends_with("lora_B.weight")) tensor.copy_(test::random_tensor(tensor.sizes(), 3) * 0.1);
    }
  }
  using Tensors = std::vector<std::pair<std::string, at::Tensor>>;
  // Saves the adapter as `change` leaves it and returns the message of loading it.
  std::string message_of(const std::function<void(Tensors&, Json&)>& change) {
    Model source = tiny_model();
    adapt(source);
    save_lora(source, config(), folder_.path(), "base");
    Tensors tensors = lora_parameters(source);
    Json json = read_json(folder_ / "adapter_config.json");
    change(tensors, json);
    write_safetensors(folder_ / "adapter_model.safetensors", tensors);
    write_json(folder_ / "adapter_config.json", json);
    const std::string message = error_of([&] { load_lora(model_, folder_.path()); });
    EXPECT_TRUE(lora_parameters(model_).empty()) << "nothing is left on the model";
    return message;
  }
};

TEST_F(LoraTest, FreshFactorsChangeNothing) {
  add_lora(model_, config(), 7);
  EXPECT_EQ(difference(run_logits(model_, tokens_), plain_), 0);
  EXPECT_EQ(lora_parameters(model_).size(), 2u * 7 * 3);
}

TEST_F(LoraTest, SavedLoadsTheSame) {
  adapt(model_);
  const at::Tensor adapted = run_logits(model_, tokens_);
  EXPECT_GT(difference(adapted, plain_), 1e-2);
  save_lora(model_, config(), folder_.path(), "base");
  Model other = tiny_model();
  add_lora(other, config(), 99);  // gives way to the one loaded
  const LoraConfig read = load_lora(other, folder_.path());
  EXPECT_EQ(read.rank, 3);
  EXPECT_EQ(read.alpha, 12);
  EXPECT_EQ(difference(run_logits(other, tokens_), adapted), 0);
  remove_lora(other);
  EXPECT_EQ(difference(run_logits(other, tokens_), plain_), 0);
}

TEST_F(LoraTest, SomeTargetsOnly) {
  LoraConfig some = config();
  some.targets = {"q_proj", "down_proj"};
  add_lora(model_, some, 7);
  save_lora(model_, some, folder_.path(), "base");
  Model other = tiny_model();
  EXPECT_EQ(load_lora(other, folder_.path()).targets, some.targets);
  EXPECT_EQ(lora_parameters(other).size(), 2u * 2 * 3);
  LoraConfig wrong = config();
  wrong.targets = {"q_proj", "c_attn"};
  Model untouched = tiny_model();
  EXPECT_TRUE(holds(error_of([&] { add_lora(untouched, wrong, 7); }), "'c_attn'"));
  EXPECT_TRUE(lora_parameters(untouched).empty());
}

TEST_F(LoraTest, MergedEqualsUnmerged) {
  adapt(model_);
  const at::Tensor adapted = run_logits(model_, tokens_);
  merge_lora(model_);
  EXPECT_TRUE(lora_parameters(model_).empty());
  EXPECT_LT(difference(run_logits(model_, tokens_), adapted), 1e-4);
}

TEST_F(LoraTest, ScaleIsAlphaOverRank) {
  adapt(model_);
  const Lora& lora = *model_.blocks[1].gate.lora;
  EXPECT_EQ(lora.scale, 4);
  save_lora(model_, config(), folder_.path(), "base");
  Json json = read_json(folder_ / "adapter_config.json");
  json["use_rslora"] = true;
  write_json(folder_ / "adapter_config.json", json);
  load_lora(model_, folder_.path());
  EXPECT_NEAR(model_.blocks[1].gate.lora->scale, 12 / std::sqrt(3.0), 1e-12);
}

TEST_F(LoraTest, DropoutOnlyInTrainingAndBySeed) {
  LoraConfig dropping = config();
  dropping.dropout = 0.5;
  add_lora(model_, dropping, 7);
  for (auto& [name, tensor] : lora_parameters(model_)) tensor.copy_(test::random_tensor(tensor.sizes(), 3) * 0.1);
  const at::Tensor still = run_logits(model_, tokens_);
  const auto training = [&](uint64_t seed) {
    ForwardOptions options;
    options.training = true;
    options.dropout_seed = seed;
    return forward(model_, pack({tokens_}), options).logits;
  };
  EXPECT_EQ(difference(run_logits(model_, tokens_), still), 0);
  EXPECT_EQ(difference(training(1), training(1)), 0);
  EXPECT_GT(difference(training(1), training(2)), 1e-3);
  EXPECT_GT(difference(training(1), still), 1e-3);
}

// As PEFT stores an adapter whose embedding and head were trained, or have more rows than the base model's.
TEST_F(LoraTest, StoredEmbeddingAndHeadTakeTheModelsPlace) {
  Model other = tiny_model();
  adapt(other);
  ASSERT_FALSE(other.config.tied_embeddings);
  const int64_t rows = other.config.vocab_size + 4;
  other.embedding = test::random_tensor({rows, other.config.d_model}, 11);
  other.head = test::random_tensor({rows, other.config.d_model}, 12);
  other.config.vocab_size = rows;
  save_lora(other, config(), folder_.path(), "base");
  const Safetensors stored(folder_ / "adapter_model.safetensors");
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& entry : stored.tensors()) tensors.emplace_back(entry.first, stored.get(entry.first).clone());
  tensors.emplace_back("base_model.model.model.embed_tokens.weight", other.embedding);
  tensors.emplace_back("base_model.model.lm_head.weight", other.head);
  write_safetensors(folder_ / "adapter_model.safetensors", tensors);
  load_lora(model_, folder_.path());
  EXPECT_EQ(model_.config.vocab_size, rows);
  EXPECT_EQ(difference(run_logits(model_, tokens_), run_logits(other, tokens_)), 0);

  tensors.pop_back();
  write_safetensors(folder_ / "adapter_model.safetensors", tensors);
  Model untouched = tiny_model();
  EXPECT_TRUE(holds(error_of([&] { load_lora(untouched, folder_.path()); }), "without a head"));
  EXPECT_EQ(untouched.config.vocab_size, rows - 4);
}

TEST_F(LoraTest, NoTargetsAreAllTargets) {
  LoraConfig all = config();
  all.targets = {};
  add_lora(model_, all, 7);
  EXPECT_EQ(lora_parameters(model_).size(), 2u * 7 * 3);
  save_lora(model_, all, folder_.path(), "base");
  Model other = tiny_model();
  EXPECT_EQ(load_lora(other, folder_.path()).targets, linear_modules(model_.config));
}

TEST_F(LoraTest, KeysThatMatchNothing) {
  EXPECT_TRUE(
      holds(message_of([](Tensors& tensors, Json&) {
              tensors.emplace_back("base_model.model.model.layers.3.mlp.up_proj.lora_A.weight", at::zeros({3, 48}));
            }),
            "1 keys match no linear layer of this model, the first 'base_model.model.model.layers.3"));
}

TEST_F(LoraTest, TransposedFactor) {
  EXPECT_TRUE(holds(message_of([](Tensors& tensors, Json&) { tensors[0].second = tensors[0].second.t().contiguous(); }),
                    "'model.layers.0.self_attn.q_proj': the factors do not fit"));
}

TEST_F(LoraTest, MissingFactor) {
  EXPECT_TRUE(
      holds(message_of([](Tensors& tensors, Json&) { tensors.erase(tensors.begin()); }), "only one of its two"));
  EXPECT_TRUE(holds(message_of([](Tensors& tensors, Json&) { tensors.erase(tensors.begin(), tensors.begin() + 2); }),
                    "'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight' is missing"));
}

TEST_F(LoraTest, SettingsThatWouldComputeSomethingElse) {
  EXPECT_TRUE(holds(message_of([](Tensors&, Json& json) { json["r"] = 4; }), "rank 4"));
  EXPECT_TRUE(holds(message_of([](Tensors&, Json& json) { json["use_dora"] = true; }), "use_dora"));
  EXPECT_TRUE(holds(message_of([](Tensors&, Json& json) { json["bias"] = "all"; }), "bias: got 'all'"));
  EXPECT_TRUE(holds(message_of([](Tensors&, Json& json) { json["rank_pattern"] = {{"q_proj", 8}}; }), "rank_pattern"));
  EXPECT_TRUE(
      holds(message_of([](Tensors&, Json& json) { json["modules_to_save"] = {"lm_head"}; }), "modules_to_save"));
  EXPECT_TRUE(holds(message_of([](Tensors&, Json& json) { json.erase("lora_alpha"); }), "lora_alpha"));
}

}  // namespace
}  // namespace introspect
