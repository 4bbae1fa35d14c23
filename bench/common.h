// What the benchmarks have in common.
#pragma once

#include "model/config.h"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>

#include <ATen/Parallel.h>
#include <fmt/format.h>

namespace introspect {

// The shape of the bundled models.
inline ModelConfig bundled_shape(int64_t positions = 512) {
  ModelConfig config;
  config.family = "llama";
  config.vocab_size = 5120;
  config.d_model = 192;
  config.layers = 8;
  config.heads = config.kv_heads = 3;
  config.head_dim = 64;
  config.d_mlp = 512;
  config.max_positions = positions;
  config.tied_embeddings = true;
  return config;
}

// On one thread the processor's time counts, so that other programs on the machine do not.
inline double now() {
  if (at::get_num_threads() == 1) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What main() of a benchmark does: `run`, with what it throws in words.
inline int reporting_errors(int (*run)(int, char**), int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

}  // namespace introspect
