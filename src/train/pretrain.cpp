#include "train/pretrain.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "model/model.h"
#include "model/names.h"
#include "text/copy_tokenizer.h"
#include "train/checkpoint.h"
#include "train/corpus.h"
#include "train/loss.h"
#include "train/optimizer.h"
#include "train/rate.h"

#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <set>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// [training], resolved. `tokens` is the whole budget; a step sees batch_tokens, in passes of pass_tokens.
struct Settings {
  int64_t seed, tokens, batch_tokens, pass_tokens, context, warm_up, report_steps, checkpoint_steps;
  double learning_rate, muon_rate, weight_decay, clip_norm, final_fraction;
  std::string schedule, compute;
  std::set<int64_t> snapshots;  // steps

  int64_t steps() const { return (tokens + batch_tokens - 1) / batch_tokens; }
};

Settings read_settings(const Json& recipe, const std::string& label, int64_t seed_override) {
  const Json& t = recipe.at("training");
  Settings s{};
  s.seed = seed_override >= 0 ? seed_override : json_get_or<int64_t>(t, "seed", 1, label);
  s.tokens = json_get<int64_t>(t, "tokens", label);
  s.batch_tokens = json_get_or<int64_t>(t, "batch_tokens", 8192, label);
  s.pass_tokens = json_get_or<int64_t>(t, "pass_tokens", 2048, label);
  s.context = json_get_or<int64_t>(t, "context", 256, label);
  s.warm_up = json_get_or<int64_t>(t, "warm_up", 50, label);
  s.report_steps = json_get_or<int64_t>(t, "report_steps", 50, label);
  s.checkpoint_steps = json_get_or<int64_t>(t, "checkpoint_steps", 100, label);
  s.learning_rate = json_get_or<double>(t, "learning_rate", 3e-3, label);
  s.muon_rate = json_get_or<double>(t, "muon_rate", 0.0, label);
  s.weight_decay = json_get_or<double>(t, "weight_decay", 0.0, label);
  s.clip_norm = json_get_or<double>(t, "clip_norm", 1.0, label);
  s.final_fraction = json_get_or<double>(t, "final_fraction", 0.0, label);
  s.schedule = json_get_or<std::string>(t, "schedule", "cosine", label);
  s.compute = json_get_or<std::string>(t, "compute", "auto", label);
  for (const auto& [value, name] : {std::pair{s.tokens, "tokens"},
                                    {s.batch_tokens, "batch_tokens"},
                                    {s.pass_tokens, "pass_tokens"},
                                    {s.context, "context"}}) {
    if (value < 2)
      fail_usage("pretrain", fmt::format("training.{}: got {}, expected at least 2 ({})", name, value, label));
  }
  for (const int64_t step : json_get_or<std::vector<int64_t>>(t, "snapshots", {}, label)) {
    if (step < 1 || step > s.steps()) {
      fail_usage("pretrain",
                 fmt::format("training.snapshots: got {}, expected steps from 1 to {} ({})", step, s.steps(), label));
    }
    s.snapshots.insert(step);
  }
  return s;
}

