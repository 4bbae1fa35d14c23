#include "experiment/where_from.h"

#include "base/error.h"
#include "base/random.h"
#include "base/run_record.h"
#include "evaluate/feature_floors.h"
#include "evaluate/floors.h"
#include "experiment/feature_steps.h"
#include "feature/state_vectors.h"
#include "report/words.h"
#include "sae/saved_sae.h"
#include "train/corpus.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <tuple>
#include <unordered_map>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr const char* kCondition = "where_from";
constexpr std::string_view kOpen = "<<<", kBetween = ">>> at layer ";

// Tokens that an answer can hold: whole characters on one line, and none of the brackets around them.
bool can_be_said(const std::string& token) {
  return !token.empty() && token.find('\n') == std::string::npos && token.find("\xef\xbf\xbd") == std::string::npos &&
         token.find('<') == std::string::npos && token.find('>') == std::string::npos;
}

// States of pieces of text that are in one split alone.
Dataset make_states(const FoundIn& run, int64_t& left_out) {
  const WhereFromSettings& settings = *run.recipe.where_from;
  const Model model = load_model(run.recipe.target);
  const Tokenizer tokenizer = Tokenizer::open(run.recipe.target);
  std::vector<int64_t> layers;
  for (const Sae& sae : load_saes(run.recipe.features.saes)) layers.push_back(sae.place.layer);
  const at::Tensor pieces = pool_of_pieces(run.recipe, tokenizer, std::max<int64_t>(40, settings.states / 4), 78);
  const int64_t count = pieces.size(0);
  if (count < 10) fail("where_from", fmt::format("got {} pieces of text, expected at least 10", count));
  Dataset dataset;
  dataset.task = "features";
  dataset.info["target"] = run.recipe.target_name;
  std::vector<at::Tensor> vectors;
  left_out = 0;
  for (const auto& [split, begin, end] : {std::tuple{Split::train, int64_t{0}, count * 8 / 10},
                                          std::tuple{Split::validation, count * 8 / 10, count * 9 / 10},
                                          std::tuple{Split::test, count * 9 / 10, count}}) {
    for (const StateVector& state : random_states(model, tokenizer, pieces.slice(0, begin, end), layers,
                                                  settings.states * (end - begin) / count, settings.seed)) {
      if (!can_be_said(state.token)) {
        ++left_out;
        continue;
      }
      Example example;
      example.id = fmt::format("state-{:06}", dataset.examples.size());
      example.split = split;
      example.cluster = fmt::format("piece-{}", begin + state.piece);
      example.layers = {state.layer};
      example.vector = std::ssize(vectors);
      example.answer = where_from_words({state.token, state.layer});
      example.attributes = {{"layer", std::to_string(state.layer)}, {"from", state.from}};
      vectors.push_back(state.vector);
      dataset.examples.push_back(std::move(example));
    }
  }
  dataset.vectors = at::stack(vectors);
  return dataset;
}

Dataset states_step(const FoundIn& run, const fs::path& folder, int64_t& left_out) {
  const WhereFromSettings& settings = *run.recipe.where_from;
  std::vector<RunInput> inputs{{"target", run.recipe.target}, {"saes", run.recipe.features.saes}};
  for (RunInput& input : text_inputs(run.recipe.features.text, run.recipe.path.parent_path())) {
    inputs.push_back(std::move(input));
  }
  RunRecord record(folder, "dataset where_from",
                   {{"states", settings.states},
                    {"seed", settings.seed},
                    {"text", run.recipe.features.text},
                    {"length", run.recipe.features.contexts.length}},
                   inputs);
  if (record.state() != StepState::complete) {
    save_dataset(make_states(run, left_out), folder);
    record.add("left_out", left_out);
    record.complete();
  }
  left_out = record.result("left_out").get<int64_t>();
  return load_dataset(folder);
}

std::vector<TrainJob> jobs_of(const FoundIn& run, const fs::path& out) {
  const WhereFromSettings& settings = *run.recipe.where_from;
  std::vector<int64_t> seeds = settings.seeds;
  if (seeds.empty()) seeds = {run.recipe.evaluate.seeds.front()};
  Variant variant;
  variant.condition = kCondition;
  variant.changes = settings.changes;
  std::vector<TrainJob> jobs;
  for (const int64_t seed : seeds) {
    for (const ExplainerEntry& entry : run.recipe.explainers) {
      if (std::find(settings.explainers.begin(), settings.explainers.end(), entry.name) == settings.explainers.end())
        continue;
      const Json chosen = chosen_changes(run.recipe, run.result.trials, entry.name);
      jobs.push_back({entry.name, kCondition, seed, entry.model,
                      out / "explainers" / fmt::format("{}-seed{}", entry.name, seed),
                      training_of(run.recipe, entry, variant, chosen)});
      jobs.back().training.seed = static_cast<uint64_t>(seed);
    }
  }
  return jobs;
}

