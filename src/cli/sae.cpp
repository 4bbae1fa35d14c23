// introspect sae info: what a SAE's folder holds, and how well it reconstructs the target it is meant for.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "cli/model_options.h"
#include "sae/quality.h"
#include "sae/saved_sae.h"
#include "sae/states.h"
#include "train/corpus.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct SaeInfoOptions {
  std::string folder;
  ModelOptions target;
  std::vector<std::string> texts;
  int64_t tokens = 8192, seed = 1;
  bool force = false, json = false;
};

// The target, and the documents to measure on.
struct Sample {
  Model model;
  std::vector<std::vector<int64_t>> documents;
  std::vector<int64_t> special;
};

// The beginnings of the files in pieces of `context` tokens, each begun with BOS if there is one.
std::vector<std::vector<int64_t>> pieces_of(const SaeInfoOptions& options, const Tokenizer& tokenizer,
                                            int64_t context) {
  std::vector<std::vector<int64_t>> pieces;
  const int64_t share = options.tokens / std::ssize(options.texts) + 1;
  for (const std::string& path : options.texts) {
    std::string text = read_text(path);
    text.resize(std::min<size_t>(text.size(), static_cast<size_t>(share) * 16));  // tokens are shorter on average
    std::vector<int64_t> tokens = tokenizer.encode_plain(text);
    tokens.resize(std::min(std::ssize(tokens), share));
    for (size_t i = 0; i < tokens.size(); ++i) {
      const bool full = !pieces.empty() && std::ssize(pieces.back()) >= context;
      if (i == 0 || full) pieces.emplace_back(tokenizer.bos() ? 1 : 0, tokenizer.bos().value_or(0));
      pieces.back().push_back(tokens[i]);
    }
  }
  return pieces;
}

Sample read_sample(const SaeInfoOptions& options) {
  const Tokenizer tokenizer = Tokenizer::open(options.target.folder);
  Sample sample{open_model(options.target), {}, special_tokens(tokenizer)};
  const int64_t context = std::min<int64_t>(256, sample.model.config.max_positions);
  if (!options.texts.empty()) {
    sample.documents = pieces_of(options, tokenizer, context);
  } else {
    const Json table = {{"kind", "statements"}, {"facts", (home_folder() / "facts").string()}};
    Mixture mixture(Json::array({table}), tokenizer, context, fs::current_path(), static_cast<uint64_t>(options.seed));
    for (Document& document : mixture.next(options.tokens)) sample.documents.push_back(std::move(document.tokens));
  }
  return sample;
}

uint64_t memory_of(const Sae& sae) {
  uint64_t bytes = 0;
  for (const at::Tensor* tensor : {&sae.encoder, &sae.encoder_bias, &sae.decoder, &sae.decoder_bias, &sae.threshold,
                                   &sae.gate_bias, &sae.magnitude}) {
    if (tensor->defined()) bytes += tensor->nbytes();
  }
  return bytes;
}

std::string input_text(const Sae& sae) {
  std::string text;
  if (sae.layer_norm) text += "each position centred and scaled to deviation 1, ";
  if (sae.input_scale != 1) text += fmt::format("scaled by {:.6g}, ", sae.input_scale);
  if (sae.subtract_decoder_bias) text += "the decoder's bias subtracted, ";
  return text.empty() ? "as the model computes it" : text.substr(0, text.size() - 2);
}

Json info_of(const fs::path& path, const Sae& sae) {
  return {{"path", path.string()},
          {"layout", sae.layout},
          {"kind", sae_kind_name(sae.kind)},
          {"k", sae.kind == SaeKind::topk ? Json(sae.k) : Json(nullptr)},
          {"latents", sae.latents()},
          {"width", sae.width()},
          {"place", place_name(sae.place)},
          {"model", sae.model},
          {"input",
           {{"layer_norm", sae.layer_norm},
            {"scale", sae.input_scale},
            {"subtract_decoder_bias", sae.subtract_decoder_bias}}},
          {"memory", memory_of(sae)}};
}

void print(const std::string& name, const std::string& value) {
  std::printf("%-19s %s\n", name.c_str(), value.c_str());
}

