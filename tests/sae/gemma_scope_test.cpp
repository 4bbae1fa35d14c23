// Gemma Scope: what is loaded equals the published formula; anything else is refused by name.
#include "sae/npz_files.h"
#include "sae/small_sae.h"

namespace introspect {
namespace {

const std::string kGemmaPath = "gemma-scope-9b-pt-res/layer_20/width_16k/average_l0_71/";

Expected gemma_formula(const Row& x) {
  Row a = encode_linear(x, b_enc);  // the input is not centred
  for (int64_t l = 0; l < kLatents; ++l) a[l] = a[l] > threshold[l] ? a[l] : 0;
  return {a, decode_linear(a, b_dec)};
}

TEST(GemmaScope, JumpRelu) {
  const TemporaryFolder folder;
  for (const bool fortran : {false, true}) {
    const fs::path path = folder.write(kGemmaPath + "params.npz", npz_of(gemma_tensors(), fortran));
    for (const Sae& sae : {load_sae(path), load_sae(path.parent_path())}) {
      EXPECT_EQ(sae.layout, "gemma-scope");
      EXPECT_EQ(sae.model, "google/gemma-2-9b");
      EXPECT_EQ(sae.place, (Place{PlaceKind::resid_post, 20}));
      expect_formula(sae, gemma_formula);
    }
  }
}

// The residual stream begins with sqrt(D) times the rows that it was trained on.
TEST(GemmaScope, Embedding) {
  const TemporaryFolder folder;
  const Sae sae = load_sae(
      folder.write("gemma-scope-2b-it-res/embedding/width_4k/average_l0_6/params.npz", npz_of(gemma_tensors())));
  EXPECT_EQ(sae.place, (Place{PlaceKind::embed, -1}));
  EXPECT_EQ(sae.model, "google/gemma-2-2b-it");
  expect_formula(sae, [](const Row& x) {
    const double root = std::sqrt(static_cast<double>(kWidth));
    Expected expected = gemma_formula(times(x, 1 / root));
    expected.reconstruction = times(expected.reconstruction, root);
    return expected;
  });
}

TEST(GemmaScope, Refusals) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& path, const Tensors& tensors) {
    return error_of([&] { load_sae(folder.write(path + "params.npz", npz_of(tensors))); });
  };
  EXPECT_TRUE(holds(error("somewhere/", gemma_tensors()), "the layer is not known"));
  EXPECT_TRUE(holds(error("gemma-scope-9b-pt-att/layer_2/width_16k/", gemma_tensors()), "attention heads"));
  EXPECT_TRUE(holds(error("gemma-scope-2b-pt-transcoders/layer_2/", gemma_tensors()), "transcoders"));
  EXPECT_TRUE(holds(error(kGemmaPath, with(gemma_tensors(), "threshold", {})), "tensor 'threshold' is missing"));
  EXPECT_TRUE(
      holds(error(kGemmaPath, with(gemma_tensors(), "threshold", at::zeros({3}))), "got shape [3], expected [7]"));
  EXPECT_TRUE(holds(error(kGemmaPath, with(gemma_tensors(), "b_enc", at::full({7}, NAN))), "not finite"));
  EXPECT_TRUE(holds(error(kGemmaPath, with(gemma_tensors(), "extra", at::zeros({3}))), "'extra' has no meaning"));
  const std::string integers = npy_file(npy_header("<i4", {7}), std::string(28, '\0'));
  std::vector<ZipEntry> entries;
  for (const auto& [name, tensor] : gemma_tensors()) {
    entries.push_back({name + ".npy", name == "b_enc" ? integers : npy_of(tensor), -1, -1, 0});
  }
  const fs::path path = folder.write(kGemmaPath + "params.npz", zip_of(entries));
  EXPECT_TRUE(holds(error_of([&] { load_sae(path); }), "'b_enc': got Int, expected a floating-point type"));
}

}  // namespace
}  // namespace introspect
