// introspect model info | verify: what a folder holds, and whether its results are those of another implementation.
#include "base/error.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "model/verify.h"
#include "text/tokenizer.h"

#include <cstdio>
#include <map>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void print(const std::string& line) {
  std::printf("%s\n", line.c_str());
}

// Number of tensors of each stored type. Weights are not read, only the files' headers.
Json stored_types(const fs::path& folder) {
  const Checkpoint checkpoint(folder);
  std::map<std::string, int64_t> counts;
  for (const std::string& name : checkpoint.names()) ++counts[checkpoint.info(name).dtype];
  Json json = Json::object();
  for (const auto& [type, count] : counts) json[type] = count;
  return json;
}

Json tokenizer_info(const fs::path& folder) {
  if (!fs::exists(folder / "tokenizer.json")) return nullptr;
  const Tokenizer tokenizer = Tokenizer::open(folder);
  Json json;
  json["vocab_size"] = tokenizer.vocab_size();
  const auto named = [&](const char* key, std::optional<int64_t> id) {
    json[key] = id ? Json{{"id", *id}, {"token", tokenizer.token(*id)}} : Json(nullptr);
  };
  named("bos", tokenizer.bos());
  named("eos", tokenizer.eos());
  named("pad", tokenizer.pad());
  json["adds_bos"] = tokenizer.adds_bos();
  json["special_tokens"] = Json::object();
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_special(id)) json["special_tokens"][tokenizer.token(id)] = id;
  }
  json["chat_template"] = tokenizer.chat_template() ? Json(*tokenizer.chat_template()) : Json(nullptr);
  return json;
}

Json model_info(const fs::path& folder) {
  const ModelConfig config = read_config(folder);
  Json json;
  json["family"] = config.family;
  json["parameters"] = config.parameter_count();
  json["memory"] = {{"fp32", weight_bytes(config, at::kFloat)},
                    {"bf16", weight_bytes(config, at::kBFloat16)},
                    {"int8", weight_bytes(config, at::kChar)}};
  json["stored_types"] = stored_types(folder);
  json["config"] = config_to_json(config);
  json["tokenizer"] = tokenizer_info(folder);
  const fs::path generation = folder / "generation_config.json";
  json["generation_config"] = fs::exists(generation) ? read_json(generation) : Json(nullptr);
  return json;
}

// The beginning of a template on one line.
std::string beginning(std::string text) {
  constexpr size_t longest = 160;
  for (char& c : text) c = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  if (text.size() <= longest) return text;
  size_t end = longest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return text.substr(0, end) + " ...";
}

void print_tokenizer(const Json& json) {
  if (json.is_null()) return print("tokenizer       none (no tokenizer.json)");
  print(fmt::format("tokenizer       {} tokens, {} a BOS", json["vocab_size"].get<int64_t>(),
                    json["adds_bos"].get<bool>() ? "adds" : "does not add"));
  for (const char* key : {"bos", "eos", "pad"}) {
    if (json[key].is_null()) continue;
    print(fmt::format("  {}           {} = {}", key, json[key]["token"].get<std::string>(),
                      json[key]["id"].get<int64_t>()));
  }
  const Json& special = json["special_tokens"];
  std::string line;
  int64_t shown = 0;
  for (const auto& [token, id] : special.items()) {
    if (++shown > 12) break;
    line += fmt::format("{}{} = {}", line.empty() ? "" : ", ", token, id.get<int64_t>());
  }
  if (special.size() > 12) line += fmt::format(", and {} more (--json lists them)", special.size() - 12);
  print(fmt::format("  special       {}", line.empty() ? "none" : line));
  print(json["chat_template"].is_null()
            ? "chat template   no"
            : "chat template   yes: " + beginning(json["chat_template"].get<std::string>()));
}

void print_info(const std::string& folder, const Json& json) {
  const ModelConfig config = read_config(folder);  // the keys of json["config"] are the family's own
  print(folder);
  print(fmt::format("family          {}", json["family"].get<std::string>()));
  print(fmt::format("parameters      {:.2f} million", static_cast<double>(json["parameters"].get<int64_t>()) / 1e6));
  print(fmt::format(
      "memory          {} in fp32, {} in bf16, {} in int8", size_text(json["memory"]["fp32"].get<uint64_t>()),
      size_text(json["memory"]["bf16"].get<uint64_t>()), size_text(json["memory"]["int8"].get<uint64_t>())));
  std::string types;
  for (const auto& [type, count] : json["stored_types"].items()) {
    types += fmt::format("{}{} tensors {}", types.empty() ? "" : ", ", count.get<int64_t>(), type);
  }
  print(fmt::format("stored          {}", types));
  print(fmt::format("layers          {}, width {}, MLP {}", config.layers, config.d_model, config.d_mlp));
  if (config.recurrent()) {
    print("mixing          recurrent, no limit of positions");
  } else {
    print(fmt::format("attention       {} heads of {}, {} key-value heads", config.heads, config.head_dim,
                      config.kv_heads));
    print(fmt::format("positions       {}", config.max_positions));
  }
  print(fmt::format("vocabulary      {}, {} head", config.vocab_size, config.tied_embeddings ? "tied" : "separate"));
  print_tokenizer(json["tokenizer"]);
  print(fmt::format("generation      {}", json["generation_config"].is_null() ? "no generation_config.json"
                                                                              : json["generation_config"].dump()));
}

