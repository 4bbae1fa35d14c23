// Folders that load as they were saved, and the errors of those that do not.
#include "base/json.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "model/lora.h"
#include "tiny_model.h"

#include <functional>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using test::difference;
using test::run_logits;
using test::tiny_model;

const std::vector<int64_t> tokens{1, 2, 3, 250};
using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

// The message of loading a model whose tensors and configuration `change` has changed.
std::string message_of(const std::function<void(Tensors&, Json&)>& change) {
  TemporaryFolder folder;
  Model model = tiny_model();
  save_model(model, folder.path(), at::kFloat);
  Tensors tensors = parameters(model);
  Json config = read_json(folder / "config.json");
  change(tensors, config);
  write_safetensors(folder / "model.safetensors", tensors);
  write_json(folder / "config.json", config);
  return error_of([&] { load_model(folder.path()); });
}
std::string config_message(const std::function<void(Json&)>& change) {
  return message_of([&](Tensors&, Json& config) { change(config); });
}

TEST(LoadModel, SavedLoadsTheSame) {
  for (const char* family : {"llama", "qwen3"}) {
    for (bool tied : {false, true}) {
      ModelConfig config = test::tiny_config(family);
      config.tied_embeddings = tied;
      config.attention_bias = config.attention_output_bias = family == std::string("llama");
      config.mlp_bias = config.attention_bias;
      config.rope_scaling = {RopeScaling::Kind::llama3, 4, 1, 4, 32};
      config.bos_token = 268;
      const Model model = tiny_model(config);
      TemporaryFolder folder;
      save_model(model, folder.path(), at::kFloat);
      const Model loaded = load_model(folder.path());
      EXPECT_EQ(difference(run_logits(loaded, tokens), run_logits(model, tokens)), 0);
      EXPECT_EQ(loaded.head.is_same(loaded.embedding), tied);
      EXPECT_EQ(loaded.config.bos_token, 268);
      EXPECT_EQ(weight_bytes(loaded.config, at::kFloat), Checkpoint(folder.path()).bytes());

      TemporaryFolder narrow;
      save_model(model, narrow.path(), at::kBFloat16);
      EXPECT_EQ(load_model(narrow.path()).embedding.scalar_type(), at::kFloat)
          << "the type asked for, not the stored one";
      EXPECT_EQ(load_model(narrow.path()).config.stored_dtype, "bfloat16");
    }
  }
}

TEST(LoadModel, TensorsThatDoNotFit) {
  EXPECT_TRUE(holds(message_of([](Tensors& t, Json&) { t.erase(t.begin() + 2); }),
                    "tensor 'model.layers.0.self_attn.q_proj.weight' is missing"));
  EXPECT_TRUE(holds(message_of([](Tensors& t, Json&) { t[2].second = t[2].second.t().contiguous(); }),
                    "got shape [48, 96], expected [96, 48]"));
  EXPECT_TRUE(
      holds(message_of([](Tensors& t, Json&) { t.emplace_back("model.layers.0.extra.weight", at::zeros({2})); }),
            "the first 'model.layers.0.extra.weight'"));
  EXPECT_TRUE(holds(message_of([](Tensors& t, Json&) { t[2].second = t[2].second.to(at::kLong); }), "floating-point"));
  EXPECT_TRUE(holds(message_of([](Tensors&, Json& c) { c["num_hidden_layers"] = 2; }), "config.json may belong"));
  EXPECT_TRUE(holds(message_of([](Tensors&, Json& c) { c["num_hidden_layers"] = 4; }), "layers.3"));
}

TEST(LoadModel, RotaryTablesOfOldCheckpointsAreIgnored) {
  TemporaryFolder folder;
  Model model = tiny_model();
  save_model(model, folder.path(), at::kFloat);
  Tensors tensors = parameters(model);
  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({12}));
  write_safetensors(folder / "model.safetensors", tensors);
  EXPECT_EQ(difference(run_logits(load_model(folder.path()), tokens), run_logits(model, tokens)), 0);
}

TEST(Config, ErrorsNameTheKey) {
  for (const char* key : {"model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "max_position_embeddings", "rms_norm_eps"}) {
    EXPECT_TRUE(holds(config_message([&](Json& c) { c.erase(key); }), key)) << "missing";
    EXPECT_TRUE(holds(config_message([&](Json& c) { c[key] = Json::array(); }), key)) << "of another type";
  }
  EXPECT_TRUE(holds(config_message([](Json& c) { c["model_type"] = "bert"; }), "got 'bert', expected one of llama"));
  EXPECT_TRUE(holds(config_message([](Json& c) { c["hidden_act"] = "gelu"; }), "hidden_act: got 'gelu'"));
  EXPECT_TRUE(holds(config_message([](Json& c) { c["num_key_value_heads"] = 3; }), "num_key_value_heads: got 3"));
  EXPECT_TRUE(holds(config_message([](Json& c) { c["num_attention_heads"] = 0; }), "num_attention_heads"));
  EXPECT_TRUE(holds(config_message([](Json& c) { c["head_dim"] = 25; }), "head_dim: got 25"));
  EXPECT_TRUE(holds(config_message([](Json& c) { c["vocab_size"] = -1; }), "vocab_size"));
  EXPECT_TRUE(holds(config_message([](Json& c) {
                      c["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 2}};
                    }),
                    "yarn"));
  EXPECT_TRUE(holds(config_message([](Json& c) {
                      c["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 2}};
                    }),
                    "low_freq_factor"));
  EXPECT_TRUE(holds(config_message([](Json& c) { c["use_sliding_window"] = true; }), "use_sliding_window"));
  TemporaryFolder empty;
  EXPECT_TRUE(holds(error_of([&] { load_model(empty.path()); }), "no config.json"));
  empty.write("config.json", "{\"model_type\": \"llama\"");
  EXPECT_TRUE(holds(error_of([&] { load_model(empty.path()); }), "config.json"));
}

TEST(CloneModel, SharesNothing) {
  for (bool tied : {false, true}) {
    ModelConfig config = test::tiny_config();
    config.tied_embeddings = tied;
    Model model = tiny_model(config);
    add_lora(model, LoraConfig{}, 1);
    const at::Tensor before = run_logits(model, tokens);
    Model copy = clone_model(model);
    EXPECT_EQ(difference(run_logits(copy, tokens), before), 0);
    for (auto& [name, tensor] : parameters(copy)) tensor.zero_();
    for (auto& [name, tensor] : lora_parameters(copy)) tensor.fill_(1);
    EXPECT_EQ(difference(run_logits(model, tokens), before), 0);
    EXPECT_EQ(copy.head.is_same(copy.embedding), tied);
  }
}

TEST(CreateModel, SeedDecides) {
  const auto embedding = [](uint64_t seed) { return create_model(test::tiny_config(), seed).embedding; };
  EXPECT_EQ(difference(embedding(1), embedding(1)), 0);
  EXPECT_GT(difference(embedding(1), embedding(2)), 0.01);
}

}  // namespace
}  // namespace introspect
