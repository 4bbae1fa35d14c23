#include "base/run_record.h"

#include "base/temporary_folder.h"

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

class RunRecordTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder.write("model/weights", "w");
    folder.write("records.jsonl", "1\n");
    char program[] = "introspect", command[] = "train";
    char* arguments[] = {program, command};
    RunRecord::set_command(2, arguments);
  }
  std::vector<RunInput> inputs() const { return {{"target", folder / "model"}, {"records", folder / "records.jsonl"}}; }
  RunRecord begin(const Json& wanted, bool overwrite = false) const {
    return {folder / "out", "train", wanted, inputs(), overwrite};
  }
  Json record() const { return read_json(folder / "out/run.json"); }

  TemporaryFolder folder;
  const Json settings = {{"rate", 5e-5}, {"steps", 10}, {"seed", 1}};
};

TEST_F(RunRecordTest, HoldsWhatMadeTheFolder) {
  RunRecord run = begin(settings);
  EXPECT_EQ(run.state(), StepState::fresh);
  EXPECT_EQ(run.folder(), folder / "out");
  EXPECT_EQ(record()["status"], "running");
  run.add("loss", 2.5);
  EXPECT_EQ(record()["results"]["loss"], 2.5);
  run.complete();
  const Json done = record();
  EXPECT_EQ(done["status"], "complete");
  EXPECT_EQ(done["step"], "train");
  EXPECT_EQ(done["command"], Json::array({"introspect", "train"}));
  EXPECT_EQ(done["settings"], settings);
  EXPECT_EQ(done["inputs"][0]["name"], "target");
  EXPECT_EQ(done["inputs"][0]["sha256"], sha256_folder(folder / "model"));
  EXPECT_EQ(done["inputs"][1]["sha256"], sha256_text("1\n"));
  EXPECT_EQ(done["inputs"][1]["path"], (folder / "records.jsonl").string());
  EXPECT_EQ(done["version"], INTROSPECT_VERSION);
  EXPECT_FALSE(done["libtorch"].get<std::string>().empty());
  EXPECT_FALSE(done["device"]["processor"].get<std::string>().empty());
  EXPECT_GE(done["device"]["threads"].get<int>(), 1);
  for (const char* time : {"started", "finished"}) {
    const std::string text = done[time];
    EXPECT_EQ(text.size(), 20u);
    EXPECT_EQ(text[10], 'T');
    EXPECT_EQ(text.back(), 'Z');
  }
  EXPECT_GE(done["seconds"].get<double>(), 0);
  EXPECT_LT(done["seconds"].get<double>(), 60);
}

TEST_F(RunRecordTest, ACompleteStepIsNotRunAgain) {
  {
    RunRecord run = begin(settings);
    run.add("loss", 2.5);
    run.complete();
  }
  const std::string before = read_text(folder / "out/run.json");
  // The order of keys and the way a number is written make no difference, nor does overwrite.
  RunRecord again = begin(Json{{"seed", 1}, {"steps", 10.0}, {"rate", 0.00005}}, true);
  EXPECT_EQ(again.state(), StepState::complete);
  again.add("loss", 9);
  again.complete();
  EXPECT_EQ(read_text(folder / "out/run.json"), before);
}

TEST_F(RunRecordTest, UnfinishedWorkIsResumed) {
  { begin(settings).add("loss", 2.5); }
  folder.write("out/state", "half");
  RunRecord again = begin(settings, true);
  EXPECT_EQ(again.state(), StepState::resume);
  EXPECT_EQ(read_text(folder / "out/state"), "half");
  EXPECT_EQ(record()["resumed"], 1);
  EXPECT_EQ(record()["results"]["loss"], 2.5);
  EXPECT_EQ(begin(settings).state(), StepState::resume);
  EXPECT_EQ(record()["resumed"], 2);
}

TEST_F(RunRecordTest, OtherSettingsAreAnError) {
  Json other = settings;
  other["steps"] = 20;
  { begin(settings); }
  std::string text = error_of([&] { begin(other); });
  EXPECT_TRUE(holds(text, "holds unfinished work of another run: settings: 'steps' was 10, now it is 20"));
  EXPECT_TRUE(holds(text, "--overwrite"));
  begin(settings).complete();
  EXPECT_TRUE(holds(error_of([&] { begin(other); }), "holds finished work of another run"));
  other = settings;
  other["extra"] = true;
  EXPECT_TRUE(holds(error_of([&] { begin(other); }), "'extra' was not set, now it is true"));
  other.erase("extra");
  other.erase("seed");
  EXPECT_TRUE(holds(error_of([&] { begin(other); }), "'seed' was 1, now it is not set"));
  EXPECT_TRUE(holds(error_of([&] { RunRecord(folder / "out", "answer", settings, inputs()); }), "step \"train\""));
  EXPECT_EQ(begin(settings).state(), StepState::complete);  // the refusals changed nothing
}

TEST_F(RunRecordTest, OtherInputsAreAnErrorMovedOnesAreNot) {
  begin(settings).complete();
  fs::rename(folder / "model", folder / "elsewhere");
  const std::vector<RunInput> moved = {{"target", folder / "elsewhere"}, {"records", folder / "records.jsonl"}};
  EXPECT_EQ(RunRecord(folder / "out", "train", settings, moved).state(), StepState::complete);
  folder.write("elsewhere/weights", "changed");
  EXPECT_TRUE(holds(error_of([&] { RunRecord(folder / "out", "train", settings, moved); }), "inputs: 'target' was \""));
  EXPECT_TRUE(holds(error_of([&] { begin(settings); }), "input 'target' does not exist"));
}

TEST_F(RunRecordTest, OverwriteClearsTheFolder) {
  begin(settings).complete();
  folder.write("out/weights", "old");
  folder.write("out/part/file", "old");
  folder.write("out/other_step/run.json", "{}");
  folder.write("out/given/model", "input");
  Json other = settings;
  other["seed"] = 2;
  const std::vector<RunInput> with_inner = {{"target", folder / "out/given/model"}};
  RunRecord run(folder / "out", "train", other, with_inner, true);
  EXPECT_EQ(run.state(), StepState::fresh);
  EXPECT_FALSE(fs::exists(folder / "out/weights"));
  EXPECT_FALSE(fs::exists(folder / "out/part"));
  EXPECT_TRUE(fs::exists(folder / "out/other_step/run.json"));
  EXPECT_TRUE(fs::exists(folder / "out/given/model"));
  EXPECT_EQ(record()["settings"]["seed"], 2);
  EXPECT_EQ(record()["status"], "running");
}

TEST_F(RunRecordTest, BrokenRecordsAreErrors) {
  for (const char* text : {"", "[]", "{}", R"({"status":1})", R"({"status":"complete","step":"train"})",
                           R"({"status":"complete","step":"train","settings":{},"inputs":[{"name":1}]})",
                           R"({"status":"complete","step":"train","settings":{},"inputs":3})",
                           R"({"status":"complete","step":"train","settings":{},"inputs":[],"seconds":"x"})"}) {
    folder.write("out/run.json", text);
    EXPECT_TRUE(holds(error_of([&] { begin(settings); }), "run.json")) << text;
  }
}

}  // namespace
}  // namespace introspect
