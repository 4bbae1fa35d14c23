// A world small enough to train on in a second: a tokenizer with slot tokens, models, facts, a text; and child
// processes, since an interrupt or a kill ends the process it meets.
#pragma once

#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "base/random.h"
#include "model/model.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <cmath>
#include <csignal>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace introspect::world {

// One thread: results are compared bit for bit, and a child process must not miss its parent's threads.
class OneThread : public testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};
inline const auto* const one_thread = testing::AddGlobalTestEnvironment(new OneThread);

inline const std::vector<std::pair<std::string, std::string>>& capitals() {
  static const std::vector<std::pair<std::string, std::string>> list = {
      {"France", "Paris"}, {"Italy", "Rome"},    {"Norway", "Oslo"},    {"Peru", "Lima"},
      {"Egypt", "Cairo"},  {"Japan", "Tokyo"},   {"Cuba", "Havana"},    {"Kenya", "Nairobi"},
      {"Spain", "Madrid"}, {"Greece", "Athens"}, {"Iran", "Tehran"},    {"Austria", "Vienna"},
      {"Ghana", "Accra"},  {"Qatar", "Doha"},    {"Chile", "Santiago"}, {"Latvia", "Riga"}};
  return list;
}

inline BpeTrainer trained_bpe() {
  BpeTrainSettings settings;
  settings.vocab_size = 420;
  settings.special_tokens = {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_10|>",
                             "<|reserved_special_token_11|>", "<|reserved_special_token_12|>"};
  settings.bos_token = "<|begin_of_text|>";
  settings.eos_token = "<|end_of_text|>";
  BpeTrainer trainer(settings);
  for (const auto& [country, capital] : capitals()) {
    trainer.add(fmt::format("The capital of {} is {}. {} is ruled from {}.", country, capital, country, capital), 20);
  }
  trainer.add("The most likely output would change to <<<x>>>. The output would remain unchanged from <<<x>>>.", 300);
  trainer.add(" Respond with one of and nothing else. Response: or unknown feature at layer is added to tokens", 9);
  trainer.train();
  return trainer;
}

inline const Tokenizer& tokenizer() {
  static const Tokenizer made = [] {
    const BpeTrainer trainer = trained_bpe();
    return Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
  }();
  return made;
}

inline ModelConfig config(int64_t positions = 256, int64_t layers = 2) {
  ModelConfig config;
  config.family = "llama";
  config.vocab_size = tokenizer().vocab_size();
  config.d_model = 32;
  config.layers = layers;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 16;
  config.d_mlp = 48;
  config.max_positions = positions;
  config.tied_embeddings = true;
  config.bos_token = tokenizer().bos();
  config.eos_token = tokenizer().eos();
  return config;
}

// Weights large enough that every part of the model matters and mistakes show.
inline Model loud_model(const ModelConfig& config, uint64_t seed = 1) {
  Model model = create_model(config, seed);
  c10::NoGradGuard guard;
  for (auto& [name, tensor] : parameters(model)) {
    if (tensor.dim() == 2) tensor.mul_(name.ends_with("embed_tokens.weight") ? 10 : 8);
  }
  return model;
}

// A Hugging Face folder.
inline fs::path write_model(const fs::path& folder, const Model& model) {
  save_model(model, folder, at::kFloat);
  trained_bpe().write(folder);
  return folder;
}

inline fs::path write_facts(const fs::path& folder) {
  fs::create_directories(folder);
  std::string rows = "subject,object\n";
  for (const auto& [country, capital] : capitals()) rows += country + "," + capital + "\n";
  write_text(folder / "capital.csv", rows);
  write_text(folder / "capital.toml",
             "name = \"capital\"\ndescription = \"the capital of a country\"\n"
             "templates = [\"The capital of {subject} is\", \"{subject} is ruled from\"]\n");
  return folder;
}

// Sentences with numbers, so that no two pieces of it are the same.
inline std::string numbered_text(int sentences) {
  std::string text;
  for (int i = 0; i < sentences; ++i) {
    const auto& [country, capital] = capitals()[static_cast<size_t>(i) % capitals().size()];
    text += fmt::format("{}. The capital of {} is {}.\n", i, country, capital);
  }
  return text;
}

inline at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed) {
  Random random(seed, "tensor");
  at::Tensor tensor = at::empty(shape);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<float>()[i] = static_cast<float>(random.normal());
  return tensor;
}

// The largest absolute difference; infinite where shapes differ or a value is no number.
inline double difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  if (a.numel() == 0) return 0;
  const double largest = (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
  return std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
}

// Runs `action` in a child process with the interrupt handler. Its exit code: 0, 130 for Error(interrupted), 1 for any
// other exception; the negative signal if one killed it.
inline pid_t begin_child(const std::function<void()>& action) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child != 0) return child;
  install_interrupt_handler();
  int code = 0;
  try {
    action();
  } catch (const Error& error) {
    code = error.kind() == ErrorKind::interrupted ? 130 : 1;
    if (code == 1) std::fprintf(stderr, "child: %s\n", error.what());
  } catch (const std::exception& error) {
    code = 1;
    std::fprintf(stderr, "child: %s\n", error.what());
  }
  std::fflush(nullptr);
  ::_exit(code);
}
inline int end_of_child(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
inline int in_child(const std::function<void()>& action) {
  return end_of_child(begin_child(action));
}

// Waits until `wanted` holds or the child has ended; half a minute at most.
inline bool wait_for(pid_t child, const std::function<bool()>& wanted) {
  for (int i = 0; i < 15000; ++i) {
    if (wanted()) return true;
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child) {
      return wanted();
    }
    ::usleep(2000);
  }
  return false;
}

}  // namespace introspect::world
