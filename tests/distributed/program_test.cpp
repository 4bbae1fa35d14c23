// The program in two processes: the same results as one, and no one left waiting for the dead.
#ifdef INTROSPECT_BINARY
#include "base/json.h"
#include "base/safetensors.h"
#include "base/temporary_folder.h"
#include "sae/saved_sae.h"
#include "train/small_world.h"

#include <arpa/inet.h>
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <map>
#include <netinet/in.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

namespace introspect {
namespace {

using Words = std::vector<std::string>;
using Variables = std::map<std::string, std::string>;

int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(socket);
  return ntohs(address.sin_port);
}

class Processes : public testing::Test {
 protected:
  struct Outcome {
    int code = -1;  // or the negative signal
    std::string out, error;
    double seconds = 0;
  };
  TemporaryFolder folder_;

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  // Its output goes to <name>.out and <name>.error.
  pid_t begin(const Words& words, const Variables& variables, const std::string& name) const {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::setenv("OMP_NUM_THREADS", "1", 1);
    ::setenv("INTROSPECT_HOME", folder_.path().c_str(), 1);
    for (const auto& [key, value] : variables) ::setenv(key.c_str(), value.c_str(), 1);
    for (const auto& [number, ending] : {std::pair<int, const char*>{1, ".out"}, {2, ".error"}}) {
      const int file = ::open(path(name + ending).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      ::dup2(file, number);
    }
    std::vector<char*> argv{const_cast<char*>(INTROSPECT_BINARY)};
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv(INTROSPECT_BINARY, argv.data());
    ::_exit(126);
  }
  Outcome end(pid_t child, const std::string& name) const {
    const auto start = std::chrono::steady_clock::now();
    Outcome outcome;
    outcome.code = world::end_of_child(child);
    outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    outcome.out = read_text(path(name + ".out"));
    outcome.error = read_text(path(name + ".error"));
    return outcome;
  }
  Outcome run(const Words& words, const Variables& variables = {}) const {
    return end(begin(words, variables, "alone"), "alone");
  }
  static Words launched(const Words& words, const std::string& processes = "2") {
    Words all{"launch", "--processes", processes, "--"};
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }
  // As torchrun would start it, over TCP.
  static Variables member(int rank, int port) {
    return {{"RANK", std::to_string(rank)},      {"WORLD_SIZE", "2"},          {"LOCAL_RANK", std::to_string(rank)},
            {"LOCAL_WORLD_SIZE", "2"},           {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", std::to_string(port)},
            {"INTROSPECT_CONNECT_SECONDS", "60"}};
  }

  // A model, facts, a text and the recipes test-patching and test-ablation.
  void make_home() {
    ModelConfig config = world::config(320, 3);
    config.tied_embeddings = false;
    Model model = create_model(config, 7);
    c10::NoGradGuard guard;
    for (auto& [weight, tensor] : parameters(model)) {
      if (tensor.dim() == 2) tensor.mul_(weight.ends_with("embed_tokens.weight") ? 20 : 8);
      if (weight != "lm_head.weight") continue;
      for (int64_t id = 0; id < config.vocab_size; ++id) {  // it says words
        const std::string piece = world::tokenizer().piece(id);
        if (piece.size() < 3 || piece[0] != ' ' || world::tokenizer().is_special(id)) tensor[id].zero_();
      }
    }
    world::write_model(folder_ / "model", model);
    world::write_facts(folder_ / "facts");
    folder_.write("text.txt", world::numbered_text(300));
    folder_.write("recipes/test-patching.toml", R"(kind = "patching"
title = "A title"
question = "A question?"
[target]
model = "../model"
[records]
path = "../facts"
[dataset]
blocks = 3
pairs_per_subject = 2
option_count = 3
only_correct = false
train_share = 0.5
prompts_per_chunk = 4
max_per_cell = 12
max_share = 1.0
[train]
steps = 6
batch = 5
learning_rate = 1e-3
compute = "fp32"
validate_every = 3
validation_examples = 8
checkpoint_every = 2
replay_share = 0.2
[train.explainer]
blank_in_brackets = true
templates = ["{s}{v}{e} at {layer} on {tokens}: {input}\n"]
[train.explainer.injection]
policy = "norm_matched"
[[train.replay_text]]
kind = "statements"
facts = "../facts"
[[explainer]]
name = "self"
model = "../model"
[evaluate]
limit = 4
)");
    folder_.write("recipes/test-ablation.toml", R"(kind = "ablation"
title = "A title"
question = "A question?"
[target]
model = "../model"
[questions]
path = "../facts"
[dataset]
hints_per_question = 2
trial_questions = 8
questions_per_chunk = 3
balanced = false
[dataset.prompt]
chat = false
answers = "words"
user = "Question: {question}\n{hint}\nRespond with one of {options}."
[[dataset.hint]]
name = "teacher"
text = "Hint: {answer}."
[[dataset.hint]]
name = "book"
text = "The book says {answer}."
[train]
steps = 2
[[explainer]]
name = "self"
model = "../model"
[evaluate]
limit = 4
)");
  }
  Words dataset(const std::string& kind, const std::string& out) const {
    return {"dataset", kind, "--recipe", "test-" + kind, "--out", path(out)};
  }
  Words train(const std::string& out, const std::string& steps = "6") const {
    return {"train",         "--model", path("model"), "--dataset", path("data"), "--recipe",
            "test-patching", "--steps", steps,         "--out",     path(out)};
  }
  std::string weights(const std::string& out) const { return read_text(folder_ / out / "model.safetensors"); }
  double furthest(const std::string& left, const std::string& right) const {
    const Safetensors a(folder_ / left / "model.safetensors"), b(folder_ / right / "model.safetensors");
    double most = 0;
    for (const auto& [name, info] : a.tensors()) most = std::max(most, world::difference(a.get(name), b.get(name)));
    return most;
  }
  void expect_same_files(const std::string& left, const std::string& right) const {
    int64_t compared = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / left)) {
      if (!entry.is_regular_file() || entry.path().filename() == "run.json") continue;
      const fs::path other = folder_ / right / fs::relative(entry.path(), folder_ / left);
      ASSERT_TRUE(fs::exists(other)) << other;
      EXPECT_EQ(read_text(entry.path()), read_text(other)) << other;
      ++compared;
    }
    EXPECT_GT(compared, 2);
  }
};

TEST_F(Processes, DataSetsAreTheSameBytes) {
  make_home();
  for (const std::string kind : {"patching", "ablation"}) {
    const Outcome one = run(dataset(kind, kind + "-one")), two = run(launched(dataset(kind, kind + "-two")));
    ASSERT_EQ(one.code, 0) << one.error;
    ASSERT_EQ(two.code, 0) << two.error;
    expect_same_files(kind + "-one", kind + "-two");
    expect_same_files(kind + "-two", kind + "-one");
    const Json record = read_json(folder_ / (kind + "-two") / "run.json");
    EXPECT_EQ(record.at("device").at("processes"), 2);
    EXPECT_EQ(record.at("status"), "complete");
    // one process speaks
    EXPECT_EQ(two.out.find("examples\n"), two.out.rfind("examples\n")) << two.out;
    EXPECT_TRUE(holds(two.out, "examples\n"));
  }
  const Outcome again = run(launched(dataset("patching", "patching-two")));
  EXPECT_EQ(again.code, 0) << again.error;
}

TEST_F(Processes, ContextsAreTheSameBytes) {
  make_home();
  for (const int64_t layer : {0, 1}) {
    Sae sae;
    sae.kind = SaeKind::topk;
    sae.k = 4;
    sae.encoder = sae.decoder = world::random_tensor({30, 32}, static_cast<uint64_t>(layer) + 5);
    sae.encoder_bias = at::zeros({30});
    sae.decoder_bias = at::zeros({32});
    sae.place = {PlaceKind::resid_post, layer};
    save_sae(sae, folder_ / fmt::format("saes/layer-{}", layer), at::kFloat, Json::object());
  }
  const auto contexts = [&](const std::string& out) -> Words {
    return {"contexts", path("model"), "--sae",    path("saes"), "--text", path("text.txt"),
            "--length", "16",          "--tokens", "3000",       "--out",  path(out)};
  };
  const Outcome one = run(contexts("one")), two = run(launched(contexts("two"), "3"));
  ASSERT_EQ(one.code, 0) << one.error;
  ASSERT_EQ(two.code, 0) << two.error;
  EXPECT_EQ(one.out, two.out);
  expect_same_files("one", "two");
  expect_same_files("two", "one");
}

TEST_F(Processes, TrainingIsThatOfOneProcess) {
  make_home();
  ASSERT_EQ(run(dataset("patching", "data")).code, 0);
  const Outcome one = run(train("one")), two = run(launched(train("two")));
  ASSERT_EQ(one.code, 0) << one.error;
  ASSERT_EQ(two.code, 0) << two.error;
  EXPECT_EQ(two.error.find("process 1"), std::string::npos) << two.error;
  EXPECT_LT(furthest("one", "two"), 2e-5);  // weights move by some 6e-3
  EXPECT_GT(furthest("one", "../" + folder_.path().filename().string() + "/model"), 1e-3);
  const std::vector<Json> log_one = read_json_lines(folder_ / "one/log.jsonl"),
                          log_two = read_json_lines(folder_ / "two/log.jsonl");
  ASSERT_EQ(log_one.size(), log_two.size());
  for (size_t i = 0; i < log_one.size(); ++i) {
    EXPECT_NEAR(log_two[i].at("loss").get<double>(), log_one[i].at("loss").get<double>(), 1e-4);
    EXPECT_NEAR(log_two[i].at("validation_loss").get<double>(), log_one[i].at("validation_loss").get<double>(), 1e-4);
  }
  const Json record_one = read_json(folder_ / "one/run.json"), record_two = read_json(folder_ / "two/run.json");
  EXPECT_EQ(record_one.at("device").at("processes"), 1);
  EXPECT_EQ(record_two.at("device").at("processes"), 2);
  EXPECT_EQ(record_one.at("results").at("result").at("answer_tokens"),
            record_two.at("results").at("result").at("answer_tokens"));
  EXPECT_TRUE(holds(run(launched(train("two"))).out, "is complete"));
}

TEST_F(Processes, PretrainingIsThatOfOneProcess) {
  make_home();
  folder_.write("pretrain.toml", R"(kind = "pretrain"
[model]
tokenizer = "model"
d_model = 32
layers = 2
heads = 2
d_mlp = 48
[training]
tokens = 1000
batch_tokens = 200
pass_tokens = 64
context = 32
learning_rate = 1e-3
warm_up = 2
checkpoint_steps = 2
compute = "fp32"
[[text]]
kind = "files"
paths = ["text.txt"]
weight = 50
[[text]]
kind = "statements"
facts = "facts"
weight = 50
)");
  const auto pretrain = [&](const std::string& out) {
    return Words{"pretrain", path("pretrain.toml"), "--out", path(out)};
  };
  const Outcome one = run(pretrain("one")), two = run(launched(pretrain("two")));
  ASSERT_EQ(one.code, 0) << one.error;
  ASSERT_EQ(two.code, 0) << two.error;
  const Json result_one = read_json(folder_ / "one/run.json").at("results").at("result"),
             result_two = read_json(folder_ / "two/run.json").at("results").at("result");
  EXPECT_EQ(result_one.at("tokens"), result_two.at("tokens"));
  EXPECT_NEAR(result_one.at("training_loss").get<double>(), result_two.at("training_loss").get<double>(), 1e-4);
  EXPECT_LT(furthest("one", "two"), 1e-3);  // written in bfloat16
  EXPECT_EQ(read_json_lines(folder_ / "two/log.jsonl").size(), read_json_lines(folder_ / "one/log.jsonl").size());
}

// A process is killed: the other ends within seconds and says why; nothing stands under a final name; it goes on.
TEST_F(Processes, AKilledProcessStopsTheOtherAndARerunGoesOn) {
  make_home();
  ASSERT_EQ(run(dataset("patching", "data")).code, 0);
  ASSERT_EQ(run(launched(train("whole", "60"))).code, 0);
  const int port = free_port();
  const pid_t first = begin(train("killed", "60"), member(0, port), "first");
  const pid_t second = begin(train("killed", "60"), member(1, port), "second");
  ASSERT_TRUE(world::wait_for(first, [&] { return fs::exists(folder_ / "killed/checkpoint/state.safetensors"); }));
  ::kill(second, SIGKILL);
  EXPECT_EQ(end(second, "second").code, -SIGKILL);
  const Outcome left = end(first, "first");
  EXPECT_EQ(left.code, 1);
  EXPECT_LT(left.seconds, 15);
  EXPECT_TRUE(holds(left.error, "[distributed] process 1 of 2 is gone"));
  EXPECT_FALSE(fs::exists(folder_ / "killed/model.safetensors"));
  const Outcome again = run(launched(train("killed", "60")));
  ASSERT_EQ(again.code, 0) << again.error;
  EXPECT_EQ(read_json(folder_ / "killed/run.json").at("resumed"), 1);
  EXPECT_EQ(weights("killed"), weights("whole"));
}

// Ctrl-C at the launcher reaches all; they stop at one step, and another number of processes may go on.
TEST_F(Processes, CtrlCReachesAllAndOneProcessMayGoOn) {
  make_home();
  ASSERT_EQ(run(dataset("patching", "data")).code, 0);
  const pid_t child = begin(launched(train("out", "4000")), {}, "launcher");
  ASSERT_TRUE(world::wait_for(child, [&] { return fs::exists(folder_ / "out/checkpoint/state.safetensors"); }));
  ::kill(child, SIGINT);
  const Outcome stopped = end(child, "launcher");
  EXPECT_EQ(stopped.code, 130) << stopped.error;
  EXPECT_LT(stopped.seconds, 15);
  EXPECT_TRUE(holds(stopped.error, "run the same command again"));
  EXPECT_EQ(stopped.error.find("gone"), std::string::npos) << stopped.error;
  // Ctrl-C of one of two
  const int port = free_port();
  const auto time = fs::last_write_time(folder_ / "out/checkpoint/state.safetensors");
  const pid_t first = begin(train("out", "4000"), member(0, port), "first");
  const pid_t second = begin(train("out", "4000"), member(1, port), "second");
  ASSERT_TRUE(world::wait_for(
      first, [&] { return fs::last_write_time(folder_ / "out/checkpoint/state.safetensors") != time; }));
  ::kill(second, SIGINT);
  EXPECT_EQ(end(second, "second").code, 130);
  EXPECT_EQ(end(first, "first").code, 130);
  const pid_t alone = begin(train("out", "4000"), {}, "alone");
  const auto then = fs::last_write_time(folder_ / "out/checkpoint/state.safetensors");
  EXPECT_TRUE(world::wait_for(
      alone, [&] { return fs::last_write_time(folder_ / "out/checkpoint/state.safetensors") != then; }));
  ::kill(alone, SIGINT);
  EXPECT_EQ(end(alone, "alone").code, 130);
  EXPECT_EQ(read_json(folder_ / "out/run.json").at("device").at("processes"), 1);
}

// In labelling they do not wait for each other until the end; a failure of one comes to the other all the same.
TEST_F(Processes, AFailureOfOneNamesItselfToTheOther) {
  make_home();
  const int port = free_port();
  const Words good = dataset("patching", "data");
  Words bad = good;
  bad.insert(bad.end(), {"--target", path("no-model")});
  const pid_t first = begin(good, member(0, port), "first"), second = begin(bad, member(1, port), "second");
  const Outcome failed = end(second, "second"), told = end(first, "first");
  EXPECT_EQ(failed.code, 1);
  EXPECT_TRUE(holds(failed.error, "introspect: process 1 of 2: ["));
  EXPECT_TRUE(holds(failed.error, "no-model"));
  EXPECT_EQ(failed.out, "");
  EXPECT_EQ(told.code, 1);
  EXPECT_TRUE(holds(told.error, "[distributed] process 1 of 2 failed: ["));
  EXPECT_LT(told.seconds, 15);
  EXPECT_FALSE(fs::exists(folder_ / "data/examples.jsonl"));
  const Outcome again = run(launched(good));
  EXPECT_EQ(again.code, 0) << again.error;
  // launch: the exit code of the first that failed
  Words no_model = train("x");
  no_model[2] = path("no-model");
  EXPECT_EQ(run(launched(no_model)).code, 1);
  EXPECT_EQ(run(launched({"train", "--colour"})).code, 2);
}

TEST_F(Processes, WhoDoesNotComeIsNamed) {
  make_home();
  Variables alone = member(1, free_port());
  alone["INTROSPECT_CONNECT_SECONDS"] = "1";
  Outcome outcome = run(dataset("patching", "data"), alone);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(holds(outcome.error, "process 1 of 2 cannot reach process 0 at 127.0.0.1:"));
  EXPECT_TRUE(holds(outcome.error, "hint: was process 0 started"));
  EXPECT_EQ(outcome.error.find("c10d"), std::string::npos) << outcome.error;
  alone["RANK"] = "0";
  outcome = run(dataset("patching", "data"), alone);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(holds(outcome.error, "missing: 1"));
  EXPECT_FALSE(fs::exists(folder_ / "data"));

  outcome = run({"model", "info", path("model")}, alone);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(holds(outcome.error, "'model info' runs in one process, and torchrun has started 2"));
  alone["RANK"] = "1";
  EXPECT_EQ(run({"model", "info", path("model")}, alone).error, "");
  outcome = run({"model", "info", path("model")}, {{"RANK", "1"}});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(holds(outcome.error, "WORLD_SIZE is not"));
  EXPECT_EQ(run({"launch", "--processes", "0", "--", "train"}).code, 2);
  EXPECT_EQ(run({"launch"}).code, 2);
}

}  // namespace
}  // namespace introspect
#endif