// Families without attention, with the sizes that their authors take where the recipe names none.
ModelConfig recurrent_config(const Json& table, const std::string& family, const Tokenizer& tokenizer,
                             const std::string& label) {
  const auto given = [&](const char* key, int64_t otherwise) {
    return json_get_or<int64_t>(table, key, otherwise, label);
  };
  Json json = {{"model_type", family},
               {"vocab_size", tokenizer.vocab_size()},
               {"hidden_size", json_get<int64_t>(table, "d_model", label)},
               {"num_hidden_layers", json_get<int64_t>(table, "layers", label)},
               {"tie_word_embeddings", json_get_or<bool>(table, "tied_embeddings", true, label)},
               {"torch_dtype", "bfloat16"}};
  if (tokenizer.bos()) json["bos_token_id"] = *tokenizer.bos();
  if (tokenizer.eos()) json["eos_token_id"] = *tokenizer.eos();
  std::set<std::string> own = {"state", "expand"};
  if (family == "mamba") {
    json["state_size"] = given("state", 16);
    json["expand"] = given("expand", 2);
  } else {
    own = {"heads", "d_mlp", "low_rank"};
    const int64_t rank = given("low_rank", 32);
    json["head_dim"] = json_get<int64_t>(table, "d_model", label) / std::max<int64_t>(1, given("heads", 1));
    json["intermediate_size"] = json_get<int64_t>(table, "d_mlp", label);
    for (const char* key : {"decay_low_rank_dim", "a_low_rank_dim", "v_low_rank_dim"}) json[key] = rank;
    json["gate_low_rank_dim"] = 2 * rank;
  }
  own.insert({"tokenizer", "family", "d_model", "layers", "tied_embeddings", "chat_template", "eos_token"});
  for (const auto& [key, value] : table.items()) {
    if (!own.contains(key)) fail_usage("pretrain", fmt::format("model.{}: {} has none ({})", key, family, label));
  }
  return parse_config(json, label);
}

ModelConfig config_of_recipe(const Json& table, const Tokenizer& tokenizer, const std::string& label) {
  ModelConfig c;
  c.family = json_get_or<std::string>(table, "family", "llama", label);
  check_family(c.family, label);
  // others compute with values that a recipe does not name: activations, partial rotation, states
  const std::set<std::string> created = {"llama", "mistral", "qwen2", "qwen3", "mamba", "rwkv7"};
  if (!created.contains(c.family)) {
    fail_usage("pretrain", fmt::format("model.family: got '{}', expected one of {} ({})", c.family,
                                       fmt::join(created, ", "), label));
  }
  if (c.family == "mamba" || c.family == "rwkv7") return recurrent_config(table, c.family, tokenizer, label);
  c.vocab_size = tokenizer.vocab_size();
  c.d_model = json_get<int64_t>(table, "d_model", label);
  c.layers = json_get<int64_t>(table, "layers", label);
  c.heads = json_get<int64_t>(table, "heads", label);
  c.kv_heads = json_get_or<int64_t>(table, "kv_heads", c.heads, label);
  c.head_dim = json_get_or<int64_t>(table, "head_dim", c.d_model / std::max<int64_t>(1, c.heads), label);
  c.d_mlp = json_get<int64_t>(table, "d_mlp", label);
  c.max_positions = json_get_or<int64_t>(table, "max_positions", 512, label);
  c.rope_theta = json_get_or<double>(table, "rope_theta", 10000.0, label);
  c.query_key_norm = c.family == "qwen3";
  c.tied_embeddings = json_get_or<bool>(table, "tied_embeddings", true, label);
  c.bos_token = tokenizer.bos();
  c.eos_token = tokenizer.eos();
  c.stored_dtype = "bfloat16";
  // through the reader of config.json, which checks the values
  return parse_config(config_to_json(c), label);
}

std::vector<Trainable> trainables_of(Model& model, const Settings& s) {
  std::vector<Trainable> list;
  std::set<std::string> matrices;  // what adapters attach to, but for Mamba's narrow projections
  for (const NamedLinear& named : named_linears(model)) {
    if (named.module != "x_proj" && named.module != "dt_proj") matrices.insert(named.name + ".weight");
  }
  for (auto& [name, tensor] : parameters(model)) {
    const bool matrix = matrices.contains(name);
    Trainable each{name, tensor, UpdateRule::adamw, s.learning_rate, 0};
    if (matrix && s.muon_rate > 0) {
      each.rule = UpdateRule::muon;
      each.learning_rate = s.muon_rate;
    }
    if (matrix) each.weight_decay = s.weight_decay;
    list.push_back(each);
  }
  return list;
}

