// introspect contexts, contexts merge and contexts show.
#include "base/distributed.h"
#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "cli/commands.h"
#include "cli/home.h"
#include "cli/model_options.h"
#include "feature/collect_contexts.h"
#include "feature/context_store.h"
#include "feature/marked_text.h"
#include "procedure/saved_chunks.h"
#include "sae/saved_sae.h"
#include "text/copy_tokenizer.h"
#include "train/corpus.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <unistd.h>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  ModelOptions model;
  std::vector<std::string> saes, text;
  std::string recipe, shard = "0/1", out;
  CollectSettings collect;
  int threads = 0;
  bool json = false, overwrite = false;
};

void print_json(const Json& json) {
  std::printf("%s\n", json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

// "2/8" or "4:17": two numbers.
std::pair<int64_t, int64_t> two_numbers(const std::string& option, const std::string& text, char between) {
  std::pair<int64_t, int64_t> numbers;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, numbers.first);
  const char* next = first.ptr + 1;
  const bool begun = first.ec == std::errc() && first.ptr != end && *first.ptr == between;
  const auto second = begun ? std::from_chars(next, end, numbers.second) : first;
  if (!begun || second.ec != std::errc() || second.ptr != end) {
    fail_usage("contexts", fmt::format("{}: got '{}', expected two numbers with '{}' between", option, text, between));
  }
  return numbers;
}

struct Text {
  Json tables;
  fs::path base;
  int64_t context = 256;
};

Text text_of(const Options& options) {
  if (options.text.empty() == options.recipe.empty()) {
    fail_usage("contexts", "expected --text FILE or --recipe RECIPE, and not both");
  }
  Text text;
  if (!options.text.empty()) {
    text.tables = Json::array({{{"kind", "files"}, {"paths", options.text}}});
    text.base = fs::current_path();
    return text;
  }
  const fs::path path = find_recipe(options.recipe);
  const Json recipe = read_toml(path);
  if (!recipe.contains("text")) fail_usage("contexts", fmt::format("no [[text]] table ({})", path.string()));
  text.tables = recipe["text"];
  text.base = path.parent_path();
  if (recipe.contains("training") && recipe["training"].is_object()) {
    text.context = json_get_or<int64_t>(recipe["training"], "context", text.context, path.string());
  }
  check_text_tables(text.tables, path.string());
  return text;
}

// Where the shards of several processes lie until they are one store; of one process the store itself.
fs::path shard_folder(const fs::path& out, const World& world, int shard) {
  return world.size == 1 ? out : out / fmt::format("shards-of-{}", world.size) / std::to_string(shard);
}

// A shard of other work, or of another number of processes, is no beginning for this one.
void check_shards(const fs::path& out, const World& world) {
  for (const fs::directory_entry& entry : fs::directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    const bool of_one = name.starts_with("partial-");
    if (!of_one && !name.starts_with("shards-of-")) continue;
    const std::string there = of_one ? "1" : name.substr(10);
    if (there == std::to_string(world.size)) continue;
    fail("contexts",
         fmt::format("unfinished work of {} processes, now there are {} ({})", there, world.size, out.string()),
         "go on with as many processes as before, or begin anew with --overwrite");
  }
}

// Each process has made the store of its shard; the first makes one of them.
void merge_shards(const fs::path& out, const World& world) {
  wait_for_processes();
  if (!first_process()) return;
  std::vector<fs::path> folders;
  for (int shard = 0; shard < world.size; ++shard) folders.push_back(shard_folder(out, world, shard));
  merge_contexts(folders, out);
  fs::remove_all(folders[0].parent_path());
}

void collect(Options options) {
  if (options.model.folder.empty() || options.saes.empty() || options.out.empty()) {
    fail_usage("contexts", "expected MODEL, --sae and --out", "introspect contexts --help");
  }
  if (options.threads > 0) at::set_num_threads(options.threads);
  CollectSettings& settings = options.collect;
  std::tie(settings.shard, settings.shards) = two_numbers("--shard", options.shard, '/');
  const World& all = current_world();
  if (all.size > 1) {
    if (settings.shards != 1) {
      fail_usage("contexts", fmt::format("--shard {}, and {} processes share the text", options.shard, all.size));
    }
    settings.shard = all.rank;
    settings.shards = all.size;
  }
  check_settings(settings.contexts);
  const Text text = text_of(options);
  std::vector<fs::path> sae_folders;
  for (const std::string& folder : options.saes) {
    for (const fs::path& each : find_saes(folder)) sae_folders.push_back(each);
  }

  const ContextSettings& c = settings.contexts;
  const Json wanted{{"tokens", settings.tokens},
                    {"shard", options.shard},
                    {"length", c.length},
                    {"top", c.top},
                    {"quantiles", c.quantiles},
                    {"per_quantile", c.per_quantile},
                    {"random", c.random},
                    {"near_miss", c.near_miss},
                    {"seed", c.seed},
                    {"pass_pieces", settings.pass_pieces},
                    {"dtype", options.model.dtype},
                    {"text", text.tables}};
  std::vector<RunInput> inputs{{"model", options.model.folder}};
  if (!options.model.adapter.empty()) inputs.push_back({"adapter", options.model.adapter});
  for (const fs::path& folder : sae_folders) inputs.push_back({"sae " + folder.filename().string(), folder});
  std::vector<fs::path> files;
  Json text_files = Json::array();
  for (RunInput& input : text_inputs(text.tables, text.base)) {
    files.push_back(input.path);
    text_files.push_back(
        {{"name", input.path.filename().string()},
         {"sha256", fs::is_directory(input.path) ? sha256_folder(input.path) : fingerprint_file(input.path)}});
    inputs.push_back(std::move(input));
  }
  RunRecord record(options.out, "contexts", wanted, inputs, options.overwrite);
  if (record.state() == StepState::complete) {
    say(fmt::format("{} is complete; nothing to do", options.out));
    if (options.json) print_json(record.result("result"));
    return;
  }

  const Model model = open_model(options.model);
  const Tokenizer tokenizer = Tokenizer::open(options.model.folder);
  std::vector<Sae> saes;
  Json info{
      {"model",
       {{"name", fs::canonical(options.model.folder).filename().string()}, {"fingerprint", model_fingerprint(model)}}},
      {"saes", Json::array()},
      {"text", text_files}};
  for (const fs::path& folder : sae_folders) {
    saes.push_back(load_sae(folder));
    const Sae& sae = saes.back();
    for (const std::string& warning : check_sae(sae, model.config, options.model.folder)) say("warning: " + warning);
    info["saes"].push_back({{"name", folder.filename().string()},
                            {"place", place_name(sae.place)},
                            {"latents", sae.latents()},
                            {"kind", sae_kind_name(sae.kind)},
                            {"layout", sae.layout}});
  }
  const auto pieces = options.text.empty()
                          ? mixture_pieces(text.tables, tokenizer, c.length, text.context, text.base, c.seed)
                          : file_pieces(files, tokenizer, c.length);
  if (first_process()) check_shards(options.out, all);
  wait_for_processes();
  const fs::path mine = shard_folder(options.out, all, all.rank);
  CollectResult result;
  if (all.size > 1 && fs::exists(mine / "contexts.json")) {  // made before another process was stopped
    const Json made = ContextStore::open(mine).info();
    const std::string label = (mine / "contexts.json").string();
    result.pieces = json_get<int64_t>(made, "pieces", label);
    result.positions = json_get<int64_t>(made, "positions", label);
    result.text_tokens = json_get<int64_t>(made, "text_tokens", label);
    result.left_out = json_get<int64_t>(made, "left_out_tokens", label);
  } else {
    result = collect_contexts(model, tokenizer, saes, *pieces, settings, info, mine);
  }
  if (all.size > 1) {
    merge_shards(options.out, all);
    const std::vector<double> sums =
        sum_over_processes({static_cast<double>(result.pieces), static_cast<double>(result.positions)});
    result.pieces = static_cast<int64_t>(sums[0]);
    result.positions = static_cast<int64_t>(sums[1]);
  }
  if (!first_process()) return;
  copy_tokenizer(options.model.folder, options.out);

  const ContextStore store = ContextStore::open(options.out);
  Json layers = Json::array();
  for (const int64_t layer : store.layers()) {
    const at::Tensor rate = store.firing_rate(layer);
    layers.push_back({{"layer", layer},
                      {"latents", store.latents(layer)},
                      {"fired", rate.gt(0).sum().item<int64_t>()},
                      {"active_a_token", rate.sum().item<double>()}});
  }
  const Json summary{{"pieces", result.pieces},           {"positions", result.positions},
                     {"text_tokens", result.text_tokens}, {"left_out_tokens", result.left_out},
                     {"seconds", result.seconds},         {"layers", layers}};
  record.add("result", summary);
  record.complete();
  if (options.json) return print_json(summary);
  std::printf("%lld pieces with %lld tokens that count; %lld tokens of short rests left out\n",
              static_cast<long long>(result.pieces), static_cast<long long>(result.positions),
              static_cast<long long>(result.left_out));
  if (result.text_tokens < settings.tokens) {
    std::printf("the text ended after %lld of %lld tokens\n", static_cast<long long>(result.text_tokens),
                static_cast<long long>(settings.tokens));
  }
  for (const Json& each : layers) {
    std::printf("layer %lld: %lld of %lld latents fired, %.1f active a token\n",
                static_cast<long long>(each.at("layer").get<int64_t>()),
                static_cast<long long>(each.at("fired").get<int64_t>()),
                static_cast<long long>(each.at("latents").get<int64_t>()), each.at("active_a_token").get<double>());
  }
}

struct ShowOptions {
  std::string folder, feature, tokenizer;
  int64_t limit = 10;
  bool json = false;
};

void show_json(const ContextStore& store, const Tokenizer& tokenizer, int64_t layer, int64_t latent) {
  const FeatureContexts contexts = store.contexts(layer, latent);
  Json list = Json::array();
  for (int64_t c = 0; c < std::ssize(contexts.kinds); ++c) {
    Json tokens = Json::array(), activations = Json::array();
    for (int64_t t = 0; t < store.length(); ++t) {
      const int64_t token = contexts.tokens[c][t].item<int32_t>();
      if (token < 0) break;
      tokens.push_back(tokenizer.piece(token));
      activations.push_back(contexts.activations[c][t].item<float>());
    }
    list.push_back({{"kind", context_kind_name(contexts.kinds[static_cast<size_t>(c)])},
                    {"value", contexts.values[c].item<float>()},
                    {"tokens", tokens},
                    {"activations", activations}});
  }
  const auto numbers = [](const at::Tensor& tensor) {
    const at::Tensor doubles = tensor.to(at::kDouble).contiguous();
    return std::vector<double>(doubles.data_ptr<double>(), doubles.data_ptr<double>() + doubles.numel());
  };
  print_json({{"layer", layer},
              {"latent", latent},
              {"firing_rate", store.firing_rate(layer)[latent].item<float>()},
              {"maximum", store.maximum(layer)[latent].item<float>()},
              {"histogram", numbers(store.histogram(layer)[latent])},
              {"histogram_edges", numbers(store.histogram_edges())},
              {"contexts", list}});
}

void print_histogram(const at::Tensor& counts, const at::Tensor& edges) {
  const int64_t* count = counts.data_ptr<int64_t>();
  int64_t first = 0, last = counts.numel() - 1;
  while (first < last && count[first] == 0) ++first;
  while (last > first && count[last] == 0) --last;
  const int64_t most = *std::max_element(count + first, count + last + 1);
  for (int64_t i = first; i <= last; ++i) {
    const auto width = static_cast<size_t>(count[i] * 40 / std::max<int64_t>(1, most));
    std::string bar;
    for (size_t w = 0; w < width; ++w) bar += "█";
    if (bar.empty() && count[i] > 0) bar = "▏";
    std::printf("  %s\n", fmt::format("{:>10.4g} {} {}", edges.data_ptr<float>()[i], bar, count[i]).c_str());
  }
}

void show(const ShowOptions& options) {
  const ContextStore store = ContextStore::open(options.folder);
  const auto [layer, latent] = two_numbers("--feature", options.feature, ':');
  const Tokenizer tokenizer = Tokenizer::open(options.tokenizer.empty() ? options.folder : options.tokenizer);
  if (options.json) return show_json(store, tokenizer, layer, latent);
  const FeatureContexts contexts = store.contexts(layer, latent);
  const double maximum = store.maximum(layer)[latent].item<double>();
  const bool colours = ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  std::printf("%s\n", fmt::format("layer {}, latent {}: fires on {:.3f}% of {} tokens, maximum {:.4g}", layer, latent,
                                  100 * store.firing_rate(layer)[latent].item<double>(), store.positions(), maximum)
                          .c_str());
  if (maximum > 0) {
    std::printf("\nactivations (from)\n");
    print_histogram(store.histogram(layer)[latent].contiguous(), store.histogram_edges());
  } else {
    std::printf("It never fired on this text.\n");
  }
  for (const ContextKind kind : {ContextKind::top, ContextKind::quantile, ContextKind::near_miss}) {
    int64_t count = 0, shown = 0;
    for (size_t c = 0; c < contexts.kinds.size(); ++c) count += contexts.kinds[c] == kind;
    if (count == 0) continue;
    std::printf("\n%s\n", context_kind_name(kind).c_str());
    for (int64_t c = 0; c < std::ssize(contexts.kinds) && shown < options.limit; ++c) {
      if (contexts.kinds[static_cast<size_t>(c)] != kind) continue;
      ++shown;
      const std::string text = marked_text(tokenizer, contexts.tokens[c], contexts.activations[c], maximum,
                                           colours ? Marks::colours : Marks::guillemets);
      std::printf("%s\n", fmt::format("{:>9.4g}  {}", contexts.values[c].item<double>(), text).c_str());
    }
    if (shown < count) {
      std::printf("           and %lld more (--limit)\n", static_cast<long long>(count - shown));
    }
  }
}

void add_merge_command(CLI::App& group) {
  struct MergeOptions {
    std::vector<std::string> shards;
    std::string out;
  };
  auto options = std::make_shared<MergeOptions>();
  CLI::App* command = group.add_subcommand("merge", "One store of the stores of all shards");
  command->add_option("SHARDS", options->shards, "the --out folders of every shard")->required();
  command->add_option("--out", options->out, "folder of the whole")->required();
  command->footer("Example: introspect contexts merge runs/contexts-* --out runs/contexts");
  command->callback([options] {
    std::vector<RunInput> inputs;
    for (const std::string& shard : options->shards) inputs.push_back({shard, shard});
    RunRecord record(options->out, "contexts merge", Json::object(), inputs);
    if (record.state() == StepState::complete) {
      say(fmt::format("{} is complete; nothing to do", options->out));
      return;
    }
    merge_contexts({options->shards.begin(), options->shards.end()}, options->out);
    copy_tokenizer(options->shards.front(), options->out);
    record.complete();
    const ContextStore store = ContextStore::open(options->out);
    std::printf("%zu shards, %lld tokens that count\n", options->shards.size(),
                static_cast<long long>(store.positions()));
  });
}

void add_show_command(CLI::App& group) {
  auto options = std::make_shared<ShowOptions>();
  CLI::App* command = group.add_subcommand("show", "What makes a latent fire, as text");
  command->add_option("STORE", options->folder, "folder of introspect contexts")->required();
  command->add_option("--feature", options->feature, "LAYER:LATENT")->required();
  command->add_option("--limit", options->limit, "contexts of each kind")->capture_default_str();
  command->add_option("--tokenizer", options->tokenizer, "a model folder, if the store has no tokenizer in it");
  command->add_flag("--json", options->json, "everything, with the activation on every token");
  command->footer(
      "Firing tokens are coloured on a terminal (NO_COLOR unset) and stand in «» elsewhere. The number in front is "
      "the\n"
      "highest activation; of a near miss the highest value that did not become one.\n"
      "Example: introspect contexts show runs/contexts --feature 4:17");
  command->callback([options] { show(*options); });
}

}  // namespace