// Every explainer's answers, self's with other vectors, and what needs no explainer.
std::vector<std::pair<std::string, Row>> rows_of(const FoundIn& run, const Dataset& dataset,
                                                 const std::vector<TrainJob>& jobs, const fs::path& out) {
  std::vector<AnswerJob> asked;
  for (const TrainJob& job : jobs) {
    asked.push_back(answer_job(run.recipe, job));
    asked.back().options.limit = 0;
    if (job.name != jobs.front().name) continue;
    for (const auto& [condition, vectors] :
         {std::pair{"zero_vector", VectorCondition::zero}, std::pair{"shuffled_vector", VectorCondition::shuffled}}) {
      asked.push_back(answer_job(run.recipe, job));
      asked.back().condition = condition;
      asked.back().options.vectors = vectors;
      asked.back().options.limit = 0;
    }
  }
  answer_side_by_side(asked, out / "dataset", out, run.workers);
  std::vector<std::pair<std::string, Row>> rows;
  for (const AnswerJob& job : asked) {
    std::string label =
        job.condition == kCondition ? run.label(job.explainer, "trained") : run.label(job.explainer, job.condition);
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& each) { return each.first == label; });
    std::vector<Answer> answers = load_answers(answer_folder(out, job) / "answers.jsonl");
    if (found != rows.end()) {
      found->second.seeds.push_back(std::move(answers));
    } else {
      rows.push_back({std::move(label), {job.explainer, job.condition, {std::move(answers)}}});
    }
  }
  rows.push_back({"nearest train state", {"none", "", {nearest_neighbour(dataset, dataset.of(Split::train), false)}}});
  rows.push_back({"most frequent answer", {"none", "", {most_frequent_floor(dataset)}}});
  return rows;
}

std::string shown(const std::vector<Counts>& counts) {
  const Estimate found = estimate(counts, {})[static_cast<size_t>(Metric::exact_match)];
  return percent_shown(found.value, found.low, found.high);
}

}  // namespace

std::string where_from_words(const WhereFrom& from) {
  return fmt::format("{}{}{}{}", kOpen, from.token, kBetween, from.layer);
}

std::optional<WhereFrom> parse_where_from(const std::string& text) {
  const size_t open = text.find(kOpen), close = text.rfind(kBetween);
  if (open == std::string::npos || close == std::string::npos || close < open + kOpen.size()) return std::nullopt;
  WhereFrom from{text.substr(open + kOpen.size(), close - open - kOpen.size()), 0};
  const char *first = text.data() + close + kBetween.size(), *last = text.data() + text.size();
  const auto read = std::from_chars(first, last, from.layer);
  const bool ends = read.ptr == last || (*read.ptr == '.' && read.ptr + 1 == last);
  if (read.ec != std::errc() || !ends || from.layer < 0) return std::nullopt;
  return from;
}

WhereFromCounts count_where_from(const Dataset& dataset, const Row& row) {
  std::unordered_map<std::string, size_t> clusters;
  std::unordered_map<std::string, const Example*> by_id;
  for (const Example* example : dataset.of(Split::test)) {
    clusters.emplace(example->cluster, clusters.size());
    by_id[example->id] = example;
  }
  WhereFromCounts counts;
  for (std::vector<Counts>* each : {&counts.token, &counts.layer, &counts.both}) each->resize(clusters.size());
  const double weight = 1.0 / static_cast<double>(row.seeds.size());
  for (const std::vector<Answer>& answers : row.seeds) {
    for (const Answer& answer : answers) {
      const auto found = by_id.find(answer.id);
      if (found == by_id.end()) fail("where_from", fmt::format("an answer to '{}', which was not asked", answer.id));
      const std::optional<WhereFrom> said = parse_where_from(answer.text),
                                     truth = parse_where_from(found->second->answer);
      counts.unparsable += !said;
      const bool token = said && said->token == truth->token, layer = said && said->layer == truth->layer;
      const size_t cluster = clusters.at(found->second->cluster);
      for (const auto& [sums, right] : {std::pair{&counts.token, token}, std::pair{&counts.layer, layer},
                                        std::pair{&counts.both, token && layer}}) {
        ItemScore score;
        score.parsed = said.has_value();
        score.exact = right;
        Counts item = count_item(score);
        (*sums)[cluster] += item *= weight;
      }
    }
  }
  return counts;
}

std::vector<Finding> where_from_findings(const FoundIn& run) {
  if (!run.recipe.where_from) return {};
  run.say("  explainers that learn to say what a state was taken from");
  const fs::path out = run.out / "where_from";
  int64_t left_out = 0;
  const Dataset dataset = states_step(run, out / "dataset", left_out);
  const std::vector<TrainJob> jobs = jobs_of(run, out);
  train_side_by_side(jobs, dataset, out / "dataset", run.workers, "train", run.say);
  Finding finding{
      "where_from",
      {fmt::format("What a residual state was taken from, told from the vector alone ({} train states; {} of "
                   "tokens that cannot be said on one line are left out)",
                   count(std::ssize(dataset.of(Split::train))), count(left_out)),
       {"row", "token", "less self", "p", "layer", "both", "unparsable", "n", "seeds"},
       {}},
      {}};
  const auto tested = std::ssize(dataset.of(Split::test));
  std::vector<std::vector<std::string>>& lines = finding.table.lines;
  std::vector<Counts> of_self;
  std::string names;  // of the rows that are no control of self
  for (const auto& [label, row] : rows_of(run, dataset, jobs, out)) {
    const WhereFromCounts counts = count_where_from(dataset, row);
    const bool self = of_self.empty();
    if (self) of_self = counts.token;
    const Difference against = compare(counts.token, of_self, {})[static_cast<size_t>(Metric::exact_match)];
    const std::string less = difference_shown(against.value, against.low, against.high);
    lines.push_back({label, shown(counts.token), self ? "–" : less, self ? "–" : p_cell(against.p), shown(counts.layer),
                     shown(counts.both), count(counts.unparsable), count(tested), std::to_string(row.seeds.size())});
    if (!self && (row.explainer == "none" || row.condition == kCondition)) {
      names += fmt::format("; {} {} ({}) and {}", label, lines.back()[1], p_value(against.p), lines.back()[4]);
    }
  }
  finding.sentences.push_back(
      fmt::format("Of 100 residual states, each given alone, {} names the token of {} and the layer of {}{}.",
                  lines.front()[0], lines.front()[1], lines.front()[4], names));
  return {finding};
}

}  // namespace introspect
