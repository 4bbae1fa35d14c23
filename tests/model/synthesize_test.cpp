// Synthesized checkpoints: what is written loads, is decided by the seed, and is taken up where it was left. Weights
// that stay views of their file.
#include "model/synthesize.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "model/lora.h"
#include "tiny_model.h"

#include <fstream>
#include <sstream>

namespace introspect {
namespace {

using test::difference;
using test::run_logits;

Json config_of(const std::string& family) {
  return config_to_json(test::tiny_config(family));
}

// The file that a tensor's memory is a view of; empty if it is no file's.
std::string file_behind(const at::Tensor& tensor) {
  const auto address = reinterpret_cast<uintptr_t>(tensor.data_ptr());
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream words(line);
    words >> std::hex >> begin >> dash >> end;
    if (address < begin || address >= end) continue;
    const size_t path = line.find('/');
    return path == std::string::npos ? "" : fs::path(line.substr(path)).filename().string();
  }
  return "";
}

TEST(Synthesize, EveryFamilyLoadsAndComputes) {
  for (const std::string& family : test::all_families()) {
    SCOPED_TRACE(family);
    TemporaryFolder folder;
    SynthesizeOptions options;
    options.dtype = at::kFloat;
    synthesize_checkpoint(config_of(family), folder.path(), options);
    const Model model = load_model(folder.path());
    const at::Tensor logits = run_logits(model, {1, 2, 3, 4});
    EXPECT_TRUE(logits.isfinite().all().item<bool>());
    EXPECT_GT(difference(logits[1], logits[2]), 1e-4) << "the input matters";
    const Model made = create_model(model.config, 1);
    Model loaded = model, created = made;
    const auto a = parameters(loaded), b = parameters(created);
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i].second.numel() < 1000) continue;
      const double own = a[i].second.std().item<double>(), wanted = b[i].second.std().item<double>();
      EXPECT_NEAR(own, wanted, 0.15 * wanted + 1e-9) << a[i].first;
    }
  }
}

TEST(Synthesize, ShardsHoldWhatOneFileHolds) {
  TemporaryFolder folder;
  SynthesizeOptions options;
  const SynthesizeReport one = synthesize_checkpoint(config_of("llama"), folder / "one", options);
  options.shard_bytes = 40'000;
  const SynthesizeReport many = synthesize_checkpoint(config_of("llama"), folder / "many", options);
  EXPECT_EQ(one.shards, 1);
  EXPECT_GT(many.shards, 3);
  const Checkpoint a(folder / "one"), b(folder / "many");
  EXPECT_EQ(a.names(), b.names());
  EXPECT_EQ(a.bytes(), many.bytes);
  for (const std::string& name : a.names()) EXPECT_EQ(difference(a.get(name), b.get(name)), 0) << name;
  const Json index = read_json(folder / "many" / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"].get<uint64_t>(), many.bytes);
  EXPECT_EQ(index["weight_map"].size(), a.names().size());
  for (const auto& [name, file] : index["weight_map"].items()) {
    EXPECT_EQ(file.get<std::string>().size(), std::string("model-00001-of-00004.safetensors").size());
  }
  options.seed = 2;
  synthesize_checkpoint(config_of("llama"), folder / "other", options);
  EXPECT_GT(difference(a.get("lm_head.weight"), Checkpoint(folder / "other").get("lm_head.weight")), 0.01);
}

TEST(Synthesize, GoesOnWhereItWasLeft) {
  TemporaryFolder folder;
  SynthesizeOptions options;
  options.shard_bytes = 40'000;
  int64_t calls = 0;
  const auto stop = [&](uint64_t, uint64_t) {
    if (++calls == 12) throw std::runtime_error("stopped");
  };
  EXPECT_THROW(synthesize_checkpoint(config_of("llama"), folder / "a", options, stop), std::runtime_error);
  EXPECT_FALSE(fs::exists(folder / "a" / "model.safetensors.index.json"));
  const SynthesizeReport report = synthesize_checkpoint(config_of("llama"), folder / "a", options);
  EXPECT_GT(report.kept, 0);
  EXPECT_LT(report.kept, report.shards);
  synthesize_checkpoint(config_of("llama"), folder / "b", options);
  const Checkpoint a(folder / "a"), b(folder / "b");
  for (const std::string& name : b.names()) EXPECT_EQ(difference(a.get(name), b.get(name)), 0) << name;
  // whatever else is there stays there
  EXPECT_TRUE(
      holds(error_of([&] { synthesize_checkpoint(config_of("gpt2"), folder / "a", options); }), "another model"));
  options.seed = 9;
  EXPECT_TRUE(
      holds(error_of([&] { synthesize_checkpoint(config_of("llama"), folder / "a", options); }), "something else"));
}

TEST(Synthesize, RefusesADiskThatIsTooSmall) {
  TemporaryFolder folder;
  Json config = config_of("llama");
  config["num_hidden_layers"] = 1'000;
  config["hidden_size"] = 8'000'000;
  EXPECT_TRUE(holds(error_of([&] { synthesize_checkpoint(config, folder / "a", {}); }), "are free"));
  EXPECT_FALSE(fs::exists(folder / "a" / "config.json"));
}

TEST(MappedWeights, AreViewsOfTheirFileAndComputeTheSame) {
  TemporaryFolder folder;
  for (const std::string& family : test::all_families()) {
    SCOPED_TRACE(family);
    save_model(test::tiny_model(test::tiny_config(family)), folder / family, at::kFloat);
    LoadOptions options;
    const Model copied = load_model(folder / family, options);
    options.mapped = true;
    Model mapped = load_model(folder / family, options);
    EXPECT_EQ(file_behind(copied.embedding), "");
    EXPECT_EQ(file_behind(mapped.embedding), "model.safetensors");
    EXPECT_EQ(mapped.head.is_same(mapped.embedding), mapped.config.tied_embeddings);
    if (family == "gpt2") {
      EXPECT_EQ(file_behind(mapped.blocks[0].up.weight), "") << "stored transposed";
    }
    EXPECT_LT(difference(run_logits(mapped, {1, 2, 3}), run_logits(copied, {1, 2, 3})), 1e-5);
    EXPECT_TRUE(holds(error_of([&] { require_gradients(mapped, true); }), "views of the mapped file"));
    Model clone = clone_model(mapped);
    EXPECT_NO_THROW(require_gradients(clone, true));
    // another type is converted, as ever
    options.dtype = at::kBFloat16;
    EXPECT_EQ(file_behind(load_model(folder / family, options).embedding), "");
  }
}

TEST(MappedWeights, TakeLora) {
  TemporaryFolder folder;
  save_model(test::tiny_model(), folder.path(), at::kFloat);
  LoadOptions options;
  options.mapped = true;
  Model mapped = load_model(folder.path(), options), copied = load_model(folder.path());
  for (Model* model : {&mapped, &copied}) {
    LoraConfig lora;
    lora.rank = 2;
    add_lora(*model, lora, 1);
    for (auto& [name, tensor] : lora_parameters(*model)) tensor.requires_grad_(true);
    forward(*model, pack({{1, 2, 3}})).logits.square().sum().backward();
  }
  const auto a = lora_parameters(mapped), b = lora_parameters(copied);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_LT(difference(a[i].second.grad(), b[i].second.grad()), 1e-3);
  merge_lora(mapped);
  EXPECT_EQ(file_behind(mapped.blocks[0].up.weight), "") << "a merged weight is a new one";
}

}  // namespace
}  // namespace introspect