// Floating-point operations of the matrix products for a token, forward and backward: 6 a weight. Attention's own
// products and elementwise work are left out, so the share reached is a lower bound.
double operations_per_token(const Model& model) {
  const ModelConfig& c = model.config;
  const auto head = static_cast<double>(c.vocab_size * c.d_model);
  const auto all = static_cast<double>(c.parameter_count());
  return 6.0 * (c.tied_embeddings ? all : all - head);
}

NamedTensors weights_of(Model& model) {
  NamedTensors list;
  for (auto& [name, tensor] : parameters(model)) list.emplace_back("weight." + name, tensor);
  return list;
}

// With the recipe's chat template and end token, if it names any.
void write_tokenizer(const fs::path& from, const fs::path& to, const Json& table) {
  copy_tokenizer(from, to);
  if (!table.contains("chat_template") && !table.contains("eos_token")) return;
  const fs::path file = to / "tokenizer_config.json";
  Json config = fs::exists(file) ? read_json(file) : Json::object();
  for (const char* key : {"chat_template", "eos_token"}) {
    if (table.contains(key)) config[key] = table.at(key);
  }
  write_json(file, config);
}

// A snapshot is only made when its step is passed.
void check_snapshots(const Settings& s, const fs::path& folder, int64_t step) {
  for (const int64_t wanted : s.snapshots) {
    if (wanted > step || fs::exists(snapshot_folder(folder, wanted) / "config.json")) continue;
    fail("pretrain",
         fmt::format("no snapshot of step {}: the training is at step {} already ({})", wanted, step, folder.string()),
         "train into another folder, or leave the step out of training.snapshots");
  }
}

}  // namespace

fs::path snapshot_folder(const fs::path& folder, int64_t step) {
  return folder / "snapshots" / fmt::format("step-{}", step);
}

void check_pretrain_recipe(const Json& json, const std::string& label) {
  const std::pair<const char*, std::set<std::string>> known[] = {
      {"model",
       {"start_from", "tokenizer", "family", "d_model", "layers", "heads", "kv_heads", "head_dim", "d_mlp",
        "max_positions", "rope_theta", "tied_embeddings", "chat_template", "eos_token", "state", "expand", "low_rank"}},
      {"training",
       {"seed", "tokens", "batch_tokens", "pass_tokens", "context", "warm_up", "report_steps", "checkpoint_steps",
        "learning_rate", "muon_rate", "weight_decay", "clip_norm", "final_fraction", "schedule", "compute",
        "snapshots"}}};
  for (const auto& [key, value] : json.items()) {
    if (key != "model" && key != "training" && key != "text" && key != "kind" && key != "description") {
      fail_usage("recipe", fmt::format("unknown key '{}' ({})", key, label));
    }
  }
  for (const auto& [table, keys] : known) {
    if (!json.contains(table) || !json[table].is_object()) {
      fail_usage("recipe", fmt::format("no table [{}] ({})", table, label));
    }
    for (const auto& [key, value] : json[table].items()) {
      if (!keys.contains(key)) fail_usage("recipe", fmt::format("unknown key '{}.{}' ({})", table, key, label));
    }
  }
  if (!json.contains("text") || !json["text"].is_array()) {
    fail_usage("recipe", fmt::format("no [[text]] table ({})", label));
  }
  check_text_tables(json["text"], label);
}

PretrainRecipe read_pretrain_recipe(const fs::path& path) {
  PretrainRecipe recipe{read_toml(path), path};
  check_pretrain_recipe(recipe.json, path.string());
  return recipe;
}

std::string PretrainProgress::note() const {
  return fmt::format("loss {:.3f} | {:.0f} tokens/s | {:.0f}% of products", loss, tokens_per_second,
                     100 * product_share);
}

int64_t steps_of(const PretrainRecipe& recipe) {
  return read_settings(recipe.json, recipe.path.string(), -1).steps();
}

