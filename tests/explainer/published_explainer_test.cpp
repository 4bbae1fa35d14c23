// Explainers of the published layout: small ones with the same token names, against a direct computation.
#include "explainer/published_explainer.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "explainer/answer.h"
#include "explainer/describe_vectors.h"
#include "explainer/small_questions.h"
#include "explainer/train.h"
#include "model/forward.h"
#include "parquet/parquet_files.h"
#include "procedure/published.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::loud_model;
using world::random_tensor;

const std::string kSlot = "<|reserved_special_token_10|><|reserved_special_token_12|><|reserved_special_token_11|>";

ModelConfig untied() {
  ModelConfig config = world::config();
  config.tied_embeddings = false;
  return config;
}

// Greedy words of a model that reads `prompt`, as Hugging Face would tokenise it, with `vector` in place of the
// embedding of the slot token.
std::string direct_answer(const Model& model, const std::string& prompt, const at::Tensor& vector, int64_t count) {
  c10::NoGradGuard guard;
  const Tokenizer& tokenizer = world::tokenizer();
  std::vector<int64_t> tokens = tokenizer.encode(prompt);
  if (!tokenizer.adds_bos()) tokens.insert(tokens.begin(), *tokenizer.bos());
  const auto slot = std::find(tokens.begin(), tokens.end(), *tokenizer.id("<|reserved_special_token_12|>"));
  const at::Tensor row = at::tensor({static_cast<int64_t>(slot - tokens.begin())}, at::kLong);
  std::vector<int64_t> said;
  for (int64_t i = 0; i < count; ++i) {
    Taps taps = {Tap::replace({PlaceKind::embed, -1}, row, vector.unsqueeze(0))};
    ForwardOptions options;
    options.taps = &taps;
    const at::Tensor logits = forward(model, pack({tokens}), options).logits;
    const int64_t next = logits[-1].argmax().item<int64_t>();
    if (next == *tokenizer.eos()) break;
    tokens.push_back(next);
    said.push_back(next);
    if (tokenizer.decode(said).find('\n') != std::string::npos) break;
  }
  std::string text = tokenizer.decode(said, true);
  text = text.substr(0, text.find('\n'));
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Model adapted(Model model) {
  LoraConfig config;
  config.rank = 4;
  add_lora(model, config, 3);
  for (auto& [name, tensor] : lora_parameters(model)) {
    if (name.ends_with("lora_B.weight")) tensor.copy_(random_tensor(tensor.sizes(), 9) * 0.3);
  }
  return model;
}

TEST(PublishedExplainer, WholeCheckpointOfFeatures) {
  const TemporaryFolder folder;
  const Model model = loud_model(untied());
  world::write_model(folder / "published", model);
  PublishedExplainer published;
  published.folder = folder / "published";
  published.task = "features";
  const ExplainerConfig config = import_explainer(published, folder / "explainer");
  EXPECT_EQ(config.slot_tokens,
            (std::vector<std::string>{"<|reserved_special_token_10|>", "<|reserved_special_token_12|>",
                                      "<|reserved_special_token_11|>"}));
  EXPECT_FALSE(config.style.chat);
  EXPECT_TRUE(fs::is_symlink(folder / "explainer/model.safetensors"));

  const Explainer explainer = open_explainer(folder / "explainer");
  const at::Tensor vectors = random_tensor({3, 32}, 5) * 2;
  AnswerOptions options;
  options.max_new_tokens = 8;
  const std::vector<std::string> prompts = {"At layer 3, " + kSlot + " encodes ", kSlot + " activates at layer 3 for "};
  for (int64_t t = 0; t < 2; ++t) {
    options.template_index = t;
    const std::vector<std::string> words = describe_vectors(explainer, vectors, {3, 3, 3}, options);
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_EQ(words[i], direct_answer(model, prompts[t], vectors[i], 8)) << "template " << t << ", vector " << i;
    }
    EXPECT_FALSE(words[0] == words[1] && words[1] == words[2]) << "the vector must matter";
  }
  import_explainer(published, folder / "explainer");  // once more: links stay
  EXPECT_NO_THROW(open_explainer(folder / "explainer"));
}

