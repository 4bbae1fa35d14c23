// Batches and their loss: what counts, where the vector goes, where gradients go; and explainers' folders.
#include "explainer/batch.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "explainer/answer.h"
#include "explainer/small_questions.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::difference;
using world::explainer_config;
using world::loud_explainer;
using world::random_tensor;

std::vector<Question> questions_of(const Explainer& explainer, const std::vector<const Example*>& examples) {
  std::vector<Question> questions;
  for (const Example* example : examples) {
    questions.push_back(make_question(explainer.tokenizer, explainer.slot, explainer.config.style, *example, 0));
  }
  return questions;
}

struct Small {
  Dataset dataset = world::questions();
  Explainer explainer;
  std::vector<const Example*> examples = dataset.of(Split::test);
  std::vector<Question> questions;
  at::Tensor vectors = condition_vectors(dataset, examples, VectorCondition::real, 1);

  explicit Small(const ExplainerConfig& config = explainer_config(), int64_t width = 32)
      : dataset(world::questions(width)), explainer(loud_explainer(config)) {
    questions = questions_of(explainer, examples);
  }
  ExplainerBatch batch(const at::Tensor& given, const std::vector<Document>& replay = {}) const {
    return make_batch(explainer, questions, given, replay);
  }
  double loss(const at::Tensor& given) const {
    c10::NoGradGuard guard;
    return batch_loss(explainer, batch(given), {}).answers;
  }
};

TEST(Batch, RowsAndTargetsAreTheAnswerTokensAndNothingElse) {
  const Small small;
  const ExplainerBatch batch = small.batch(small.vectors);
  std::vector<int64_t> targets, rows;
  int64_t start = 0;
  for (size_t q = 0; q < small.questions.size(); ++q) {
    const Question& question = small.questions[q];
    const auto length = std::ssize(question.tokens);
    for (int64_t i = 0; i < std::ssize(question.answer); ++i) {
      targets.push_back(question.answer[static_cast<size_t>(i)]);
      rows.push_back(start + length + i - 1);
    }
    EXPECT_EQ(batch.packed.input.tokens[start + question.slots[0]].item<int64_t>(), small.explainer.slot.slot);
    EXPECT_EQ(batch.slot_rows[static_cast<int64_t>(q)].item<int64_t>(), start + question.slots[0]);
    start += length + std::ssize(question.answer);
  }
  EXPECT_TRUE(at::equal(batch.packed.targets, at::tensor(targets, at::kLong)));
  EXPECT_TRUE(at::equal(batch.packed.rows, at::tensor(rows, at::kLong)));
  EXPECT_EQ(batch.packed.input.size(), start);
  EXPECT_EQ(batch.answer_tokens, std::ssize(targets));
  EXPECT_EQ(batch.answer_rows, batch.answer_tokens);
  EXPECT_TRUE(at::equal(batch.slot_vectors, small.vectors));
  EXPECT_NEAR(batch.packed.weight_sum, 1, 1e-5);
}

TEST(Batch, LossIsTheMeanOverAnswerTokensPlusThatOverReplayedOnes) {
  const Small small;
  std::vector<Document> replay(2);
  replay[0] = {{1, 70, 71, 72}, {0, 1, 0, 3}};
  replay[1] = {{1, 80, 81}, {0, 2, 1}};
  const ExplainerBatch batch = small.batch(small.vectors, replay);
  EXPECT_EQ(batch.packed.rows.numel(), batch.answer_tokens + 4);
  EXPECT_EQ(batch.answer_rows, batch.answer_tokens);
  c10::NoGradGuard guard;
  const BatchLoss loss = batch_loss(small.explainer, batch, {});

  // a question at a time with logits everywhere, its embedding row replaced by hand
  double sum = 0;
  for (size_t q = 0; q < small.questions.size(); ++q) {
    const Question& question = small.questions[q];
    std::vector<int64_t> tokens = question.tokens;
    tokens.insert(tokens.end(), question.answer.begin(), question.answer.end());
    const at::Tensor v = small.vectors[static_cast<int64_t>(q)];
    const at::Tensor row = v / v.norm() * 5 * small.explainer.embedding_norm;
    Taps taps{Tap::replace({PlaceKind::embed, -1}, at::tensor(question.slots, at::kLong), row)};
    ForwardOptions options;
    options.taps = &taps;
    const at::Tensor log_probabilities =
        at::log_softmax(forward(small.explainer.model, pack({tokens}), options).logits.to(at::kDouble), -1);
    for (size_t t = question.tokens.size(); t < tokens.size(); ++t) {
      sum -= log_probabilities[static_cast<int64_t>(t) - 1][tokens[t]].item<double>();
    }
  }
  EXPECT_NEAR(loss.answers, sum / static_cast<double>(batch.answer_tokens), 1e-4);
  const double replayed = mean_loss(small.explainer.model, replay, at::kFloat);
  EXPECT_NEAR(loss.total.item<double>(), loss.answers + replayed, 1e-4);
}