void add_info(CLI::App& group) {
  struct Options {
    std::string folder;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("info", "What a model folder holds; reads no weights");
  command->add_option("model", options->folder, "Hugging Face folder")->required();
  command->add_flag("--json", options->json, "everything, as one JSON object");
  command->footer("Example:\n  introspect model info models/tiny-llama");
  command->callback([options] {
    const Json json = model_info(options->folder);
    if (options->json) return print(json.dump(2, ' ', false, Json::error_handler_t::replace));
    print_info(options->folder, json);
  });
}

Json report_json(const VerifyReport& report) {
  Json json;
  json["ok"] = report.ok();
  const VerifyRecord* first = report.first_difference();
  json["first_difference"] = first ? Json{{"case", first->name}, {"place", first->place}} : Json(nullptr);
  json["records"] = Json::array();
  for (const VerifyRecord& each : report.records) {
    // JSON knows no NaN: such a difference is null
    json["records"].push_back({{"case", each.name},
                               {"place", each.place},
                               {"difference", each.difference},
                               {"tolerance", each.tolerance},
                               {"ok", each.ok}});
  }
  json["ignored"] = report.ignored;
  return json;
}

void print_report(const VerifyReport& report) {
  size_t name_width = 4, place_width = 5;
  for (const VerifyRecord& each : report.records) {
    name_width = std::max(name_width, each.name.size());
    place_width = std::max(place_width, each.place.size());
  }
  print(fmt::format("{:<{}}  {:<{}}  difference  tolerance", "case", name_width, "place", place_width));
  for (const VerifyRecord& each : report.records) {
    print(fmt::format("{:<{}}  {:<{}}  {:>10.1e}  {:>9.1e}  {}", each.name, name_width, each.place, place_width,
                      each.difference, each.tolerance, each.ok ? "ok" : "DIFFERS"));
  }
  if (!report.ignored.empty()) {
    print(fmt::format("not compared: {} tensors, the first '{}'", report.ignored.size(), report.ignored.front()));
  }
}

void add_verify(CLI::App& group) {
  struct Options {
    ModelOptions model;
    std::string expected, prompts;
    VerifyTolerance tolerance;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("verify", "Compare with another implementation, layer by layer");
  add_model_options(*command, options->model);
  command->add_option("--against", options->expected, "safetensors file: logits.<i>, resid.<i>.<k>, ...")->required();
  command->add_option("--prompts", options->prompts, "JSON file: prompts[i].tokens, patch, continuous")->required();
  command->add_option("--tolerance-residual", options->tolerance.residual, "largest difference of residual states")
      ->capture_default_str();
  command
      ->add_option("--tolerance-logits", options->tolerance.log_probability, "largest difference of log-probabilities")
      ->capture_default_str();
  command->add_flag("--json", options->json, "one JSON object");
  command->footer(
      "Exit code 1 if anything is outside its tolerance; the first place that differs is named. src/model/verify.h\n"
      "describes the two files.\n\n"
      "Example:\n"
      "  introspect model verify llama3 --against llama3/expected.safetensors --prompts llama3/prompts.json");
  command->callback([options] {
    const Model model = open_model(options->model);
    const VerifyReport report = verify_model(model, options->expected, options->prompts, options->tolerance);
    if (options->json) {
      print(report_json(report).dump(2));
    } else {
      print_report(report);
    }
    if (const VerifyRecord* first = report.first_difference()) {
      fail("verify", fmt::format("first difference at {} ({}): {:.1e}, expected at most {:.1e}", first->place,
                                 first->name, first->difference, first->tolerance));
    }
  });
}

}  // namespace

void add_model_commands(CLI::App& app) {
  CLI::App* group =
      app.add_subcommand("model", "What a model folder holds, whether it is run exactly, and what memory it takes");
  group->require_subcommand(1);
  add_info(*group);
  add_verify(*group);
  add_model_parity(*group);
  add_model_synthesize(*group);
  add_model_plan(*group);
}

}  // namespace introspect
