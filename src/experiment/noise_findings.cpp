// What wrong labels do to an explainer: what it still gets right, and whether it repeats what it was taught wrongly.
#include "base/error.h"
#include "dataset/label_noise.h"
#include "experiment/findings.h"
#include "report/table.h"
#include "report/words.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr size_t kAsked = 200;  // examples that were taught wrongly

// One explainer taught with more and more noise of one kind; the first has none.
struct Level {
  double share = 0;
  std::string condition;
  ExplainerTraining training;
};
struct Series {
  std::string explainer;
  LabelNoise noise;  // of the smallest share
  std::vector<Level> levels;
};

std::string kind_of(const LabelNoise& noise) {
  return noise_to_json(noise).at("kind").get<std::string>();
}

std::string kind_words(const LabelNoise& noise) {
  return noise.kind == NoiseKind::random          ? "random wrong labels"
         : noise.kind == NoiseKind::same_category ? "wrong labels of the same category"
                                                  : "systematically wrong labels";
}

std::vector<Series> series_of(const FoundIn& run) {
  std::vector<Series> list;
  std::map<std::string, size_t> places;
  std::set<std::pair<std::string, std::string>> seen;
  for (const TrainJob& job : run.trained) {
    if (!job.training.label_noise || !seen.emplace(job.name, job.condition).second) continue;
    const LabelNoise& noise = *job.training.label_noise;
    Json key = noise_to_json(noise);
    key.erase("share");
    const auto [place, fresh] = places.emplace(job.name + key.dump(), list.size());
    if (fresh) list.push_back({job.name, noise, {}});
    list[place->second].levels.push_back({noise.share, job.condition, job.training});
  }
  for (Series& series : list) {
    std::sort(series.levels.begin(), series.levels.end(),
              [](const Level& a, const Level& b) { return a.share < b.share; });
    series.noise.share = series.levels.front().share;
    series.levels.insert(series.levels.begin(), Level{0, "trained", run.recipe.variants.front().training});
  }
  return list;
}

// Examples that every level but the first was taught wrongly, with what they were taught.
std::vector<NoisyLabel> asked_items(const Dataset& dataset, const Series& series) {
  std::set<const Example*> learnt;
  for (const Example* example : learnt_examples(dataset, series.levels.back().training)) learnt.insert(example);
  std::vector<NoisyLabel> items = noisy_labels(dataset, series.noise, Split::train);
  std::erase_if(items, [&](const NoisyLabel& item) { return !learnt.contains(item.example); });
  if (items.size() > kAsked) items.resize(kAsked);
  return items;
}

std::vector<TrainJob> jobs_of(const FoundIn& run, const Series& series) {
  std::vector<TrainJob> jobs;
  for (const Level& level : series.levels) {
    for (const TrainJob& job : run.trained) {
      if (job.name == series.explainer && job.condition == level.condition) jobs.push_back(job);
    }
  }
  return jobs;
}

// The test answers of a row against what the mapping would make of the true labels.
Estimate against_mapping(const FoundIn& run, const Row& row, const std::map<std::string, std::string>& mapping) {
  Dataset mapped;
  mapped.task = run.result.scored.task;
  std::set<std::string> ids;
  for (const Example* example : run.result.scored.of(Split::test)) {
    const auto found = mapping.find(example->answer);
    if (found == mapping.end() || example->attributes.contains("aside")) continue;
    mapped.examples.push_back(*example);
    mapped.examples.back().answer = found->second;
    ids.insert(example->id);
  }
  Row known{row.explainer, row.condition, row.seeds};
  for (std::vector<Answer>& answers : known.seeds) {
    std::erase_if(answers, [&](const Answer& answer) { return !ids.contains(answer.id); });
  }
  constexpr size_t exact = static_cast<size_t>(Metric::exact_match);
  return estimate(row_counts(mapped, known), {})[exact];
}

std::string share_shown(double share) {
  return fmt::format("{:.0f}%", 100 * share);
}

CurveFigure::Point point_of(double share, double value, double low, double high) {
  return {100 * share, value, low, high};
}

