#include "experiment/own_labels.h"

#include "base/json.h"
#include "evaluate/scores.h"
#include "experiment/answer_jobs.h"
#include "experiment/steps.h"
#include "explainer/explainer.h"
#include "explainer/simulation.h"
#include "report/row_names.h"
#include "report/table.h"
#include "report/words.h"

#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

void add_drift(const TrainJob& job, NamedTable& table) {
  const fs::path file = job.folder / "run.json";
  const std::vector<Json> drift = read_json(file).at("results").at("drift").get<std::vector<Json>>();
  for (size_t i = 0; i < drift.size(); ++i) {
    const Drift each = parse_drift(drift[i], file.string());
    table.lines.push_back({row_name(job.name, job.condition, "ablation").label +
                               (job.training.self_consistency->relabel ? "" : ", labels fixed"),
                           i + 1 == drift.size() ? fmt::format("{} (kept)", each.step) : std::to_string(each.step),
                           percent(each.labels_changed), percent(each.right_without), percent(each.wrong_followed),
                           fmt::format("{:.3f}", each.kl),
                           fmt::format("{}, {} with a wrong hint", each.prompts, each.wrong)});
  }
}

}  // namespace

Dataset with_answers_of(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset) {
  std::vector<const Example*> all;
  for (const Example& example : dataset.examples) all.push_back(&example);
  const std::vector<OwnAnswers> own = own_answers(model, tokenizer, dataset, all);
  Dataset moved = dataset;
  moved.info["not_asked"] = Json::array();
  for (size_t i = 0; i < all.size(); ++i) {
    moved.examples[i] = with_own_answers(*all[i], own[i]);
    if (!own[i].asked) moved.info["not_asked"].push_back(all[i]->id);
  }
  return moved;
}

Dataset own_labels(const fs::path& explainer, const Dataset& dataset) {
  const Explainer model = open_explainer(explainer);
  Dataset test = dataset;
  std::erase_if(test.examples, [](const Example& example) { return example.split != Split::test; });
  return with_answers_of(model.model, model.tokenizer, test);
}

std::vector<NamedTable> self_consistency_tables(const std::vector<TrainJob>& jobs, const Dataset& scored,
                                                const fs::path& dataset_folder, const fs::path& out) {
  NamedTable drift{"How far an explainer moves while it learns",
                   {"trained", "step", "labels that are others now", "right without the hint", "wrong hints followed",
                    "KL from the start, nats", "prompts"},
                   {}};
  NamedTable truth{"Right about what it was, and about what it has become",
                   {"trained", "metric", "labels of the start", "n", "its own labels now", "n", "labels that differ"},
                   {}};
  std::set<std::pair<std::string, std::string>> seen;
  for (const TrainJob& job : jobs) {
    const auto& watched = job.training.self_consistency;
    if (!watched || (!watched->relabel && job.condition != "trained")) continue;
    if (!seen.emplace(job.name, job.condition).second) continue;
    add_drift(job, drift);
    const AnswerJob asked{job.name, job.condition, job.seed, job.folder, {}, {}, {}};
    const std::vector<Row> row = {
        {job.name, job.condition, {load_answers(answer_folder(out, asked) / "answers.jsonl")}}};
    const std::vector<RunInput> inputs = {
        {"dataset", dataset_folder}, {"explainer", job.folder}, {"answers", answer_folder(out, asked)}};
    const Dataset moved = own_labels(job.folder, scored);
    const fs::path folder = out / "own_labels" / answer_folder(out, asked).filename();
    const std::vector<Score> was = evaluate_step(scored, row, {{"labels", "start"}}, inputs, folder / "start"),
                             is = evaluate_step(moved, row, {{"labels", "own"}}, inputs, folder / "own");
    int64_t differ = 0;
    const std::vector<const Example*> test = scored.of(Split::test);
    for (size_t i = 0; i < test.size(); ++i) differ += test[i]->answer != moved.examples[i].answer;
    const size_t not_asked = moved.info.at("not_asked").size();
    for (const char* metric : {"content_on_changed", "content_on_unchanged", "has_changed_f1", "exact_match"}) {
      const Score *old = find_score(was, job.name, job.condition, metric),
                  *now = find_score(is, job.name, job.condition, metric);
      if (!old || !now) continue;
      truth.lines.push_back({row_name(job.name, job.condition, "ablation").label, metric_label(metric),
                             score_shown(old), std::to_string(old->n), score_shown(now), std::to_string(now->n),
                             fmt::format("{} of {}{}", differ, test.size(),
                                         not_asked > 0 ? fmt::format(", {} not asked", not_asked) : std::string())});
    }
  }
  if (drift.lines.empty()) return {};
  return {drift, truth};
}

}  // namespace introspect
