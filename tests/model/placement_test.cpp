// Device maps, and how much memory work is said to take. Devices other than the processor are only named here.
#include "base/temporary_folder.h"
#include "model/device_map.h"
#include "model/generate.h"
#include "model/memory_plan.h"
#include "tiny_model.h"

namespace introspect {
namespace {

using test::difference;
using test::run_logits;

std::string shown(const std::vector<at::Device>& devices) {
  std::string text;
  for (const at::Device& device : devices) text += (text.empty() ? "" : " ") + device.str();
  return text;
}

TEST(DeviceMap, GivesEachLayerADevice) {
  EXPECT_EQ(shown(parse_device_map("cpu", 2)), "cpu cpu");
  EXPECT_EQ(shown(parse_device_map("cuda:0=2,cuda:1=rest", 4)), "cuda:0 cuda:0 cuda:1 cuda:1");
  EXPECT_EQ(shown(parse_device_map("cuda:1=1,cpu=2", 3)), "cuda:1 cpu cpu");
}

TEST(DeviceMap, RefusesTextThatIsNone) {
  const auto message = [](const std::string& text) { return error_of([&] { parse_device_map(text, 4); }); };
  EXPECT_TRUE(holds(message(""), "DEVICE="));
  EXPECT_TRUE(holds(message("cpu=2,"), "DEVICE="));
  EXPECT_TRUE(holds(message("tpu=4"), "'tpu'"));
  EXPECT_TRUE(holds(message("meta"), "'meta'"));
  EXPECT_TRUE(holds(message("cpu=x"), "got 'x'"));
  EXPECT_TRUE(holds(message("cpu=0,cuda=rest"), "got '0'"));
  EXPECT_TRUE(holds(message("cpu=-1"), "got '-1'"));
  EXPECT_TRUE(holds(message("cpu,cuda"), "got ''"));
  EXPECT_TRUE(holds(message("cpu=rest,cuda=1"), "at the end only"));
  EXPECT_TRUE(holds(message("cpu=5"), "the model has 4"));
  EXPECT_TRUE(holds(message("cpu=4,cuda=rest"), "the model has 4"));
  EXPECT_TRUE(holds(message("cpu=3"), "3 of the model's 4"));
}

TEST(DeviceMap, SizesAndMemories) {
  EXPECT_EQ(parse_size("24GB", "x"), 24'000'000'000u);
  EXPECT_EQ(parse_size("1.5MB", "x"), 1'500'000u);
  for (const char* wrong : {"", "24", "GB", "-1GB", "1gb", "1GB ", "nanGB", "infGB", "1e30GB"}) {
    EXPECT_TRUE(holds(error_of([&] { parse_size(wrong, "x"); }), "such as 24GB")) << wrong;
  }
  const std::vector<DeviceMemory> memory = parse_device_memory("cuda:0=2GB,cpu=500MB");
  ASSERT_EQ(memory.size(), 2u);
  EXPECT_EQ(memory[1].bytes, 500'000'000u);
  EXPECT_TRUE(memory[1].device.is_cpu());
}

TEST(DeviceMap, LayersGoWhereThereIsRoom) {
  const auto placed = [](uint64_t a, uint64_t b) {
    return place_layers(4, 10, 100, 20, {{at::Device("cuda:0"), a}, {at::Device("cuda:1"), b}});
  };
  EXPECT_EQ(placed(430, 0), "cuda:0=4");
  EXPECT_EQ(placed(429, 120), "cuda:0=3,cuda:1=1") << "norm and head go with the last layer";
  EXPECT_EQ(placed(210, 220), "cuda:0=2,cuda:1=2");
  EXPECT_EQ(placed(50, 430), "cuda:1=4") << "the embedding goes with the first layer";
  EXPECT_TRUE(holds(error_of([&] { placed(210, 219); }), "1 of 4 layers"));
  EXPECT_EQ(shown(parse_device_map(placed(210, 220), 4)), "cuda:0 cuda:0 cuda:1 cuda:1");
}

class PlacedModel : public testing::TestWithParam<std::string> {};

TEST_P(PlacedModel, ComputesThePlainResult) {
  TemporaryFolder folder;
  save_model(test::tiny_model(test::tiny_config(GetParam())), folder.path(), at::kFloat);
  LoadOptions options;
  options.device_map = "cpu=1,cpu=rest";
  const Model placed = load_model(folder.path(), options), plain = load_model(folder.path());
  const std::vector<int64_t> tokens = test::random_tokens(12, 1);
  EXPECT_EQ(difference(run_logits(placed, tokens), run_logits(plain, tokens)), 0);
  Prompt prompt;
  prompt.tokens = {1, 2, 3};
  GenerateOptions generation;
  generation.max_new_tokens = 5;
  EXPECT_EQ(generate(placed, test::tiny_tokenizer(), {prompt}, generation)[0].tokens,
            generate(plain, test::tiny_tokenizer(), {prompt}, generation)[0].tokens);
  options.device_map = "cpu=7";
  EXPECT_TRUE(holds(error_of([&] { load_model(folder.path(), options); }), "the model has 3"));
}

INSTANTIATE_TEST_SUITE_P(Families, PlacedModel, testing::ValuesIn(test::all_families()),
                         [](const auto& given) { return given.param; });

uint64_t planned(const ModelConfig& config, const PlanOptions& options) {
  return plan_memory(config, options).total();
}

TEST(MemoryPlan, GrowsAndShrinksWithWhatIsAsked) {
  ModelConfig config = test::tiny_config();
  config.d_model = 1024;
  config.d_mlp = 4096;
  config.layers = 20;
  for (const PlanTask task : {PlanTask::forward, PlanTask::answer, PlanTask::sweep, PlanTask::train}) {
    PlanOptions options;
    options.task = task;
    const uint64_t base = planned(config, options);
    PlanOptions more = options;
    more.batch = 4;
    EXPECT_GT(planned(config, more), base);
    more = options;
    more.dtype = at::kBFloat16;
    const uint64_t half = planned(config, more);
    EXPECT_LT(half, base);
    more.dtype = at::kChar;
    EXPECT_LT(planned(config, more), half);
  }
  PlanOptions training;
  training.task = PlanTask::train;
  const uint64_t lora = planned(config, training);
  training.checkpointing = true;
  EXPECT_LT(planned(config, training), lora);
  training.full = true;
  training.checkpointing = false;
  EXPECT_GT(planned(config, training), lora + 3 * weight_bytes(config, at::kFloat));
  training.dtype = at::kChar;
  EXPECT_TRUE(holds(error_of([&] { planned(config, training); }), "int8"));
  training = {};
  training.task = PlanTask::train;
  training.checkpointing = true;
  EXPECT_TRUE(holds(error_of([&] { planned(test::tiny_config("mamba"), training); }), "recurrent"));
}

TEST(MemoryPlan, AdviceFits) {
  ModelConfig config = test::tiny_config();
  config.d_model = 1024;
  config.d_mlp = 4096;
  config.layers = 20;
  PlanOptions options;
  options.task = PlanTask::train;
  options.full = true;
  const uint64_t total = planned(config, options);
  EXPECT_FALSE(plan_advice(config, options, total / 2).empty());
  const std::vector<std::string> none = plan_advice(config, options, 1'000);
  ASSERT_EQ(none.size(), 1u);
  EXPECT_TRUE(holds(none[0], "does not fit either"));
  const PlanShares shares = plan_shares(config, options);
  EXPECT_GE(shares.first + shares.last + shares.layer * 20, total);
}

TEST(MemoryPlan, EveryFamilyAndTask) {
  for (const std::string& family : test::all_families()) {
    const ModelConfig config = test::tiny_config(family);
    for (const char* task : {"forward", "answer", "sweep", "train"}) {
      PlanOptions options;
      options.task = parse_plan_task(task);
      EXPECT_GT(planned(config, options), weight_bytes(config, at::kFloat)) << family << " " << task;
    }
  }
  EXPECT_TRUE(holds(error_of([] { parse_plan_task("dance"); }), "expected train"));
}

}  // namespace
}  // namespace introspect
