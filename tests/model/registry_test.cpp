// Published checkpoints without their weights: from the config.json alone, every tensor's name and shape and the number
// of parameters.
#include "base/json.h"
#include "base/temporary_folder.h"
#include "model/names.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>

#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

const Json& registry() {
  static const Json json = read_json(fs::path(INTROSPECT_SOURCE_DIR) / "tests/model/data/registry.json");
  return json;
}

int64_t value_of(const std::string& word, const Json& config) {
  int64_t number = 0;
  const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error == std::errc() && stop == word.data() + word.size()) return number;
  if (word == "head_dim" && !config.contains(word)) {
    return value_of("hidden_size", config) / value_of("num_attention_heads", config);
  }
  return config.at(word).get<int64_t>();
}

// "time_step_rank + 2 * state_size" with the values of a config.json: words and signs with blanks between them.
int64_t size_of(const std::string& text, const Json& config) {
  std::istringstream words(text);
  std::string word;
  words >> word;
  int64_t sum = 0, product = value_of(word, config);
  for (std::string sign; words >> sign >> word;) {
    const int64_t value = value_of(word, config);
    if (sign == "*") {
      product *= value;
    } else if (sign == "/") {
      product /= value;
    } else {
      sum += product;
      product = value;
    }
  }
  return sum + product;
}

using Shapes = std::map<std::string, std::vector<int64_t>>;

const Json& published() {
  static const Json json = read_json(fs::path(INTROSPECT_SOURCE_DIR) / "models/configs.json")["models"];
  return json;
}

Shapes published_tensors(const Json& config) {
  const Json& tensors = registry()["tensors"][config["model_type"].get<std::string>()];
  const int64_t layers = value_of(config.contains("n_layer") ? "n_layer" : "num_hidden_layers", config);
  Shapes shapes;
  for (const auto& [name, sizes] : tensors.items()) {
    std::vector<int64_t> shape;
    for (const Json& size : sizes) shape.push_back(size_of(size.get<std::string>(), config));
    const size_t open = name.find('{'), close = name.find('}');
    if (open == std::string::npos) {
      shapes[name] = shape;
      continue;
    }
    for (int64_t layer = close - open == 1 ? 0 : 1; layer < layers; ++layer) {
      shapes[name.substr(0, open) + std::to_string(layer) + name.substr(close + 1)] = shape;
    }
  }
  if (config.value("tie_word_embeddings", true) == false && config["model_type"] != "gpt_neox") {
    shapes["lm_head.weight"] = {value_of("vocab_size", config), value_of("hidden_size", config)};
  }
  return shapes;
}

TEST(Registry, NamesShapesAndCountsOfPublishedModels) {
  size_t models = 0;
  for (const Json& entry : published()) {
    const std::string name = entry["name"].get<std::string>();
    SCOPED_TRACE(name);
    const Json& json = entry["config"];
    const ModelConfig config = parse_config(json, name);
    EXPECT_EQ(config.parameter_count(), entry["parameters"].get<int64_t>());
    const Shapes published = published_tensors(json);
    std::vector<std::string> wrong;
    size_t found = 0;
    for (const WeightShape& weight : expected_weights(config)) {
      const auto at = published.find(weight.name);
      const bool good = at != published.end() && at->second == weight.shape;
      found += good ? 1 : 0;
      if (!good) wrong.push_back(fmt::format("{} [{}]", weight.name, fmt::join(weight.shape, ", ")));
    }
    EXPECT_TRUE(wrong.empty()) << fmt::format("{} tensors, the first {}", wrong.size(), wrong.front());
    EXPECT_EQ(found, published.size());
    // what is written is read back as the same model
    const ModelConfig again = parse_config(config_to_json(config), name);
    EXPECT_EQ(config_to_json(again), config_to_json(config));
    EXPECT_EQ(again.parameter_count(), config.parameter_count());
    EXPECT_EQ(config_to_json(config)["architectures"], json["architectures"]);
    ++models;
  }
  EXPECT_GE(models, 40u);
}

TEST(Registry, EveryFamilyHasAModel) {
  std::map<std::string, int> models;
  for (const Json& entry : published()) ++models[entry["config"]["model_type"].get<std::string>()];
  for (const auto& [family, tensors] : registry()["tensors"].items()) EXPECT_GT(models[family], 0) << family;
  const std::string message = error_of([] { check_family("no such family", "here"); });
  for (const auto& [family, count] : models) EXPECT_TRUE(holds(message, family));
}

// What computes, beside the sizes: a value read wrongly would change no shape.
TEST(Registry, SettingsOfPublishedModels) {
  const auto config = [](const std::string& name) {
    for (const Json& entry : published()) {
      if (entry["name"] == name) return parse_config(entry["config"], name);
    }
    ADD_FAILURE() << name;
    return ModelConfig{};
  };
  const ModelConfig gemma = config("gemma-2-27b");
  EXPECT_NEAR(gemma.query_scale, 1.0 / 12, 1e-12);  // query_pre_attn_scalar 144, not head_dim 128
  EXPECT_NEAR(gemma.embedding_scale * gemma.embedding_scale, 4608, 1e-9);
  EXPECT_EQ(gemma.attention_softcap, 50);
  EXPECT_EQ(gemma.final_softcap, 30);
  EXPECT_EQ(gemma.window(0), 4096);
  EXPECT_EQ(gemma.window(1), 0);
  EXPECT_TRUE(gemma.tied_embeddings);
  EXPECT_EQ(config("pythia-1b").rotary_dim(), 64);
  EXPECT_EQ(config("pythia-160m").rotary_dim(), 16);
  EXPECT_TRUE(config("pythia-160m").parallel_residual);
  EXPECT_EQ(config("pythia-160m").activation, Activation::gelu);
  EXPECT_EQ(config("gpt2").activation, Activation::gelu_tanh);
  EXPECT_EQ(config("gpt2").rotary_dim(), 0);
  EXPECT_EQ(config("Mistral-7B-v0.1").window(31), 4096);
  EXPECT_EQ(config("Qwen2.5-7B").window(27), 0) << "a window that is not used";
  EXPECT_TRUE(config("Qwen3-8B").query_key_norm);
  EXPECT_EQ(config("Llama-3.2-1B").rope_scaling.factor, 32);
  EXPECT_EQ(config("mamba-130m-hf").recurrence.step_rank, 48);
  EXPECT_EQ(config("rwkv7-1.5B").heads, 32);
}

}  // namespace
}  // namespace introspect