// The very thing that an explainer is for.
TEST(Batch, ChangingTheVectorChangesTheLogits) {
  for (const int64_t layer : {-1, 0}) {
    ExplainerConfig config = explainer_config();
    config.injection.layer = layer;
    const Small small(config);
    const double loss = small.loss(small.vectors);
    at::Tensor other = small.vectors.clone();
    other[3] = random_tensor({32}, 9);
    EXPECT_GT(std::abs(small.loss(other) - loss), 1e-4) << "layer " << layer;
    EXPECT_EQ(small.loss(small.vectors.clone()), loss);

    // scaled by zero, no vector matters
    Small deaf(config);
    deaf.explainer.config.injection.scale = 0;
    EXPECT_EQ(deaf.loss(small.vectors), deaf.loss(other)) << "layer " << layer;
    EXPECT_NEAR(deaf.loss(small.vectors), small.loss(at::zeros_like(other)), 1e-5) << "layer " << layer;
    // and of the vector's length only the raw policy knows
    EXPECT_NEAR(small.loss(small.vectors * 3), loss, 1e-4);
    Small raw(config);
    raw.explainer.config.injection.policy = InjectionPolicy::raw;
    EXPECT_GT(std::abs(raw.loss(small.vectors * 3) - raw.loss(small.vectors)), 1e-4);
  }
}

TEST(Batch, GradientReachesTheProjectionsOfItsLayers) {
  ExplainerConfig config = explainer_config(InjectionPolicy::unit, 3);
  config.injection.projection = ProjectionKind::random;
  Small small(config, 20);
  small.explainer.projections = make_projections(ProjectionKind::random, {1, 3, 5}, 20, 32, 1);
  for (auto& [layer, map] : small.explainer.projections) map.requires_grad_(true);
  ExplainerBatch batch = small.batch(small.vectors);
  batch_loss(small.explainer, batch, {}).total.backward();
  for (const int64_t layer : {1, 3}) {
    const at::Tensor gradient = small.explainer.projections.at(layer).grad();
    ASSERT_TRUE(gradient.defined());
    EXPECT_GT(gradient.norm().item<double>(), 1e-3);
    // along the gradient the loss falls as it says
    at::Tensor& map = small.explainer.projections.at(layer);
    const at::Tensor before = map.detach().clone();
    const double slope = gradient.norm().item<double>();
    constexpr double step = 0.03;
    c10::NoGradGuard guard;
    map.copy_(before - gradient * (step / slope));
    const double down = batch_loss(small.explainer, batch, {}).answers;
    map.copy_(before + gradient * (step / slope));
    const double up = batch_loss(small.explainer, batch, {}).answers;
    map.copy_(before);
    EXPECT_NEAR((up - down) / (2 * step * slope), 1, 0.1) << "layer " << layer;
  }
  EXPECT_FALSE(small.explainer.projections.at(5).grad().defined()) << "no vector of this batch is of layer 5";
}

TEST(ExplainerFolder, FullAndProjectionsComeBack) {
  const TemporaryFolder folder;
  ExplainerConfig config = explainer_config(InjectionPolicy::norm_matched, 4);
  config.injection.projection = ProjectionKind::random;
  config.injection.layer = 0;
  Small small(config, 20);
  small.explainer.projections = make_projections(ProjectionKind::random, {1, 3}, 20, 32, 7);
  small.explainer.embedding_norm = 1.25;
  world::write_model(folder / "base", small.explainer.model);
  save_explainer(small.explainer, nullptr, folder / "base", folder / "saved");
  const Explainer read = open_explainer(folder / "saved");
  EXPECT_EQ(explainer_config_to_json(read.config), explainer_config_to_json(config));
  EXPECT_EQ(read.projections.size(), 2u);
  EXPECT_TRUE(at::equal(read.projections.at(3), small.explainer.projections.at(3)));
  EXPECT_EQ(read.embedding_norm, 1.25);
  EXPECT_EQ(read.slot.slot, small.explainer.slot.slot);
  c10::NoGradGuard guard;
  const ExplainerBatch batch = small.batch(small.vectors);
  EXPECT_EQ(batch_loss(read, batch, {}).answers, batch_loss(small.explainer, batch, {}).answers);
}

