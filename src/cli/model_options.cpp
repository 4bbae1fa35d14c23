#include "cli/model_options.h"

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "model/lora.h"
#include "model/weight_type.h"

#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void tell_memory(const ModelOptions& options) {
  const ModelConfig config = read_config(options.folder);
  const uint64_t needed = weight_bytes(config, parse_weight_type(options.dtype));
  if (needed < 1'000'000'000) return;
  const uint64_t available = free_memory();
  const bool stored = (config.stored_dtype == "bfloat16" && options.dtype == "bf16") ||
                      (config.stored_dtype == "float32" && options.dtype == "fp32");
  std::string line = fmt::format("loading {}: {} of weights in {}, {}", options.folder, size_text(needed),
                                 options.dtype, stored ? "read from the mapped file" : "converted into memory");
  if (available > 0) line += fmt::format(", {} are free", size_text(available));
  say(line);
  if (options.dtype == "fp32" && config.stored_dtype == "bfloat16") {
    say("fp32 is exact; --dtype bf16 takes half the memory and is faster (docs/REAL_SIZE.md)");
  }
  if (available > 0 && available < needed) {
    say(options.dtype == "int8" ? "warning: this may not fit"
                                : "warning: this may not fit; 'introspect model plan' says what would");
  }
}

}  // namespace

uint64_t free_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  uint64_t kilobytes = 0;
  while (file >> key >> kilobytes) {
    if (key == "MemAvailable:") return kilobytes * 1024;
    file.ignore(1000, '\n');
  }
  return 0;
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  command.add_option("model", options.folder, "Hugging Face folder: config.json, model.safetensors, tokenizer.json")
      ->required();
  command.add_option("--adapter", options.adapter, "PEFT LoRA folder to put on the model");
  command
      .add_option("--dtype", options.dtype,
                  "type of the weights once loaded: fp32 is exact, bf16 half as large, int8 a quarter (model plan)")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}))
      ->capture_default_str();
  command
      .add_option("--device-map", options.device_map,
                  "devices with their numbers of layers: cpu, cuda:0, cuda:0=20,cuda:1=rest")
      ->capture_default_str();
}

Model open_model(const ModelOptions& options) {
  tell_memory(options);
  LoadOptions load;
  load.dtype = parse_weight_type(options.dtype);
  load.mapped = true;
  load.device_map = options.device_map;
  Model model = load_model(options.folder, load);
  if (!options.adapter.empty()) load_lora(model, options.adapter);
  return model;
}

std::vector<int64_t> end_tokens(const fs::path& folder) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const fs::path path = folder / name;
    if (!fs::exists(path)) continue;
    const Json json = read_json(path);
    const auto found = json.find("eos_token_id");
    if (found == json.end() || found->is_null()) continue;
    if (found->is_array()) return json_get<std::vector<int64_t>>(json, "eos_token_id", path.string());
    return {json_get<int64_t>(json, "eos_token_id", path.string())};
  }
  return {};
}

std::string size_text(uint64_t bytes) {
  const double size = static_cast<double>(bytes);
  return size >= 1e9 ? fmt::format("{:.2f} GB", size / 1e9) : fmt::format("{:.1f} MB", size / 1e6);
}

}  // namespace introspect