TEST(PublishedExplainer, AdapterOfPatchingWithItsEmbeddings) {
  const TemporaryFolder folder;
  const Model base = loud_model(untied());
  world::write_model(folder / "base", base);
  Model model = adapted(clone_model(base));
  // published adapters hold the embedding and the head, whole
  model.embedding = model.embedding + random_tensor(model.embedding.sizes(), 21) * 0.3;
  model.head = random_tensor(model.head.sizes(), 22);
  LoraConfig lora;
  lora.rank = 4;
  save_lora(model, lora, folder / "adapter", "meta-llama/Base");
  const Safetensors stored(folder / "adapter/adapter_model.safetensors");
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& entry : stored.tensors()) tensors.emplace_back(entry.first, stored.get(entry.first).clone());
  tensors.emplace_back("base_model.model.model.embed_tokens.weight", model.embedding);
  tensors.emplace_back("base_model.model.lm_head.weight", model.head);
  write_safetensors(folder / "adapter/adapter_model.safetensors", tensors);

  PublishedExplainer published;
  published.folder = folder / "adapter";
  published.task = "patching";
  EXPECT_TRUE(holds(error_of([&] { import_explainer(published, folder / "x"); }), "the folder of meta-llama/Base"));
  published.base = folder / "base";
  import_explainer(published, folder / "explainer");
  const Explainer explainer = open_explainer(folder / "explainer");

  Dataset dataset = world::questions();
  AnswerOptions options;
  options.max_new_tokens = 8;
  options.limit = 4;
  const std::vector<Answer> answers = answer_questions(explainer, dataset, options);
  for (size_t i = 0; i < answers.size(); ++i) {
    const Example& example = *dataset.of(Split::test)[i];
    const std::string layers = example.layers.size() == 2 ? fmt::format("{}, {}", example.layers[0], example.layers[1])
                                                          : std::to_string(example.layers[0]);
    const std::string prompt = "If feature " + kSlot + " at layer " + layers + " is added to tokens <" + example.token +
                               "> when processing the text <<<" + example.input + ">>>, how would the output change?\n";
    EXPECT_EQ(answers[i].text, direct_answer(model, prompt, dataset.vectors[example.vector], 8)) << i;
  }
}

// The whole way: published rows become a data set, an explainer learns it and is asked.
TEST(PublishedExplainer, LearnsImportedRows) {
  const TemporaryFolder folder;
  world::write_model(folder / "base", loud_model(untied()));
  const std::vector<test::Field> fields = {
      {"layer", "list", {{"item", "int64"}}},
      {"input_tokens", "list", {{"item", "text"}}},
      {"original_continuation", "list", {{"item", "text"}}},
      {"ablated_continuation", "list", {{"item", "text"}}},
      {"patch_position",
       "struct",
       {{"intervention_vector", "list", {{"item", "float"}}}, {"orig_pos", "int64"}, {"orig_text_token", "text"}}}};
  std::vector<Json> rows;
  for (int i = 0; i < 24; ++i) {
    Json vector = Json::array();
    for (int d = 0; d < 32; ++d) vector.push_back(d == i % 4 ? 3.0 : 0.1 * (i + d));
    rows.push_back(
        {{"layer", {0, 1}},
         {"input_tokens", {"France", std::to_string(i), " is"}},
         {"original_continuation", {" Paris"}},
         {"ablated_continuation", {i % 2 ? " Rome" : " Paris"}},
         {"patch_position", {{"intervention_vector", vector}, {"orig_pos", 0}, {"orig_text_token", "France"}}}});
  }
  folder.write("rows/train.parquet", test::parquet_of(fields, {rows.begin(), rows.begin() + 20}));
  folder.write("rows/test.parquet", test::parquet_of(fields, {rows.begin() + 20, rows.end()}));
  ImportReport report;
  save_dataset(import_patching({folder / "rows"}, {}, report), folder / "dataset");
  const Dataset dataset = load_dataset(folder / "dataset");
  ExplainerTraining training;
  training.method = TrainMethod::lora;
  training.steps = 2;
  training.batch = 4;
  training.explainer.injection.policy = InjectionPolicy::raw;
  train_explainer(folder / "base", dataset, folder / "dataset", training, folder / "explainer", [](const auto&) {});
  EXPECT_EQ(read_json(folder / "explainer/adapter_config.json").at("target_modules").size(), 7u);
  AnswerOptions options;
  options.max_new_tokens = 4;
  EXPECT_EQ(answer_questions(open_explainer(folder / "explainer"), dataset, options).size(), 4u);
}

TEST(PublishedExplainer, WordingsOfChatModels) {
  for (const std::string& text : published_templates("patching", true, true)) EXPECT_NE(text.back(), '\n');
  EXPECT_EQ(published_templates("features", true, true).size(), 5u);
  EXPECT_EQ(published_templates("features", true, false).size(), 3u);
  EXPECT_EQ(published_templates("features", false, false), paper_feature_templates());
  EXPECT_EQ(published_templates("ablation", true, false).size(), 1u);
}

TEST(PublishedExplainer, RefusesOtherFolders) {
  const TemporaryFolder folder;
  PublishedExplainer published;
  published.folder = folder.path();
  published.task = "features";
  EXPECT_TRUE(holds(error_of([&] { import_explainer(published, folder / "x"); }), "neither config.json"));
  save_model(loud_model(untied()), folder / "model", at::kFloat);
  published.folder = folder / "model";
  EXPECT_TRUE(holds(error_of([&] { import_explainer(published, folder / "x"); }), "no tokenizer.json"));
  published.task = "else";
  EXPECT_TRUE(holds(error_of([&] { import_explainer(published, folder / "x"); }), "task: got 'else'"));
  EXPECT_TRUE(holds(error_of([&] { open_explainer(folder / "model"); }), "introspect explainer import"));
}

}  // namespace
}  // namespace introspect
