// introspect sae info: what it prints and how it exits.
#ifdef INTROSPECT_BINARY
#include "base/json.h"
#include "base/temporary_folder.h"
#include "sae/saved_sae.h"

#include <sys/wait.h>

#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

class SaeInfo : public testing::Test {
 protected:
  TemporaryFolder folder_;
  const std::string target_ = std::string(INTROSPECT_SOURCE_DIR) + "/models/tiny-llama";

  struct Outcome {
    int code;
    std::string out, error;
  };
  Outcome run(const std::string& arguments) const {
    const std::string command = std::string(INTROSPECT_BINARY) + " sae info " + arguments + " > " +
                                (folder_ / "out").string() + " 2> " + (folder_ / "error").string();
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(folder_ / "out"), read_text(folder_ / "error")};
  }

  // Latents in pairs of a direction and its opposite give every state back as it is; with `flipped` its opposite.
  std::string write(const std::string& name, int64_t width, bool flipped, const std::string& model) const {
    const at::Tensor unit = at::eye(width);
    Sae sae;
    sae.encoder = at::cat({unit, unit.neg()});
    sae.encoder_bias = at::zeros({2 * width});
    sae.decoder = flipped ? sae.encoder.neg() : sae.encoder;
    sae.decoder_bias = at::zeros({width});
    sae.place = {PlaceKind::resid_post, 3};
    sae.model = model;
    save_sae(sae, folder_ / name, at::kFloat, Json::object());
    return (folder_ / name).string();
  }
};

TEST_F(SaeInfo, WhatAFolderHolds) {
  write("saes/layer-10", 8, false, "");
  write("saes/layer-9", 192, false, "models/tiny-llama");
  const Outcome text = run((folder_ / "saes/layer-9").string());
  ASSERT_EQ(text.code, 0) << text.error;
  for (const char* part : {"saelens", "standard", "384", "blocks.3.hook_resid_post", "models/tiny-llama", "0.6 MB"}) {
    EXPECT_TRUE(holds(text.out, part));
  }
  const Outcome all = run((folder_ / "saes").string() + " --json");
  ASSERT_EQ(all.code, 0) << all.error;
  const Json saes = parse_json(all.out, "output").at("saes");
  ASSERT_EQ(saes.size(), 2u);
  EXPECT_EQ(saes[0].at("width"), 192);  // layer-9 goes before layer-10
  EXPECT_EQ(saes[1].at("latents"), 16);
}

TEST_F(SaeInfo, MeasuresOnATarget) {
  const Outcome good = run(write("good", 192, false, "tiny-llama") + " --tokens 300 --json --target " + target_);
  ASSERT_EQ(good.code, 0) << good.error;
  const Json sae = parse_json(good.out, "output").at("saes").at(0), report = sae.at("report");
  EXPECT_NEAR(report.at("explained_variance").get<double>(), 1, 1e-4);
  EXPECT_NEAR(report.at("loss_recovered").get<double>(), 1, 1e-3);
  EXPECT_NEAR(report.at("l0").get<double>(), 192, 1);
  EXPECT_TRUE(sae.at("warnings").empty());
  EXPECT_TRUE(holds(run(write("other", 192, false, "gpt2") + " --tokens 300 --target " + target_).error,
                    "warning: the SAE says that it was trained on gpt2"));
  std::string text;
  for (int i = 0; i < 200; ++i) text += fmt::format("The cat sat on mat {} and looked at the dog. ", i);
  const std::string file = folder_.write("text.txt", text).string();
  EXPECT_EQ(run((folder_ / "good").string() + " --tokens 100 --text " + file + " --target " + target_).code, 0);
}

TEST_F(SaeInfo, StopsWhereTargetAndSaeDoNotBelongTogether) {
  const std::string options = " --tokens 300 --target " + target_;
  const Outcome outcome = run(write("flipped", 192, true, "") + options);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(holds(outcome.error, "does not belong to this target: explained variance"));
  EXPECT_TRUE(holds(outcome.out, "explained variance"));
  const Outcome forced = run((folder_ / "flipped").string() + options + " --force");
  EXPECT_EQ(forced.code, 0) << forced.error;
  EXPECT_TRUE(holds(forced.error, "warning: explained variance"));
  const Outcome narrow = run(write("narrow", 8, false, "") + options);
  EXPECT_EQ(narrow.code, 1);
  EXPECT_TRUE(holds(narrow.error, "width: the SAE has 8, the target's residual stream 192"));
}

}  // namespace
}  // namespace introspect
#endif
