// sparsify (EleutherAI): what is loaded equals its formula; places and refusals.
#include "sae/small_sae.h"

namespace introspect {
namespace {

TEST(Sparsify, TopK) {
  const TemporaryFolder folder;
  folder.write("run/config.json", R"({"model": "EleutherAI/pythia-160m", "k": 1})");
  const Sae sae = load_sae(write_sparsify(folder, "run/layers.10", sparsify_config(), sparsify_tensors()));
  EXPECT_EQ(sae.layout, "sparsify");
  EXPECT_EQ(sae.model, "EleutherAI/pythia-160m");
  EXPECT_EQ(sae.place, (Place{PlaceKind::resid_post, 10}));
  expect_formula(sae, [](const Row& x) {
    const Row a = top(encode_linear(minus(x, b_dec), b_enc), 3);
    return Expected{a, decode_linear(a, b_dec)};
  });
}

TEST(Sparsify, PlacesAndRefusals) {
  const TemporaryFolder folder;
  const auto place = [&](const std::string& name) {
    return load_sae(write_sparsify(folder, name, sparsify_config(), sparsify_tensors())).place;
  };
  EXPECT_EQ(place("layers_3"), (Place{PlaceKind::resid_post, 3}));
  EXPECT_EQ(place("h.3"), (Place{PlaceKind::resid_post, 3}));
  EXPECT_EQ(place("gpt_neox.layers.3"), (Place{PlaceKind::resid_post, 3}));
  EXPECT_EQ(place("layers.3.mlp"), (Place{PlaceKind::mlp_out, 3}));
  EXPECT_EQ(place("layers.3.self_attn"), (Place{PlaceKind::attention_out, 3}));
  EXPECT_EQ(place("embed_tokens"), (Place{PlaceKind::embed, -1}));
  EXPECT_TRUE(holds(error_of([&] { place("best"); }), "the folder's name is 'best'"));
  EXPECT_TRUE(holds(error_of([&] { place("layers.3.router"); }), "the place is not known"));
  const auto refused = [&](const std::string& key, const Json& value, const std::string& text) {
    const fs::path path = write_sparsify(folder, "layers.1", with(sparsify_config(), key, value), sparsify_tensors());
    EXPECT_TRUE(holds(error_of([&] { load_sae(path); }), text)) << key;
  };
  refused("signed", true, "option 'signed' is not supported");
  refused("transcode", true, "option 'transcode'");
  refused("skip_connection", true, "option 'skip_connection'");
  refused("activation", "groupmax", "activation 'groupmax'");
  refused("d_in", 5, "d_in is 5");
  refused("num_latents", 5, "num_latents is 5");
  refused("k", 70, "k: got 70");
  const fs::path path = write_sparsify(folder, "layers.1", sparsify_config(), with(sparsify_tensors(), "W_dec", {}));
  EXPECT_TRUE(holds(error_of([&] { load_sae(path); }), "'W_dec' is missing"));
}

}  // namespace
}  // namespace introspect
