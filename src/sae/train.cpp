#include "sae/train.h"

#include "base/error.h"
#include "base/progress.h"
#include "base/run_record.h"
#include "sae/saved_sae.h"
#include "sae/states.h"
#include "sae/train_settings.h"
#include "train/rate.h"

#include <chrono>
#include <fstream>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

namespace introspect {

namespace {

using HeldOut = std::vector<std::pair<std::string, std::vector<Document>>>;

struct Run {
  SaeTrainSettings settings;
  Model model;
  Tokenizer tokenizer;
  HeldOut held_out;
  StateSettings states;
  std::vector<SaeLearner> learners;
};

std::vector<SaeLearner> make_learners(const SaeTrainSettings& s, int64_t width) {
  std::vector<SaeLearner> learners;
  for (int64_t layer : s.layers) {
    LearnerSettings settings = s.learner;
    settings.place = {PlaceKind::resid_post, layer};
    settings.seed = static_cast<uint64_t>(s.seed);
    settings.loss.compute = choose_compute(s.compute);
    learners.emplace_back(settings, width);
  }
  return learners;
}

std::vector<Document> all_documents(const HeldOut& held_out) {
  std::vector<Document> all;
  for (const auto& [name, documents] : held_out) all.insert(all.end(), documents.begin(), documents.end());
  return all;
}

std::vector<std::vector<int64_t>> tokens_of(const std::vector<Document>& documents) {
  std::vector<std::vector<int64_t>> tokens;
  for (const Document& document : documents) tokens.push_back(document.tokens);
  return tokens;
}

std::string layer_name(const SaeLearner& learner) {
  return fmt::format("layer-{}", learner.settings().place.layer);
}

Json quality_line(const SaeLearner& learner, const at::Tensor& held_out, double training_loss) {
  const Sae sae = learner.sae();
  SaeQuality quality(sae);
  quality.add(sae, held_out);
  return {{"training_loss", training_loss},
          {"explained_variance", quality.explained_variance()},
          {"l0", quality.l0()},
          {"dead_share", learner.dead_share()}};
}

// The trained SAEs measured on the held-out text as they are stored, and saved.
void finish(Run& run, const StateStream& stream, RunRecord& record, SaeTrainResult& result) {
  const SaeTrainSettings& s = run.settings;
  Json reports = Json::object();
  int64_t tokens = 0;
  for (const Document& document : all_documents(run.held_out)) tokens += std::ssize(document.tokens);
  Progress progress("measure", tokens * std::ssize(run.learners), "token");
  const auto done = [&](int64_t more) {
    progress.advance(more);
    check_interrupt("sae train");
  };
  for (const SaeLearner& learner : run.learners) {
    Sae sae = learner.sae();
    sae.model = s.target_name;
    for (at::Tensor* tensor : {&sae.encoder, &sae.encoder_bias, &sae.decoder, &sae.decoder_bias, &sae.threshold}) {
      if (tensor->defined()) *tensor = tensor->to(s.save_as).to(at::kFloat);
    }
    TrainedSae trained;
    trained.layer = sae.place.layer;
    trained.dead_share = learner.dead_share();
    SaeMeasured all{SaeQuality(sae)};
    Json& report = reports[layer_name(learner)];
    for (const auto& [name, documents] : run.held_out) {
      const SaeMeasured measured = measure_sae(run.model, sae, tokens_of(documents), run.states.special, done);
      report[name] = report_to_json(measured.report());
      all.add(measured);
    }
    trained.report = all.report();
    report["all text"] = report_to_json(trained.report);
    report["dead_share_in_training"] = trained.dead_share;
    save_sae(sae, record.folder() / layer_name(learner), s.save_as,
             {{"context_size", s.context},
              {"training_tokens", learner.positions()},
              {"seed", s.seed},
              {"held_out", report_to_json(trained.report)}});
    result.saes.push_back(trained);
  }
  progress.finish();
  record.add("result", {{"steps", result.steps},
                        {"positions", result.positions},
                        {"tokens_run", stream.tokens()},
                        {"tokens_left_out", stream.left_out()},
                        {"positions_per_second", result.positions_per_second},
                        {"saes", reports}});
}

}  // namespace

SaeTrainResult train_saes(const SaeRecipe& recipe, const fs::path& folder,
                          const std::function<void(const std::string&)>& say) {
  using Clock = std::chrono::steady_clock;
  SaeTrainSettings s = parse_sae_settings(recipe.json, recipe.path);
  const fs::path base = recipe.path.parent_path();
  std::vector<RunInput> inputs{{"target", s.target}};
  for (RunInput& input : text_inputs(recipe.json.at("text"), base)) inputs.push_back(std::move(input));
  Json settings = recipe.json;
  settings["training"]["seed"] = s.seed;
  settings["target"] = {{"name", s.target_name}};  // where it lies does not matter
  RunRecord record(folder, "sae train", settings, inputs);
  SaeTrainResult result;
  if (record.state() == StepState::complete) {
    say(fmt::format("{} is complete; nothing to do", folder.string()));
    return result;
  }

  Run run{s, load_model(s.target), Tokenizer::open(s.target), {}, {}, {}};
  const ModelConfig& config = run.model.config;
  for (int64_t layer : s.layers) {
    if (layer < 0 || layer >= config.layers) {
      fail_usage("sae", fmt::format("sae.layers: got {}, the target has layers 0 to {} ({})", layer, config.layers - 1,
                                    recipe.path.string()));
    }
  }
  run.learners = make_learners(s, config.d_model);
  for (const SaeLearner& learner : run.learners) run.states.places.push_back(learner.settings().place);
  run.states.special = special_tokens(run.tokenizer);
  run.states.pass_tokens = s.pass_tokens;
  run.states.compute = choose_compute(s.compute);
  Mixture mixture(recipe.json.at("text"), run.tokenizer, s.context, base, static_cast<uint64_t>(s.seed));
  run.held_out = mixture.held_out(static_cast<size_t>(s.held_out));
  const std::vector<at::Tensor> held_out_states = states_of(run.model, all_documents(run.held_out), run.states);
  const int64_t steps = s.steps();
  int64_t step = 0;
  Progress progress("sae train", steps, "step");
  std::function<void()> save;  // empty until the first block is read: until then there is nothing to save
  // a block of a large model takes minutes
  const auto ran = [&](int64_t tokens, int64_t of) {
    progress.note(fmt::format("the model reads: {} of {} tokens of a block", tokens, of));
    progress.set(step);
    if (!interrupted() || !save) return;
    save();
    check_interrupt("sae train");
  };
  const int64_t block = std::min(s.block_tokens, std::max(steps, int64_t{2}) * s.batch);  // no more than is learnt from
  StateStream stream(run.model, mixture, run.states, block, static_cast<uint64_t>(s.seed), ran);

  say(fmt::format("target      {} ({}, {} layers, d_model {})", s.target_name, s.target.string(), config.layers,
                  config.d_model));
  say(fmt::format(
      "SAE         {}, {} latents, {} {:g} active a position, layers {}", sae_kind_name(s.learner.loss.kind),
      s.learner.latents, s.learner.loss.kind == SaeKind::topk ? "at most" : "about",
      s.learner.loss.kind == SaeKind::topk ? static_cast<double>(s.learner.loss.k) : s.learner.loss.l0_target,
      fmt::join(s.layers, ", ")));
  for (const std::string& line : mixture.describe()) say("text        " + line);
  say(fmt::format("held out    {} positions; special tokens and the first of each document never count",
                  held_out_states.front().size(0)));
  say(fmt::format("steps       {} of {} positions, seed {}, {} threads, products in {}", steps, s.batch, s.seed,
                  at::get_num_threads(), dtype_name(run.states.compute)));

  const fs::path checkpoint = folder / "checkpoint" / "state.safetensors";
  std::vector<double> smooth(run.learners.size(), 0);
  if (record.state() == StepState::resume && fs::exists(checkpoint)) {
    const TrainingState state = load_training_state(checkpoint);
    step = json_get<int64_t>(state.state, "step", checkpoint.string());
    smooth = json_get<std::vector<double>>(state.state, "loss", checkpoint.string());
    stream.restore(state.state.at("stream"));
    for (size_t i = 0; i < run.learners.size(); ++i) {
      run.learners[i].restore(state, state.state.at("learners").at(i));
    }
    say(fmt::format("resumed     at step {}", step));
  } else {
    for (size_t i = 0; i < run.learners.size(); ++i) run.learners[i].begin(stream.block()[i]);
  }
  save = [&] {
    NamedTensors tensors;
    Json learners = Json::array();
    for (const SaeLearner& learner : run.learners) {
      for (auto& each : learner.tensors()) tensors.push_back(each);
      learners.push_back(learner.state());
    }
    save_training_state(checkpoint, tensors,
                        {{"step", step}, {"loss", smooth}, {"stream", stream.state()}, {"learners", learners}});
  };

  std::ofstream log(folder / "log.jsonl", std::ios::app);
  progress.set(step);
  const auto start = Clock::now();
  const int64_t first = step;
  while (step < steps) {
    const std::vector<at::Tensor> batch = stream.next(s.batch);
    std::string note;
    for (size_t i = 0; i < run.learners.size(); ++i) {
      const SaeLoss loss = run.learners[i].step(batch[i], s.rate(step));
      smooth[i] = smooth[i] == 0 ? loss.reconstruction : 0.98 * smooth[i] + 0.02 * loss.reconstruction;
      note += fmt::format("layer {} unexplained {:.3f} L0 {:.1f} dead {:.1f}% | ", s.layers[i], smooth[i], loss.l0,
                          100 * run.learners[i].dead_share());
    }
    ++step;
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    result.positions_per_second = static_cast<double>((step - first) * s.batch) / seconds;
    progress.note(note + fmt::format("{:.0f} positions/s", result.positions_per_second));
    progress.advance();
    if (step % s.report_steps == 0 || step == steps) {
      Json line{{"step", step},
                {"positions", step * s.batch},
                {"learning_rate", s.learner.learning_rate * s.rate(step - 1)},
                {"positions_per_second", result.positions_per_second}};
      for (size_t i = 0; i < run.learners.size(); ++i) {
        line[layer_name(run.learners[i])] = quality_line(run.learners[i], held_out_states[i], smooth[i]);
      }
      log << line.dump() << std::endl;
    }
    if (step % s.checkpoint_steps == 0 || interrupted()) save();
    check_interrupt("sae train");
  }
  progress.finish();
  result.steps = steps;
  result.positions = steps * s.batch;
  if (!fs::exists(checkpoint) || step > first) save();  // measuring takes a while too
  finish(run, stream, record, result);
  record.complete();
  fs::remove_all(folder / "checkpoint");
  return result;
}

}  // namespace introspect
