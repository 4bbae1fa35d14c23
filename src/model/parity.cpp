#include "model/parity.h"

#include "base/error.h"
#include "base/json.h"
#include "model/forward.h"
#include "model/lora.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string kind_of(const VerifyRecord& record) {
  if (record.name.starts_with("patched")) return "patched";
  if (record.name.starts_with("continuous")) return "continuous token";
  if (record.name.starts_with("adapter")) return "adapter";
  return record.place == "logits" ? "logits" : "residual states";
}

void add_rows(const std::string& name, const std::string& family, const VerifyReport& report, Parity& parity) {
  std::vector<ParityRow> rows;
  for (const VerifyRecord& record : report.records) {
    const std::string kind = kind_of(record);
    auto row = std::find_if(rows.begin(), rows.end(), [&](const ParityRow& each) { return each.kind == kind; });
    if (row == rows.end()) row = rows.insert(rows.end(), {name, family, kind, 0, 0, record.tolerance, true});
    ++row->places;
    // what is not a number is the largest difference there is
    if (!(record.difference <= row->difference)) row->difference = record.difference;
    row->ok = row->ok && record.ok;
  }
  parity.rows.insert(parity.rows.end(), rows.begin(), rows.end());
  for (const std::string& tensor : report.ignored) parity.ignored.push_back(name + ": " + tensor);
}

PrecisionRow measure_precision(const std::string& name, const Model& model, const fs::path& prompts) {
  PrecisionRow row{name, model.config.family};
  double divergence = 0, same = 0;
  const Json json = read_json(prompts);
  for (const Json& prompt : json.at("prompts")) {
    const Packed input = pack({json_get<std::vector<int64_t>>(prompt, "tokens", prompts.string())});
    ForwardOptions options;
    const at::Tensor exact = at::log_softmax(forward(model, input, options).logits.to(at::kDouble), -1);
    options.compute = at::kBFloat16;
    const at::Tensor rough = at::log_softmax(forward(model, input, options).logits.to(at::kDouble), -1);
    divergence += (exact.exp() * (exact - rough)).sum().item<double>();
    same += exact.argmax(-1).eq(rough.argmax(-1)).sum().item<double>();
    row.positions += input.size();
  }
  row.mean_divergence = divergence / static_cast<double>(row.positions);
  row.same_likeliest = same / static_cast<double>(row.positions);
  return row;
}

}  // namespace

bool Parity::ok() const {
  return std::all_of(rows.begin(), rows.end(), [](const ParityRow& row) { return row.ok; });
}

Parity measure_parity(const fs::path& references, const VerifyTolerance& tolerance,
                      const std::function<void(const std::string& model)>& begun) {
  if (!fs::is_directory(references)) {
    fail("parity", fmt::format("no such folder ({})", references.string()));
  }
  std::vector<fs::path> folders;
  for (const fs::directory_entry& entry : fs::directory_iterator(references)) {
    const auto has = [&](const char* file) { return fs::exists(entry.path() / file); };
    if (has("config.json") && has("expected.safetensors") && has("prompts.json")) folders.push_back(entry.path());
  }
  if (folders.empty()) {
    fail("parity",
         fmt::format("no subfolder has config.json, expected.safetensors and prompts.json ({})", references.string()),
         "src/model/verify.h describes the last two");
  }
  std::sort(folders.begin(), folders.end());
  c10::NoGradGuard no_gradients;
  Parity parity;
  for (const fs::path& folder : folders) {
    const std::string name = folder.filename().string();
    begun(name);
    Model model = load_model(folder);
    const fs::path prompts = folder / "prompts.json";
    add_rows(name, model.config.family, verify_model(model, folder / "expected.safetensors", prompts, tolerance),
             parity);
    parity.precision.push_back(measure_precision(name, model, prompts));
    if (!fs::exists(folder / "lora" / "expected.safetensors")) continue;
    load_lora(model, folder / "lora");
    add_rows(name, model.config.family,
             verify_model(model, folder / "lora" / "expected.safetensors", prompts, tolerance), parity);
  }
  return parity;
}

}  // namespace introspect
