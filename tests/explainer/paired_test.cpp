// Projections fitted on paired activations: they find the map that is there, across tokenizers too, and are used.
#include "explainer/paired.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "explainer/small_questions.h"
#include "explainer/train.h"
#include "model/names.h"

#include <numeric>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::difference;

// The same function with its residual stream's dimensions in another order: out[i] = in[order[i]].
Model reordered(const Model& given, const at::Tensor& order) {
  Model model = clone_model(given);
  c10::NoGradGuard guard;
  const int64_t width = given.config.d_model;
  for (auto& [name, tensor] : parameters(model)) {
    const bool writes = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    const bool reads = tensor.dim() == 2 && !writes;  // the embedding too: [V, D]
    if (tensor.dim() == 1 && tensor.size(0) == width) tensor.copy_(tensor.index_select(0, order));
    if (writes) tensor.copy_(tensor.index_select(0, order));
    if (reads) tensor.copy_(tensor.index_select(1, order));
  }
  return model;
}

const Tokenizer& other_tokenizer() {
  static const Tokenizer made = [] {
    BpeTrainSettings settings;
    settings.vocab_size = 330;
    BpeTrainer trainer(settings);
    trainer.add("What is the capital of a country? The seat of its government is ruled from the capital.", 50);
    trainer.train();
    return Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
  }();
  return made;
}

class Paired : public testing::Test {
 protected:
  TemporaryFolder folder_;
  Model target_ = world::loud_model(world::config(256, 4));
  PairedSettings settings_;

  void SetUp() override {
    folder_.write("text.txt", world::numbered_text(3000));
    settings_.text = Json::array({{{"kind", "files"}, {"paths", {"text.txt"}}}});
    settings_.base = folder_.path();
    settings_.tokens = 3000;
    settings_.context = 64;
  }
  std::vector<FittedProjection> fit(const Model& explainer, const std::vector<int64_t>& layers,
                                    const Tokenizer& tokenizer = world::tokenizer()) {
    return fit_projections({target_, world::tokenizer()}, {explainer, tokenizer}, layers, settings_, [](int64_t) {});
  }
};

TEST_F(Paired, FindsTheMapThatIsThere) {
  std::vector<int64_t> numbers(32);
  std::iota(numbers.begin(), numbers.end(), 0);
  Random(3, "order").shuffle(numbers);
  const at::Tensor order = at::tensor(numbers, at::kLong);
  settings_.ridge = 1e-9;
  const auto fitted = fit(reordered(target_, order), {3, 0, 3});
  ASSERT_EQ(fitted.size(), 2u) << "each layer once, ascending";
  EXPECT_EQ(fitted[0].target_layer, 0);
  EXPECT_EQ(fitted[1].explainer_layer, 3);
  const at::Tensor permutation = at::eye(32).index_select(0, order);
  for (const FittedProjection& each : fitted) {
    EXPECT_GT(each.pairs, 2000);
    EXPECT_GT(each.explained_variance, 0.9999);
    EXPECT_LT(difference(each.map, permutation), 0.01) << each.target_layer;
  }
}

TEST_F(Paired, ProcrustesIsOrthogonalAndExplainsLessThanLeastSquares) {
  const Model stranger = world::loud_model(world::config(256, 4), 9);
  const auto least_squares = fit(stranger, {1, 3});
  const Json before = paired_to_json(settings_);
  settings_.kind = ProjectionKind::procrustes;
  EXPECT_NE(paired_to_json(settings_), before) << "its folder is another one's";
  const auto turned = fit(stranger, {1, 3});
  for (size_t i = 0; i < turned.size(); ++i) {
    EXPECT_LT(difference(at::mm(turned[i].map, turned[i].map.t()), at::eye(32)), 1e-4);
    EXPECT_LT(turned[i].explained_variance, least_squares[i].explained_variance);
    EXPECT_EQ(turned[i].pairs, least_squares[i].pairs);
  }
}

TEST_F(Paired, AnotherModelIsExplainedLess) {
  const Model stranger = world::loud_model(world::config(256, 2), 9);
  const auto fitted = fit(stranger, {0, 1, 2, 3});
  std::vector<int64_t> layers;
  for (const FittedProjection& each : fitted) {
    layers.push_back(each.explainer_layer);
    EXPECT_LT(each.explained_variance, 0.99);
    EXPECT_GT(each.explained_variance, 0.0) << "the token itself is in both";
  }
  EXPECT_EQ(layers, (std::vector<int64_t>{0, 0, 1, 1})) << "the same share of the depth";
}

