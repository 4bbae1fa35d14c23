// introspect model parity: a page that says how near every model of a folder of references is to them.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "model/parity.h"

#include <cstdio>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

namespace introspect {

namespace {

std::string page_of(const Parity& parity, const VerifyTolerance& tolerance) {
  std::string page = fmt::format(
      "# Parity\n\n"
      "Made by `introspect model parity REFERENCES --out docs/PARITY.md` with libtorch {}. REFERENCES is a folder of\n"
      "small models, each with the values that independent implementations compute for some prompts "
      "(`src/model/verify.h`\n"
      "says in which form). `introspect model verify` compares any model so.\n\n"
      "## fp32 against the references\n\n"
      "Largest absolute differences: of log-probabilities (tolerance {:.0e}), of residual states (tolerance {:.0e}).\n"
      "*patched*: residual states of some layers were replaced; *continuous token*: a vector stands in place of an\n"
      "embedding; *adapter*: with LoRA. A kind that a model's references do not hold has no row.\n\n"
      "| model | family | compared | places | largest difference | tolerance | |\n|---|---|---|---:|---:|---:|---|\n",
      TORCH_VERSION, tolerance.log_probability, tolerance.residual);
  for (const ParityRow& row : parity.rows) {
    page += fmt::format("| {} | {} | {} | {} | {:.1e} | {:.0e} | {} |\n", row.model, row.family, row.kind, row.places,
                        row.difference, row.tolerance, row.ok ? "holds" : "**differs**");
  }
  page +=
      "\n## bf16 against fp32\n\n"
      "The same prompts with matrix products in bf16. The models are random: their likeliest tokens are often nearly "
      "tied.\n\n"
      "| model | family | positions | mean divergence, nats | same likeliest token |\n|---|---|---:|---:|---:|\n";
  for (const PrecisionRow& row : parity.precision) {
    page += fmt::format("| {} | {} | {} | {:.1e} | {:.1f}% |\n", row.model, row.family, row.positions,
                        row.mean_divergence, 100 * row.same_likeliest);
  }
  if (!parity.ignored.empty()) {
    page += fmt::format("\nNot compared here: {} tensors of the references, the first `{}`.\n", parity.ignored.size(),
                        parity.ignored.front());
  }
  return page;
}

Json json_of(const Parity& parity) {
  Json json{{"ok", parity.ok()}, {"rows", Json::array()}, {"bf16", Json::array()}, {"ignored", parity.ignored}};
  for (const ParityRow& row : parity.rows) {
    json["rows"].push_back({{"model", row.model},
                            {"family", row.family},
                            {"compared", row.kind},
                            {"places", row.places},
                            {"difference", row.difference},
                            {"tolerance", row.tolerance},
                            {"ok", row.ok}});
  }
  for (const PrecisionRow& row : parity.precision) {
    json["bf16"].push_back({{"model", row.model},
                            {"family", row.family},
                            {"positions", row.positions},
                            {"mean_divergence", row.mean_divergence},
                            {"same_likeliest", row.same_likeliest}});
  }
  return json;
}

}  // namespace

void add_model_parity(CLI::App& group) {
  struct Options {
    std::string references, out;
    VerifyTolerance tolerance;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("parity", "Compare all models of a folder of references; makes a page");
  command
      ->add_option("references", options->references,
                   "folder; each model's subfolder holds config.json, weights, expected.safetensors, prompts.json")
      ->required();
  command->add_option("--out", options->out, "Markdown file (default: standard output)");
  command->add_option("--tolerance-residual", options->tolerance.residual, "largest difference of residual states")
      ->capture_default_str();
  command
      ->add_option("--tolerance-logits", options->tolerance.log_probability, "largest difference of log-probabilities")
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object on standard output");
  command->footer(
      "Exit code 1 if anything is outside its tolerance; the page is written all the same.\n\n"
      "Example:\n  introspect model parity REFERENCES --out docs/PARITY.md");
  command->callback([options] {
    const Parity parity =
        measure_parity(options->references, options->tolerance, [](const std::string& model) { say(model); });
    const std::string page = page_of(parity, options->tolerance);
    if (!options->out.empty()) write_text(options->out, page);
    if (options->json) {
      std::printf("%s\n", json_of(parity).dump(2).c_str());
    } else if (options->out.empty()) {
      std::printf("%s", page.c_str());
    }
    for (const ParityRow& row : parity.rows) {
      if (row.ok) continue;
      fail("parity",
           fmt::format("{}, {}: largest difference {:.1e}, expected at most {:.1e}", row.model, row.kind,
                       row.difference, row.tolerance),
           "introspect model verify names the first place that differs");
    }
  });
}

}  // namespace introspect