TEST(ExplainerFolder, AnAdapterComesBackWithTheSameAnswers) {
  const TemporaryFolder folder;
  Small small;
  world::write_model(folder / "base", small.explainer.model);
  LoraConfig lora;
  lora.rank = 3;
  lora.alpha = 6;
  lora.targets = {"q_proj", "v_proj", "down_proj"};
  const double plain = small.loss(small.vectors);
  add_lora(small.explainer.model, lora, 1);
  EXPECT_NEAR(small.loss(small.vectors), plain, 1e-6) << "fresh factors change nothing";
  for (auto& [name, tensor] : lora_parameters(small.explainer.model)) {
    if (name.find("lora_B") != std::string::npos) tensor.copy_(random_tensor(tensor.sizes(), 2));
  }
  save_explainer(small.explainer, &lora, folder / "base", folder / "adapter");
  EXPECT_FALSE(fs::exists(folder / "adapter/model.safetensors"));
  const Json peft = read_json(folder / "adapter/adapter_config.json");
  EXPECT_EQ(peft["peft_type"], "LORA");
  EXPECT_EQ(peft["r"], 3);
  EXPECT_EQ(peft["lora_alpha"], 6);
  const Safetensors stored(folder / "adapter/adapter_model.safetensors");
  EXPECT_EQ(stored.tensors().size(), 2u * 3 * 2);
  EXPECT_TRUE(stored.contains("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"));

  const Explainer read = open_explainer(folder / "adapter");
  c10::NoGradGuard guard;
  const ExplainerBatch batch = small.batch(small.vectors);
  const double adapted = batch_loss(small.explainer, batch, {}).answers;
  EXPECT_GT(std::abs(adapted - plain), 0.01);
  EXPECT_EQ(batch_loss(read, batch, {}).answers, adapted);
  AnswerOptions options;
  options.max_new_tokens = 6;
  const auto wanted = answer_questions(small.explainer, small.dataset, options);
  const auto got = answer_questions(read, small.dataset, options);
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(got[i].text, wanted[i].text);
}

TEST(ExplainerFolder, Errors) {
  const TemporaryFolder folder;
  world::write_model(folder / "base", world::loud_model(world::config()));
  EXPECT_TRUE(holds(error_of([&] { open_explainer(folder / "base"); }), "no explainer.json"));
  const Small small;
  save_explainer(small.explainer, nullptr, folder / "base", folder / "saved");
  Json json = read_json(folder / "saved/explainer.json");
  json["adapter"] = true;
  json["base_model"] = "../gone";
  write_json(folder / "saved/explainer.json", json);
  EXPECT_TRUE(holds(error_of([&] { open_explainer(folder / "saved"); }), "gone"));
  json["adapter"] = false;
  write_json(folder / "saved/explainer.json", json);
  EXPECT_NO_THROW(open_explainer(folder / "saved"));
  write_safetensors(folder / "saved/projections.safetensors", {{"map.1", at::eye(3)}});
  EXPECT_TRUE(holds(error_of([&] { open_explainer(folder / "saved"); }), "tensor 'map.1', expected names"));
  json["injection"]["policy"] = "loud";
  write_json(folder / "saved/explainer.json", json);
  EXPECT_TRUE(holds(error_of([&] { open_explainer(folder / "saved"); }), "'loud'"));
  // a vocabulary larger than the model
  ModelConfig narrow = world::config();
  narrow.vocab_size = small.explainer.slot.slot;
  EXPECT_TRUE(holds(error_of([&] { Explainer(create_model(narrow, 1), world::tokenizer(), explainer_config()); }),
                    "slot token"));
}

}  // namespace
}  // namespace introspect