void print_info(const fs::path& path, const Sae& sae) {
  print("path", path.string());
  print("layout", sae.layout);
  print("kind", sae_kind_name(sae.kind) + (sae.kind == SaeKind::topk ? fmt::format(", k {}", sae.k) : ""));
  print("latents", fmt::format("{}", sae.latents()));
  print("width", fmt::format("{}", sae.width()));
  print("place", place_name(sae.place));
  print("model", sae.model.empty() ? "not said" : sae.model);
  print("input", input_text(sae));
  print("memory", size_text(memory_of(sae)));
}

void print_report(const SaeReport& report) {
  print("measured on", fmt::format("{} positions", report.positions));
  print("explained variance", fmt::format("{:.1f}%", 100 * report.explained_variance));
  print("L0", fmt::format("{:.1f} active latents a position", report.l0));
  print("dead", fmt::format("{:.1f}% of the latents never fired on this text", 100 * report.dead_share));
  print("loss recovered",
        fmt::format("{:.1f}% (loss {:.3f}, with the reconstruction {:.3f}, with zeros {:.3f})",
                    100 * report.loss_recovered(), report.loss, report.loss_spliced, report.loss_zero));
}

void run(const SaeInfoOptions& options) {
  const std::vector<fs::path> paths = find_saes(options.folder);
  std::optional<Sample> sample;
  Json all = Json::array();
  std::string reason;  // why a report cannot be right
  for (const fs::path& path : paths) {
    const Sae sae = load_sae(path);
    all.push_back(info_of(path, sae));
    if (!options.json) {
      if (all.size() > 1) std::printf("\n");
      print_info(path, sae);
    }
    if (options.target.folder.empty()) continue;
    if (!sample) sample = read_sample(options);
    all.back()["warnings"] = check_sae(sae, sample->model.config, options.target.folder);
    for (const Json& warning : all.back()["warnings"]) say("warning: " + warning.get<std::string>());
    int64_t tokens = 0;
    for (const std::vector<int64_t>& document : sample->documents) tokens += std::ssize(document);
    Progress progress("measure", tokens, "token");
    const SaeMeasured measured = measure_sae(sample->model, sae, sample->documents, sample->special, [&](int64_t more) {
      progress.advance(more);
      check_interrupt("sae info");
    });
    progress.finish();
    const SaeReport report = measured.report();
    all.back()["report"] = report_to_json(report);
    if (!options.json) print_report(report);
    reason = absurd(report, sae);
    if (reason.empty()) continue;
    all.back()["absurd"] = reason;
    if (!options.force) break;
    say("warning: " + reason);
    reason.clear();
  }
  if (options.json) std::printf("%s\n", Json{{"saes", all}}.dump(2).c_str());
  if (!reason.empty()) {
    fail("sae", fmt::format("this SAE does not belong to this target: {} ({})", reason, all.back()["path"].dump()),
         "another model, layer, scale, or kind of text than it was trained on; --force goes on nevertheless");
  }
}

}  // namespace

void add_sae_commands(CLI::App& app) {
  CLI::App* group = app.add_subcommand("sae", "Sparse autoencoders: reading and training");
  group->require_subcommand(1);
  auto options = std::make_shared<SaeInfoOptions>();
  CLI::App* command = group->add_subcommand("info", "What SAEs are, and how well they reconstruct their target");
  command
      ->add_option("FOLDER", options->folder,
                   "a SAE of SAELens, Llama Scope, Gemma Scope or sparsify, or a folder of several")
      ->required();
  command->add_option("--target", options->target.folder, "model folder: check the SAE against it and measure");
  command->add_option("--dtype", options->target.dtype, "type of the target's weights once loaded")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command->add_option("--text", options->texts, "plain text to measure on (repeatable; default: statements of facts/)");
  command->add_option("--tokens", options->tokens, "how many tokens to measure on, about")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--seed", options->seed, "draws the statements")->capture_default_str();
  command->add_flag("--force", options->force,
                    "go on where the measures show that SAE and target do not belong together");
  command->add_flag("--json", options->json, "print as JSON");
  command->footer(
      "With --target, exit code 1 tells that the SAE cannot be used on it: another width, no such layer, or a\n"
      "reconstruction that is worse than the mean. Special tokens and first positions are left out of the measures.\n\n"
      "Example: introspect sae info Llama3_1-8B-Base-L19R-32x --target Llama-3.1-8B --dtype bf16 --tokens 2048");
  command->callback([options] { run(*options); });
  add_sae_train(*group);
}

}  // namespace introspect
