// Reconstructors: a description becomes its vector again, beside floors; folders, resuming, bad input.
#include "feature/reconstructor.h"

#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "train/small_world.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using world::difference;

class TestReconstructor : public testing::Test {
 protected:
  TemporaryFolder folder_;
  DescribedVectors items_;
  std::vector<FineTuningProgress> seen_;

  void SetUp() override {
    world::write_model(folder_ / "base", create_model(world::config(64, 3), 1));
    items_.vectors = world::random_tensor({16, 20}, 3);
    for (int64_t i = 0; i < 16; ++i) {
      items_.vectors[i] *= static_cast<double>(i + 1);  // lengths do not matter
      items_.layers.push_back(i % 2);
      items_.descriptions.push_back(world::capitals()[static_cast<size_t>(i)].second);
    }
  }
  static ReconstructorTraining training(int64_t steps) {
    ReconstructorTraining t;
    t.fine_tuning.steps = steps;
    t.fine_tuning.learning_rate = 5e-3;
    t.fine_tuning.muon_rate = 0.02;
    t.fine_tuning.warm_up = 2;
    t.fine_tuning.validate_every = 4;
    t.fine_tuning.checkpoint_every = 2;
    t.batch = 16;
    t.compute = "fp32";
    return t;
  }
  TrainedReconstructor run(const ReconstructorTraining& t, const std::string& out, int64_t stop_after = -1) {
    seen_.clear();
    return train_reconstructor(folder_ / "base", items_, items_, t, {}, folder_ / out,
                               [&](const FineTuningProgress& progress) {
                                 seen_.push_back(progress);
                                 if (progress.step == stop_after) throw std::runtime_error("killed");
                               });
  }
};

TEST_F(TestReconstructor, LearnsWhichVectorADescriptionStandsFor) {
  const TrainedReconstructor trained = run(training(120), "made");
  const Reconstructor reconstructor = Reconstructor::open(folder_ / "made");
  EXPECT_EQ(reconstructor.model.config.layers, 2) << "the deepest layer of the vectors and those before it";
  const FidelityReport report = measure_fidelity(reconstructor, items_, 1);
  std::printf("cosine %.2f, shuffled %.2f, mean vector %.2f\n", report.own.cosine, report.shuffled.cosine,
              report.mean_vector.cosine);
  EXPECT_NEAR(report.own.cosine, trained.validation, 1e-6);
  EXPECT_GT(report.own.cosine, 0.8);
  EXPECT_NEAR(report.own.distance, 2 - 2 * report.own.cosine, 1e-12);
  EXPECT_LT(report.shuffled.cosine, 0.4);
  EXPECT_EQ(report.unshuffled, 0);
  // the mean of 8 unit vectors has a cosine of about 1/sqrt(8) with each
  EXPECT_NEAR(report.mean_vector.cosine, 0.35, 0.15);
  ASSERT_EQ(report.cosines.size(), 16u);

  const at::Tensor made = reconstructor.reconstruct(items_.descriptions, items_.layers);
  EXPECT_LT(difference(made.norm(2, 1), at::ones({16})), 1e-5);
  EXPECT_LT(difference(reconstructor.reconstruct({items_.descriptions[5]}, {1}), made.slice(0, 5, 6)), 1e-4);
  EXPECT_TRUE(run(training(120), "made").was_complete);
}

TEST_F(TestReconstructor, CountsEmptyDescriptionsAndThoseWithoutPartner) {
  run(training(2), "made");
  const Reconstructor reconstructor = Reconstructor::open(folder_ / "made");
  DescribedVectors few;
  few.layers = {0, 0, 1, 5};
  few.descriptions = {"Lima", " \n", "Oslo", "Rome"};
  few.vectors = items_.vectors.slice(0, 0, 4);
  const FidelityReport report = measure_fidelity(reconstructor, few, 1);
  EXPECT_EQ(report.empty, 1);
  EXPECT_EQ(report.cosines[1], 0);
  EXPECT_EQ(report.unshuffled, 3) << "only the empty one has another description in its layer";
  EXPECT_EQ(fidelity_to_json(report)["items"], 4);
  EXPECT_EQ(reconstructor.reconstruct({std::string(4000, 'x')}, {0}).size(0), 1) << "cut to what fits";
  few.vectors[1].zero_();
  EXPECT_THROW(measure_fidelity(reconstructor, few, 1), Error);
  few.vectors = world::random_tensor({4, 7}, 1);
  EXPECT_THROW(measure_fidelity(reconstructor, few, 1), Error);
  EXPECT_THROW(measure_fidelity(reconstructor, {}, 1), Error);
}

TEST_F(TestReconstructor, KilledBetweenCheckpointsItEndsInTheSameBytes) {
  run(training(7), "whole");
  EXPECT_THROW(run(training(7), "killed", 5), std::runtime_error);
  run(training(7), "killed");
  EXPECT_EQ(seen_.front().step, 5);
  for (const char* name : {"model.safetensors", "head.safetensors", "reconstructor.json"}) {
    EXPECT_EQ(read_text(folder_ / "killed" / name), read_text(folder_ / "whole" / name)) << name;
  }
}

TEST_F(TestReconstructor, BadFoldersAreErrors) {
  run(training(1), "made");
  const fs::path made = folder_ / "made";
  const auto error = [&] { return error_of([&] { Reconstructor::open(made); }); };
  write_json(made / "reconstructor.json", {{"prompt", "no slots"}});
  EXPECT_TRUE(holds(error(), "{layer}"));
  write_json(made / "reconstructor.json", {{"prompt", "{layer} {description}"}});
  EXPECT_EQ(Reconstructor::open(made).prompt, "{layer} {description}");
  write_safetensors(made / "head.safetensors", {{"head", at::ones({20, 5})}});
  EXPECT_TRUE(holds(error(), "head"));
  write_safetensors(made / "head.safetensors", {{"mean.0", at::ones({20})}});
  EXPECT_TRUE(holds(error(), "head"));
  write_safetensors(made / "head.safetensors", {{"head", at::ones({20, 32})}, {"mean.0", at::ones({7})}});
  EXPECT_TRUE(holds(error(), "mean.0"));
  write_safetensors(made / "head.safetensors", {{"head", at::ones({20, 32})}, {"else", at::ones({7})}});
  EXPECT_TRUE(holds(error(), "else"));
  write_safetensors(made / "head.safetensors", {{"head", at::full({20, 32}, std::nan(""))}});
  EXPECT_TRUE(holds(error(), "finite"));
  fs::remove(made / "reconstructor.json");
  EXPECT_TRUE(holds(error(), "no reconstructor.json"));
  ReconstructorTraining t = training(1);
  t.layers = 9;
  EXPECT_THROW(run(t, "b"), Error);
  items_.vectors[2].zero_();
  EXPECT_THROW(run(training(1), "c"), Error);
}

}  // namespace
}  // namespace introspect