PretrainResult pretrain(const PretrainRecipe& recipe, const fs::path& folder, int64_t seed_override,
                        const std::function<void(const std::string&)>& say,
                        const std::function<void(const PretrainProgress&)>& stepped) {
  using Clock = std::chrono::steady_clock;
  const std::string label = recipe.path.string();
  const fs::path base = recipe.path.parent_path();
  const Settings s = read_settings(recipe.json, label, seed_override);
  const Json& table = recipe.json.at("model");

  const bool continued = table.contains("start_from");
  const fs::path start_from = continued ? base / json_get<std::string>(table, "start_from", label) : fs::path();
  const fs::path tokenizer_folder = continued ? start_from : base / json_get<std::string>(table, "tokenizer", label);
  Model model = continued ? load_model(start_from)
                          : create_model(config_of_recipe(table, Tokenizer::open(tokenizer_folder), label),
                                         static_cast<uint64_t>(s.seed));
  Json settings = recipe.json;
  settings["training"]["seed"] = s.seed;
  settings["training"].erase("snapshots");  // they change no weight
  std::vector<RunInput> inputs{{"tokenizer", tokenizer_folder / "tokenizer.json"}};
  if (continued) inputs.push_back({"start_from", start_from});
  for (RunInput& input : text_inputs(recipe.json.at("text"), base)) inputs.push_back(std::move(input));
  RunRecord record(folder, "pretrain", settings, inputs);
  PretrainResult result;
  if (record.state() == StepState::complete) {
    check_snapshots(s, folder, s.steps());
    say(fmt::format("{} is complete; nothing to do", folder.string()));
    return result;
  }

  if (first_process()) write_tokenizer(tokenizer_folder, folder, table);
  wait_for_processes();
  const Tokenizer tokenizer = Tokenizer::open(folder);
  Mixture mixture(recipe.json.at("text"), tokenizer, s.context, base, static_cast<uint64_t>(s.seed));
  require_gradients(model, true);
  Optimizer optimizer(trainables_of(model, s), {0.9, 0.95, 1e-8, 0.95, s.clip_norm});
  const int64_t steps = s.steps();
  const Schedule schedule{parse_schedule(s.schedule), s.warm_up, steps, s.final_fraction};
  const at::ScalarType compute = choose_compute(s.compute);
  const double rate = matrix_product_rate(compute);
  const auto held_out = mixture.held_out(24);

  say(fmt::format("model       {}, {:.2f} million parameters{}", model.config.family,
                  static_cast<double>(model.config.parameter_count()) / 1e6,
                  continued ? ", continued from " + start_from.string() : ""));
  for (const std::string& line : mixture.describe()) say("text        " + line);
  const int processes = current_world().size;
  say(fmt::format("steps       {} of {} tokens, seed {}, {}{} threads, products in {} ({:.0f} GFLOP/s measured)", steps,
                  s.batch_tokens, s.seed, processes > 1 ? fmt::format("{} processes of ", processes) : "",
                  at::get_num_threads(), dtype_name(compute), rate / 1e9));

  const fs::path checkpoint = folder / "checkpoint" / "state.safetensors";
  int64_t step = 0;
  double smooth = 0;
  if (record.state() == StepState::resume && fs::exists(checkpoint)) {
    const TrainingState state = load_training_state(checkpoint);
    state.copy_into(weights_of(model), "");
    NamedTensors moments;
    for (const auto& [name, tensor] : state.tensors) {
      if (!name.starts_with("weight.")) moments.emplace_back(name, tensor);
    }
    step = json_get<int64_t>(state.state, "step", checkpoint.string());
    result.tokens = json_get<int64_t>(state.state, "tokens", checkpoint.string());
    smooth = json_get_or<double>(state.state, "loss", 0, checkpoint.string());
    optimizer.restore(step, moments);
    mixture.restore(state.state.at("mixture"));
    say(fmt::format("resumed     at step {}", step));
  }
  check_same_step(step, checkpoint);
  if (first_process()) check_snapshots(s, folder, step);
  const auto save = [&] {
    NamedTensors tensors = weights_of(model);
    for (auto& each : optimizer.state()) tensors.push_back(each);
    save_training_state(checkpoint, tensors,
                        {{"step", step}, {"tokens", result.tokens}, {"loss", smooth}, {"mixture", mixture.state()}});
  };

  std::ofstream log;
  if (first_process()) log.open(folder / "log.jsonl", std::ios::app);
  std::optional<Progress> progress;
  if (!stepped) progress.emplace("pretrain", steps, "step").set(step);
  const auto start = Clock::now();
  int64_t tokens_here = 0;
  while (step < steps) {
    const std::vector<Document> documents = mixture.next(s.batch_tokens);
    double weight = 0;
    for (const Document& document : documents) {
      for (float each : document.weights) weight += each;
      tokens_here += std::ssize(document.tokens);
      result.tokens += std::ssize(document.tokens);
    }
    double loss = 0;
    for (const std::vector<Document>& group : group_by_tokens(share_of(documents), s.pass_tokens)) {
      const PackedTargets packed = pack_targets(group);
      ForwardOptions options;
      options.compute = compute;
      at::Tensor part = packed_loss(model, packed, weight, options);
      part.backward();
      loss += part.item<double>();
    }
    loss = sum_over_processes(loss);
    const double norm = optimizer.step(schedule.at(step));
    if (!std::isfinite(loss) || !std::isfinite(norm)) {
      fail("pretrain", fmt::format("the loss is {} and the gradient norm {} at step {}", loss, norm, step),
           "lower learning_rate or muon_rate; the last checkpoint is kept");
    }
    ++step;
    smooth = smooth == 0 ? loss : 0.95 * smooth + 0.05 * loss;
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    result.tokens_per_second = static_cast<double>(tokens_here) / seconds;
    result.product_share = result.tokens_per_second * operations_per_token(model) / (rate * processes);
    const PretrainProgress now{step, steps, smooth, result.tokens_per_second, result.product_share};
    if (stepped) stepped(now);
    if (progress) {
      progress->note(now.note());
      progress->advance();
    }
    if (first_process() && (step % s.report_steps == 0 || step == steps)) {
      Json line{{"step", step},
                {"tokens", result.tokens},
                {"loss", smooth},
                {"gradient_norm", norm},
                {"tokens_per_second", result.tokens_per_second},
                {"product_share", result.product_share}};
      for (const auto& [name, set] : held_out) line["held_out"][name] = mean_loss(model, set, compute);
      log << line.dump() << std::endl;
    }
    if (s.snapshots.contains(step) && first_process()) {
      const fs::path snapshot = snapshot_folder(folder, step);
      fs::create_directories(snapshot);
      write_tokenizer(tokenizer_folder, snapshot, table);
      model.config.eos_token = tokenizer.eos();
      save_model(model, snapshot, at::kBFloat16);
    }
    const bool stop = interrupted_together();
    if (step % s.checkpoint_steps == 0 || stop) save();
    if (stop) check_interrupt("pretrain");
  }
  if (progress) progress->finish();
  result.steps = steps;
  result.loss = smooth;
  if (!first_process()) return result;

  model.config.eos_token = tokenizer.eos();
  save_model(model, folder, at::kBFloat16);
  Json final_losses;
  for (const auto& [name, set] : held_out) final_losses[name] = mean_loss(model, set, compute);
  record.add("result", {{"steps", steps},
                        {"tokens", result.tokens},
                        {"training_loss", smooth},
                        {"held_out_loss", final_losses},
                        {"tokens_per_second", result.tokens_per_second},
                        {"share_of_matrix_product_rate", result.product_share}});
  record.complete();
  fs::remove_all(folder / "checkpoint");
  return result;
}

}  // namespace introspect
