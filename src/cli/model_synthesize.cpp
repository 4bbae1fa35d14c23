// introspect model synthesize: a random checkpoint of a real shape.
#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "cli/model_options.h"
#include "model/device_map.h"
#include "model/synthesize.h"
#include "model/weight_type.h"
#include "text/copy_tokenizer.h"

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct SynthesizeArguments {
  std::string config, out, shard_size = "5GB", dtype = "bf16", tokenizer;
  uint64_t seed = 1;
  bool list = false;
};

void print_published() {
  for (const Json& each : published_models()) {
    std::printf("%-18s %8.2f billion parameters\n", each.at("name").get<std::string>().c_str(),
                each.at("parameters").get<double>() / 1e9);
  }
}

void run(const SynthesizeArguments& given) {
  if (given.list) return print_published();
  if (given.config.empty() || given.out.empty()) {
    fail_usage("synthesize", "expected CONFIG and --out DIR (or --list)");
  }
  const Json config = find_config(given.config);
  SynthesizeOptions options;
  options.seed = given.seed;
  options.shard_bytes = parse_size(given.shard_size, "--shard-size");
  options.dtype = parse_weight_type(given.dtype);
  std::unique_ptr<Progress> progress;
  constexpr uint64_t megabyte = 1'000'000;
  const SynthesizeReport made = synthesize_checkpoint(config, given.out, options, [&](uint64_t done, uint64_t total) {
    if (!progress) progress = std::make_unique<Progress>("synthesize", static_cast<int64_t>(total / megabyte), "MB");
    progress->set(static_cast<int64_t>(done / megabyte));
  });
  if (progress) progress->finish();
  if (!given.tokenizer.empty()) copy_tokenizer(given.tokenizer, given.out);
  std::printf("%s: %s in %lld file%s", given.out.c_str(), size_text(made.bytes).c_str(),
              static_cast<long long>(made.shards), made.shards == 1 ? "" : "s");
  if (made.kept > 0) std::printf(", %lld of them there before", static_cast<long long>(made.kept));
  std::printf("\n");
}

}  // namespace

void add_model_synthesize(CLI::App& model) {
  auto given = std::make_shared<SynthesizeArguments>();
  CLI::App* command =
      model.add_subcommand("synthesize", "Write a random checkpoint of a real model's shape, to try size and speed");
  command->add_option("config", given->config, "config.json, a folder with one, or the name of a published model");
  command->add_option("--out", given->out, "folder to write");
  command->add_flag("--list", given->list, "names of the published models, and nothing else");
  command->add_option("--seed", given->seed, "of the weights")->capture_default_str();
  command->add_option("--shard-size", given->shard_size, "the most that one file holds")->capture_default_str();
  command->add_option("--dtype", given->dtype, "type of the weights in the files")
      ->check(CLI::IsMember({"bf16", "fp32"}))
      ->capture_default_str();
  command->add_option("--tokenizer", given->tokenizer, "folder whose tokenizer files are copied too");
  command->footer(
      "The weights have the scale of a new model's and mean nothing. Free disk is looked at before; a call that was\n"
      "interrupted goes on when it is repeated.\n\n"
      "Example:\n"
      "  introspect model synthesize --list\n"
      "  introspect model synthesize Llama-3.1-8B --out runs/llama-8b\n"
      "  introspect forward runs/llama-8b --dtype bf16 --tokens 1,2,3 --out runs/logits.safetensors");
  command->callback([given] { run(*given); });
}

}  // namespace introspect