void add_contexts_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  ContextSettings& contexts = options->collect.contexts;
  options->collect.tokens = 10'000'000;
  CLI::App* command = app.add_subcommand("contexts", "What makes every latent of SAEs fire, from one pass over a text");
  command->require_subcommand(0, 1);
  add_model_options(*command, options->model);
  command->get_option("model")->required(false);  // not for merge and show
  command->add_option("--sae", options->saes, "folder of a SAE, or of several; repeatable, one SAE a layer");
  command->add_option("--text", options->text, "text files, or folders of them, read once from beginning to end");
  command->add_option("--recipe", options->recipe, "instead: the [[text]] tables of a recipe, drawn without end");
  command->add_option("--tokens", options->collect.tokens, "of text to read, by all shards together")
      ->capture_default_str();
  command->add_option("--out", options->out, "folder of the store; resumes what is unfinished there");
  command->add_option("--shard", options->shard, "I/N: this process does part I (from 0) of N; then contexts merge")
      ->capture_default_str();
  command->add_option("--length", contexts.length, "tokens of a piece, BOS included")->capture_default_str();
  command->add_option("--top", contexts.top, "pieces with the highest activation")->capture_default_str();
  command->add_option("--quantiles", contexts.quantiles, "parts of the range of activations")->capture_default_str();
  command->add_option("--per-quantile", contexts.per_quantile, "pieces drawn from each part")->capture_default_str();
  command->add_option("--random", contexts.random, "random pieces, the same for all latents")->capture_default_str();
  command->add_option("--near-miss", contexts.near_miss, "pieces on which the latent nearly fires")
      ->capture_default_str();
  command->add_option("--seed", contexts.seed, "of what is drawn")->capture_default_str();
  command->add_option("--save-seconds", options->collect.save_seconds, "how often unfinished work is saved")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "processor threads (default: all)");
  command->add_flag("--overwrite", options->overwrite, "replace work of other settings in --out");
  command->add_flag("--json", options->json, "the summary as JSON");
  command->footer(
      "Pieces are sequences of their own, with BOS in front. The store is safetensors and contexts.json; any number "
      "of\n"
      "shards merged is, byte for byte, what one process writes.\n"
      "Example: introspect contexts models/tiny-llama --sae models/tiny-llama-sae --text corpus.txt --out "
      "runs/contexts\n"
      "         introspect contexts show runs/contexts --feature 4:17");
  add_merge_command(*command);
  add_show_command(*command);
  command->callback([options, command] {
    if (command->get_subcommands().empty()) collect(*options);
  });
}

}  // namespace introspect