// One kind of noise: a line of the table for each share, a figure and a sentence.
void add_series(const FoundIn& run, const Series& series, Finding& finding) {
  constexpr Metric exact = Metric::exact_match;
  const Dataset& dataset = run.result.scored;
  const std::vector<NoisyLabel> items = asked_items(dataset, series);
  if (items.empty()) return;
  std::vector<Example> asked;
  std::vector<int64_t> vectors;
  std::map<std::string, std::string> wrong;
  for (const NoisyLabel& item : items) {
    asked.push_back(*item.example);
    vectors.push_back(item.example->vector);
    wrong[item.example->id] = item.label;
  }
  const at::Tensor rows_of_vectors =
      dataset.vectors.defined() ? dataset.vectors.index_select(0, at::tensor(vectors, at::kLong)) : at::Tensor();
  const fs::path folder = run.out / "label_noise" / fmt::format("{}-{}", kind_of(series.noise), series.noise.seed);
  const std::vector<Row> rows = ask_further(run, dataset, asked, rows_of_vectors, jobs_of(run, series), folder);
  Dataset truth;
  truth.task = dataset.task;
  truth.examples = asked;
  for (Example& example : truth.examples) example.split = Split::test;
  Dataset taught = truth;
  for (Example& example : taught.examples) example.answer = wrong.at(example.id);

  const auto train = std::ssize(dataset.of(Split::train));
  std::vector<double> shares, excess;
  std::vector<std::vector<Counts>> says_wrong, says_truth;
  CurveFigure figure{capitalised(kind_words(series.noise)),
                     "Shares of answers right to the word, times 100; the table below has the figures.",
                     "of 100 train labels, how many are wrong",
                     false,
                     {{"test: right", "self", {}},
                      {"taught wrongly: the truth", "explainer", {}},
                      {"taught wrongly: repeats it", "floor", {}}}};
  for (const Level& level : series.levels) {
    const Row* taught_row = find_row(rows, series.explainer, level.condition);
    const Row* test = run.row(series.explainer, level.condition);
    if (!taught_row || !test) continue;
    says_wrong.push_back(row_counts(taught, *taught_row));
    says_truth.push_back(row_counts(truth, *taught_row));
    shares.push_back(level.share);
    excess.push_back(value_of(exact, says_wrong.back()) - value_of(exact, says_truth.back()));
    const Estimate repeats = estimate(says_wrong.back(), {})[static_cast<size_t>(exact)],
                   right = estimate(says_truth.back(), {})[static_cast<size_t>(exact)];
    const Score* tested = run.score(series.explainer, level.condition, "exact_match");
    if (tested) figure.series[0].points.push_back(point_of(level.share, tested->value, tested->low, tested->high));
    figure.series[1].points.push_back(point_of(level.share, right.value, right.low, right.high));
    figure.series[2].points.push_back(point_of(level.share, repeats.value, repeats.low, repeats.high));
    std::string replaced = "0", systematic = "–";
    if (level.training.label_noise) {
      int64_t without = 0;
      replaced = count(std::ssize(noisy_labels(dataset, *level.training.label_noise, Split::train, &without)));
      if (without > 0) replaced += fmt::format(", {} had no other label", count(without));
    }
    if (series.noise.kind == NoiseKind::systematic) {
      const Estimate mapped = against_mapping(run, *test, systematic_labels(dataset, series.noise.seed));
      systematic = fmt::format("{}, n {}", percent_shown(mapped.value, mapped.low, mapped.high),
                               count(std::llround(mapped.items)));
    }
    const Score* nearest = level.share > 0 ? run.score("nearest_neighbour", level.condition, "exact_match")
                                           : run.score("none", "nearest_neighbour", "exact_match");
    finding.table.lines.push_back({fmt::format("{}, {}, {}", run.label(series.explainer, "trained"),
                                               kind_words(series.noise), share_shown(level.share)),
                                   fmt::format("{} of {}", replaced, count(train)), score_shown(tested),
                                   score_shown(nearest), systematic,
                                   percent_shown(repeats.value, repeats.low, repeats.high),
                                   percent_shown(right.value, right.low, right.high), count(std::ssize(items))});
  }
  if (shares.size() < 2) return;
  finding.curves.push_back(std::move(figure));
  constexpr double kMore = 1e-9;
  const double turns = first_reached(shares, excess, kMore);
  const Interval interval =
      bootstrap(says_wrong.front().size(),
                [&](const std::vector<size_t>& drawn) {
                  std::vector<double> y;
                  for (size_t i = 0; i < shares.size(); ++i) {
                    y.push_back(value_of(exact, says_wrong[i], drawn) - value_of(exact, says_truth[i], drawn));
                  }
                  return first_reached(shares, y, kMore);
                },
                {});
  const auto middle = std::min_element(
      series.levels.begin() + 1, series.levels.end(),
      [](const Level& a, const Level& b) { return std::abs(a.share - 0.4) < std::abs(b.share - 0.4); });
  const std::string where = reached_words(turns, interval, shares.front(), shares.back(), share_shown);
  finding.sentences.push_back(fmt::format(
      "Taught with {}, {} of all, {} is right to the word on {} of 100 test items, against {} with none. Of "
      "{} examples that it was taught wrongly it repeats the wrong label more often than it says the truth "
      "{}; at {} it repeats {} and says the truth of {} in 100.",
      kind_words(series.noise), share_shown(middle->share), series.explainer,
      score_shown(run.score(series.explainer, middle->condition, "exact_match")),
      score_shown(run.score(series.explainer, "trained", "exact_match")), count(std::ssize(items)),
      std::isinf(turns) ? "at none of the shares up to " + share_shown(shares.back())
                        : "from a share of " + where + " on",
      share_shown(shares.back()), percent(value_of(exact, says_wrong.back())),
      percent(value_of(exact, says_truth.back()))));
}

// Columns in which no line has anything.
void drop_empty_columns(NamedTable& table) {
  for (size_t column = table.head.size(); column-- > 1;) {
    const auto dash = [&](const std::vector<std::string>& line) { return line[column] == "–"; };
    if (!std::all_of(table.lines.begin(), table.lines.end(), dash)) continue;
    table.head.erase(table.head.begin() + static_cast<std::ptrdiff_t>(column));
    for (std::vector<std::string>& line : table.lines) line.erase(line.begin() + static_cast<std::ptrdiff_t>(column));
  }
}

}  // namespace

std::vector<Finding> noise_findings(const FoundIn& run) {
  const std::vector<Series> list = series_of(run);
  if (list.empty()) return {};
  run.say("  questions about examples that were taught with wrong labels");
  Finding finding{"label_noise",
                  {"Wrong labels in training",
                   {"explainer, noise, share", "train labels replaced", "test items: right to the word",
                    "nearest train feature, same labels", "test items: says what the wrong mapping says",
                    "taught wrongly: says the wrong label", "taught wrongly: says the truth", "n taught wrongly"},
                   {}},
                  {}};
  for (const Series& series : list) add_series(run, series, finding);
  drop_empty_columns(finding.table);
  return {finding};
}

}  // namespace introspect
