// Every model of a folder of references against its expected values: what a page about parity is made of.
#pragma once

#include "model/verify.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// All records of one kind of one model in fp32: "logits", "residual states", "patched", "continuous token", "adapter".
struct ParityRow {
  std::string model, family, kind;
  int64_t places = 0;  // compared
  double difference = 0, tolerance = 0;
  bool ok = true;
};

// The same model with products in bf16, against its own fp32, over all positions of its prompts.
struct PrecisionRow {
  std::string model, family;
  int64_t positions = 0;
  double mean_divergence = 0;  // Kullback-Leibler, nats
  double same_likeliest = 0;   // share of positions
};

struct Parity {
  std::vector<ParityRow> rows;
  std::vector<PrecisionRow> precision;
  std::vector<std::string> ignored;  // "llama3: grad.x": tensors that nothing was made of
  bool ok() const;
};

// Subfolders with config.json, expected.safetensors and prompts.json (verify.h), by name; an adapter with expected
// values of its own is in their folder lora/. `begun` is told each model. Throws Error if there is no such subfolder.
Parity measure_parity(const fs::path& references, const VerifyTolerance& tolerance,
                      const std::function<void(const std::string& model)>& begun);

}  // namespace introspect