TEST_F(Paired, TokenizersMayDiffer) {
  ModelConfig config = world::config(256, 2);
  config.vocab_size = other_tokenizer().vocab_size();
  config.d_model = 24;
  const auto other = fit(world::loud_model(config, 2), {1}, other_tokenizer());
  EXPECT_EQ(other[0].map.sizes(), (at::IntArrayRef{24, 32}));
  const auto same = fit(world::loud_model(world::config(256, 2), 2), {1});
  EXPECT_LT(other[0].pairs, same[0].pairs);
  EXPECT_GT(other[0].unpaired, same[0].unpaired) << "what has no partner is counted";
  EXPECT_GT(other[0].pairs, same[0].pairs / 3);
  // the word that ends there is in both, so something of the one tells of the other
  EXPECT_GT(other[0].explained_variance, 0.1);
}

TEST_F(Paired, Errors) {
  EXPECT_TRUE(holds(error_of([&] { fit(target_, {4}); }), "layer: got 4, expected 0 to 3"));
  settings_.tokens = 20;
  EXPECT_TRUE(holds(error_of([&] { fit(target_, {1}); }), "pairs of activations, expected at least 32"));
  const Json table{{"tokens", 5}, {"colour", 1}};
  EXPECT_TRUE(holds(error_of([&] { parse_paired(table, "r.toml", ""); }), "projection.colour"));
  EXPECT_TRUE(holds(error_of([&] { parse_paired({{"ridge", 0}}, "r.toml", ""); }), "ridge above 0"));
}

TEST_F(Paired, FilesOfProjections) {
  const Projections made{{2, world::random_tensor({3, 5}, 1)}, {11, world::random_tensor({3, 5}, 2)}};
  save_projections(made, folder_ / "projections.safetensors");
  const Projections read = load_projections(folder_ / "projections.safetensors");
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(difference(read.at(11), made.at(11)), 0);
  for (const char* name :
       {"projection.x", "projection.", "projection.-1", "map.1", "projection.99999999999999999999"}) {
    write_safetensors(folder_ / "bad.safetensors", {{name, at::zeros({2, 2})}});
    EXPECT_TRUE(holds(error_of([&] { load_projections(folder_ / "bad.safetensors"); }), name)) << name;
  }
  write_safetensors(folder_ / "bad.safetensors", {{"projection.1", at::zeros({2})}});
  EXPECT_TRUE(holds(error_of([&] { load_projections(folder_ / "bad.safetensors"); }), "1 dimensions, expected 2"));
}

TEST_F(Paired, TrainingUsesThem) {
  const fs::path base = world::write_model(folder_ / "base", create_model(world::config(), 1));
  const Dataset dataset = world::questions(24);
  save_dataset(dataset, folder_ / "data");
  ExplainerTraining t;
  t.explainer = world::explainer_config();
  t.explainer.injection.projection = ProjectionKind::least_squares;
  t.explainer.injection.train_projection = false;
  t.steps = 3;
  t.batch = 4;
  t.compute = "fp32";
  const auto train = [&](const char* out) {
    return train_explainer(base, dataset, folder_ / "data", t, folder_ / out, [](const TrainingProgress&) {});
  };
  EXPECT_TRUE(holds(error_of([&] { train("none"); }), "introspect project"));
  t.projections = folder_ / "maps";
  fs::create_directories(t.projections);
  const fs::path file = t.projections / "projections.safetensors";
  save_projections({{1, world::random_tensor({32, 24}, 1)}}, file);
  EXPECT_TRUE(holds(error_of([&] { train("few"); }), "no projection of layer 3"));
  save_projections({{1, world::random_tensor({32, 20}, 1)}, {3, world::random_tensor({32, 20}, 2)}}, file);
  EXPECT_TRUE(holds(error_of([&] { train("narrow"); }), "got [32, 20], expected [32, 24]"));

  const Projections maps{{1, world::random_tensor({32, 24}, 1)},
                         {3, world::random_tensor({32, 24}, 2)},
                         {5, world::random_tensor({32, 24}, 3)}};
  save_projections(maps, file);
  train("kept");
  const Explainer kept = open_explainer(folder_ / "kept");
  EXPECT_EQ(kept.projections.size(), 2u) << "of the layers that the data set asks about";
  EXPECT_EQ(difference(kept.projections.at(3), maps.at(3)), 0);
  EXPECT_EQ(train("kept").was_complete, true);

  t.explainer.injection.projection = ProjectionKind::random;
  EXPECT_TRUE(holds(error_of([&] { train("unused"); }), "the settings do not use them"));
  t.explainer.injection.projection = ProjectionKind::least_squares;
  t.explainer.injection.train_projection = true;
  train("moved");
  EXPECT_GT(difference(open_explainer(folder_ / "moved").projections.at(3), maps.at(3)), 0);
}

}  // namespace
}  // namespace introspect
