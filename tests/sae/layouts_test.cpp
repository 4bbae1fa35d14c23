// Folders of SAEs in any layout, and whether a SAE fits its target.
#include "sae/npz_files.h"
#include "sae/small_sae.h"

namespace introspect {
namespace {

TEST(LoadSae, PickledFilesAreRefusedWithTheWayToConvert) {
  const TemporaryFolder folder;
  for (const char* name : {"ae.pt", "sae.pth", "sae.bin", "sae.ckpt"}) {
    const TemporaryFolder one;
    const fs::path path = one.write(name, "\x80\x02}q");
    for (const fs::path& given : {path, one.path()}) {
      const std::string error = error_of([&] { load_sae(given); });
      EXPECT_TRUE(holds(error, "pickled Python")) << name;
      EXPECT_TRUE(holds(error, fmt::format("torch.load('{}', weights_only=True", name)));
      EXPECT_TRUE(holds(error, "save_file"));
    }
    EXPECT_TRUE(holds(error_of([&] { load_saes(one.path()); }), "pickled Python"));
  }
}

TEST(LoadSae, UnknownLayoutsSayWhatIsThere) {
  const TemporaryFolder folder;
  folder.write("cfg.json", "{}");
  const std::string error = error_of([&] { load_sae(folder.path()); });
  EXPECT_TRUE(holds(error, "got the files [cfg.json], expected cfg.json with sae_weights.safetensors"));
  EXPECT_TRUE(holds(error_of([&] { load_sae(folder / "absent"); }), "no such file or folder"));
  EXPECT_TRUE(holds(error_of([&] { load_sae(folder / "cfg.json"); }), "give the SAE's folder"));
  EXPECT_TRUE(holds(error_of([&] { load_saes(folder / "absent"); }), "no such file or folder"));
}

TEST(LoadSae, EverySaeOfAFolder) {
  const TemporaryFolder folder;
  for (const int layer : {10, 9, 2}) {
    write_sparsify(folder, fmt::format("run/layers.{}", layer), sparsify_config(), sparsify_tensors());
  }
  folder.write("gemma-scope-9b-pt-res/layer_5/width_16k/average_l0_71/params.npz", npz_of(gemma_tensors()));
  folder.write(".cache/layer_1/params.npz", "");
  const std::vector<fs::path> paths = find_saes(folder / "run");
  ASSERT_EQ(paths.size(), 3u);
  EXPECT_EQ(paths[0].filename(), "layers.2");
  EXPECT_EQ(paths[2].filename(), "layers.10");
  std::vector<int64_t> layers;
  for (const Sae& sae : load_saes(folder.path())) layers.push_back(sae.place.layer);
  EXPECT_EQ(layers, (std::vector<int64_t>{2, 5, 9, 10}));
  EXPECT_EQ(load_saes(folder / "run/layers.2").size(), 1u);
}

TEST(CheckSae, AgainstATarget) {
  ModelConfig config;
  config.d_model = kWidth;
  config.layers = 3;
  Sae sae;
  sae.encoder = kEncoder.t();
  sae.decoder = kDecoder;
  sae.place = {PlaceKind::resid_post, 2};
  sae.model = "meta-llama/Llama-3.1-8B";
  EXPECT_TRUE(check_sae(sae, config, "/models/Llama-3.1-8B").empty());
  EXPECT_TRUE(check_sae(sae, config, "/models/llama-3.1-8b/").empty());
  EXPECT_TRUE(check_sae(sae, config, "/hub/models--meta-llama--Llama-3.1-8B/snapshots/abc").empty());
  const std::vector<std::string> warnings = check_sae(sae, config, "/models/Llama-3.1-8B-Instruct");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(holds(warnings[0], "trained on meta-llama/Llama-3.1-8B"));
  sae.model.clear();
  EXPECT_TRUE(check_sae(sae, config, "anything").empty());

  const auto error = [&](PlaceKind kind, int64_t layer) {
    sae.place = {kind, layer};
    return error_of([&] { check_sae(sae, config, "target"); });
  };
  EXPECT_TRUE(holds(error(PlaceKind::resid_post, 3), "the target has layers 0 to 2 (target)"));
  EXPECT_TRUE(holds(error(PlaceKind::mlp_out, 0), "a SAE of blocks.0.hook_mlp_out"));
  EXPECT_TRUE(holds(error(PlaceKind::attention_out, 0), "hook_attn_out"));
  EXPECT_TRUE(holds(error(PlaceKind::final_norm, -1), "ln_final"));
  for (const Place& place :
       {Place{PlaceKind::embed, -1}, Place{PlaceKind::resid_pre, 0}, Place{PlaceKind::resid_mid, 2}}) {
    sae.place = place;
    EXPECT_TRUE(check_sae(sae, config, "target").empty());
  }
  config.d_model = 8;
  EXPECT_TRUE(
      holds(error_of([&] { check_sae(sae, config, "target"); }), "the SAE has 4, the target's residual stream 8"));
}

}  // namespace
}  // namespace introspect
