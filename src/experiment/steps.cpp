#include "experiment/steps.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/progress.h"
#include "model/model.h"
#include "train/corpus.h"

#include <chrono>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void patching_dataset(const Recipe& recipe, const fs::path& folder) {
  RunRecord record(folder, "dataset patching", patching_settings_to_json(recipe.patching),
                   {{"target", recipe.target}, {"records", recipe.records}});
  if (record.state() == StepState::complete) return;
  const Model model = load_model(recipe.target);
  const Tokenizer tokenizer = Tokenizer::open(recipe.target);
  Dataset dataset = make_patching_dataset(model, tokenizer, read_facts(recipe.records), recipe.patching, folder);
  if (!first_process()) return;
  dataset.info["target"] = recipe.target_name;
  save_dataset(dataset, folder);
  record.add("target_accuracy", dataset.info.at("target_accuracy").at("share"));
  record.complete();
}

void ablation_dataset(const Recipe& recipe, const fs::path& folder) {
  Json settings = ablation_settings_to_json(recipe.ablation);
  settings["questions"] = {{"choices", recipe.questions.choices}, {"seed", recipe.questions.seed}};
  RunRecord record(folder, "dataset ablation", settings, {{"target", recipe.target}, {"questions", recipe.records}});
  if (record.state() == StepState::complete) return;
  DropReport dropped;
  const std::vector<ChoiceQuestion> questions = read_questions(recipe.records, recipe.questions, dropped);
  const Model model = load_model(recipe.target);
  const Tokenizer tokenizer = Tokenizer::open(recipe.target);
  Dataset dataset = make_ablation_dataset(model, tokenizer, questions, recipe.ablation, folder, dropped);
  if (!first_process()) return;
  dataset.info["target"] = recipe.target_name;
  save_dataset(dataset, folder);
  record.add("target_accuracy", dataset.info.at("target_accuracy").at("share"));
  record.add("gate", dataset.info.at("gate"));
  record.complete();
}

}  // namespace

void make_dataset_step(const Recipe& recipe, const fs::path& folder) {
  recipe.kind == "ablation" ? ablation_dataset(recipe, folder) : patching_dataset(recipe, folder);
}

std::vector<ProjectionQuality> project_step(const fs::path& target, const fs::path& explainer,
                                            const std::vector<int64_t>& layers, const PairedSettings& settings,
                                            const fs::path& folder) {
  Json resolved = paired_to_json(settings);
  resolved["layers"] = layers;
  std::vector<RunInput> inputs{{"target", target}, {"explainer", explainer}};
  for (RunInput& input : text_inputs(settings.text, settings.base)) inputs.push_back(std::move(input));
  RunRecord record(folder, "project", resolved, inputs);
  std::vector<ProjectionQuality> qualities;
  if (record.state() != StepState::complete) {
    const Model from = load_model(target), to = load_model(explainer);
    const Tokenizer from_tokenizer = Tokenizer::open(target), to_tokenizer = Tokenizer::open(explainer);
    Progress progress("project", settings.tokens, "tokens");
    const auto fitted = fit_projections({from, from_tokenizer}, {to, to_tokenizer}, layers, settings,
                                        [&](int64_t done) { progress.set(done); });
    progress.finish();
    Projections projections;
    Json list = Json::array();
    for (const FittedProjection& each : fitted) {
      projections[each.target_layer] = each.map;
      list.push_back(quality_to_json(each));
    }
    save_projections(projections, folder / "projections.safetensors");
    record.add("projections", list);
    record.complete();
  }
  const std::string label = (folder / "run.json").string();
  for (const Json& each : record.result("projections")) {
    qualities.push_back(parse_quality(each, label));
  }
  return qualities;
}

std::vector<Score> evaluate_step(const Dataset& dataset, const std::vector<Row>& rows, const Json& settings,
                                 const std::vector<RunInput>& inputs, const fs::path& folder,
                                 const FeatureScorer* features) {
  RunRecord record(folder, "evaluate", settings, inputs, /*overwrite=*/true);
  if (record.state() != StepState::complete) {
    ScoreOptions options;
    options.features = features;
    save_scores(score_rows(dataset, rows, options), folder / "scores.json");
    save_comparisons(compare_rows(dataset, rows, options), folder / "comparisons.json");
    record.complete();
  }
  return load_scores(folder / "scores.json");
}

void answer_step(const AnswerJob& job, const fs::path& dataset_folder, const fs::path& folder) {
  const AnswerOptions& o = job.options;
  Json settings{{"vectors", condition_name(o.vectors)},
                {"seed", o.seed},
                {"template", o.template_index},
                {"max_new_tokens", o.max_new_tokens},
                {"demonstrations", o.demonstrations},
                {"limit", o.limit},
                {"compute", o.compute}};
  if (o.layers != LayerCondition::real) settings["layers"] = condition_name(o.layers);
  if (job.untrained) settings["explainer"] = explainer_config_to_json(*job.untrained);
  if (job.simulation) settings["simulation"] = simulation_name(*job.simulation);
  std::vector<RunInput> inputs{{"explainer", job.model}, {"dataset", dataset_folder}};
  const fs::path map = job.map / "projections.safetensors";
  if (!job.map.empty()) inputs.push_back({"map", map});
  RunRecord record(folder, "answer", settings, inputs);
  if (record.state() == StepState::complete) return;
  const Dataset dataset = load_dataset(dataset_folder);
  Explainer explainer = job.untrained ? open_base(job.model, *job.untrained) : open_explainer(job.model);
  explainer.ask_about(dataset.task);
  if (!job.map.empty()) {
    InjectionConfig& injection = explainer.config.injection;
    if (injection.projection != ProjectionKind::none) {
      fail("answer", "a map for an explainer that has projections of its own");
    }
    injection.projection = ProjectionKind::least_squares;
    explainer.projections = load_projections(map);
  }
  const auto start = std::chrono::steady_clock::now();
  const auto complete = [&] {  // how long the answers took, without opening the model
    record.add("answering_seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    record.complete();
  };
  if (job.simulation) {
    save_answers(simulate_ablation(explainer.model, explainer.tokenizer, dataset, *job.simulation, o.split, o.limit),
                 folder / "answers.jsonl");
    complete();
    return;
  }
  int64_t used = 0;
  save_answers(answer_questions(explainer, dataset, o, {}, &used), folder / "answers.jsonl");
  if (o.demonstrations > 0) record.add("demonstrations_used", used);
  complete();
}

}  // namespace introspect
