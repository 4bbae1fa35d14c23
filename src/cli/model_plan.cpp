// introspect model plan: what memory a piece of work takes, before it is begun.
#include "base/error.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "cli/model_options.h"
#include "model/device_map.h"
#include "model/memory_plan.h"
#include "model/weight_type.h"
#include "train/rate.h"

#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct PlanArguments {
  std::string model, task = "forward", dtype = "fp32", compute = "fp32", device = "cpu", memory, device_map;
  PlanOptions options;
  bool json = false;
};

PlanOptions options_of(const PlanArguments& given, const ModelConfig& config) {
  PlanOptions options = given.options;
  options.task = parse_plan_task(given.task);
  options.dtype = parse_weight_type(given.dtype);
  options.stored = config.stored_dtype == "bfloat16"  ? at::kBFloat16
                   : config.stored_dtype == "float16" ? at::kHalf
                                                      : at::kFloat;
  options.cpu = given.device == "cpu" && given.device_map.empty();
  options.mixed = options.dtype == at::kFloat && choose_compute(given.compute) == at::kBFloat16;
  return options;
}

// The memory there is: --memory, else what is free here; 0: not known (another device).
uint64_t memory_of(const PlanArguments& given) {
  if (!given.memory.empty()) return parse_size(given.memory, "--memory");
  return given.device == "cpu" ? free_memory() : 0;
}

std::string placement_of(const PlanArguments& given, const ModelConfig& config, const PlanOptions& options) {
  if (given.device_map != "auto") {
    parse_device_map(given.device_map, config.layers);  // throws
    return given.device_map;
  }
  if (given.memory.empty()) {
    fail_usage("plan", "--device-map auto without --memory", "as in --memory cuda:0=80GB,cuda:1=80GB,cpu=64GB");
  }
  const PlanShares shares = plan_shares(config, options);
  return place_layers(config.layers, shares.first, shares.layer, shares.last, parse_device_memory(given.memory));
}

void print_plan(const MemoryPlan& plan) {
  for (const PlanPart& part : plan.parts) {
    std::printf("%-26s %10s  %s\n", part.name.c_str(), size_text(part.bytes).c_str(), part.from.c_str());
  }
  std::printf("%-26s %10s\n", "together", size_text(plan.total()).c_str());
}

void run(const PlanArguments& given) {
  const ModelConfig config = parse_config(find_config(given.model), given.model);
  const PlanOptions options = options_of(given, config);
  const MemoryPlan plan = plan_memory(config, options);
  Json json{{"task", given.task}, {"dtype", given.dtype}, {"total", plan.total()}, {"parts", Json::array()}};
  for (const PlanPart& part : plan.parts) {
    json["parts"].push_back({{"name", part.name}, {"bytes", part.bytes}, {"from", part.from}});
  }
  if (!given.json) print_plan(plan);
  if (!given.device_map.empty()) {
    const std::string placement = placement_of(given, config, options);
    json["device_map"] = placement;
    if (given.json) return (void)std::printf("%s\n", json.dump(2).c_str());
    std::printf("--device-map %s\n", placement.c_str());
    return;
  }
  const uint64_t memory = memory_of(given);
  std::vector<std::string> advice;
  if (memory > 0) {
    json["memory"] = memory;
    json["fits"] = plan.total() <= memory;
    if (plan.total() > memory) advice = plan_advice(config, options, memory);
    json["advice"] = advice;
  }
  if (given.json) return (void)std::printf("%s\n", json.dump(2).c_str());
  if (memory == 0) return;
  const std::string there = size_text(memory) + (given.memory.empty() ? " free here" : "");
  std::printf("%s %s\n", plan.total() <= memory ? "fits into" : "DOES NOT FIT into", there.c_str());
  for (const std::string& line : advice) std::printf("  %s\n", line.c_str());
}

}  // namespace

void add_model_plan(CLI::App& model) {
  auto given = std::make_shared<PlanArguments>();
  CLI::App* command = model.add_subcommand("plan", "How much memory a piece of work takes; reads no weights");
  PlanOptions& options = given->options;
  command->add_option("model", given->model, "folder, config.json, or the name of a published model")->required();
  command->add_option("--task", given->task, "what is to be done")
      ->check(CLI::IsMember({"train", "answer", "sweep", "forward"}))
      ->capture_default_str();
  command->add_option("--dtype", given->dtype, "type of the weights once loaded")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}))
      ->capture_default_str();
  command->add_option("--compute", given->compute, "type of matrix products of fp32 weights: fp32, bf16, auto")
      ->check(CLI::IsMember({"fp32", "bf16", "auto"}))
      ->capture_default_str();
  auto* lora = command->add_option("--lora", options.lora_rank, "train: rank of LoRA factors")
                   ->check(CLI::Range(1, 4096))
                   ->capture_default_str();
  command->add_flag("--full", options.full, "train: all weights")->excludes(lora);
  command->add_flag("--checkpointing", options.checkpointing, "train: activation checkpointing");
  command->add_option("--batch", options.batch, "sequences at once")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--tokens", options.tokens, "positions of a sequence, those generated included")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--logit-rows", options.logit_rows, "positions of a sequence with logits (0: all, or the last)")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("--pass-rows", options.pass_rows, "sweep: positions of all patches of one pass")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--blocks", options.blocks, "sweep: blocks of layers")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--device", given->device, "where")->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  command->add_option("--memory", given->memory, "what there is: 24GB; with --device-map auto cuda:0=80GB,cpu=64GB");
  command->add_option("--device-map", given->device_map, "auto, or devices with their numbers of layers");
  command->add_flag("--json", given->json, "one JSON object, sizes in bytes");
  command->footer(
      "Example:\n"
      "  introspect model plan Llama-3.1-8B --task train --dtype bf16 --checkpointing --memory 24GB\n"
      "  introspect model plan Llama-3.1-70B --dtype bf16 --device-map auto --memory cuda:0=80GB,cuda:1=80GB");
  command->callback([given] { run(*given); });
}

}  // namespace introspect
