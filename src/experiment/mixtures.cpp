#include "experiment/mixtures.h"

#include "base/random.h"
#include "report/words.h"

#include <algorithm>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>

namespace introspect {

namespace {

constexpr size_t kFewest = 10;  // pairs

// Test examples that are not set aside; `right`: those alone that the row's first seed says to the word.
std::vector<const Example*> candidates(const Dataset& dataset, const Row* right) {
  std::vector<const Example*> examples = dataset.of(Split::test), chosen;
  std::map<std::string, std::string> said;
  if (right) {
    for (const Answer& answer : right->seeds.front()) said[answer.id] = answer.text;
  }
  for (const Example* example : examples) {
    if (example->attributes.contains("aside") || example->answer.empty()) continue;
    if (!right || score_item(*example, said.at(example->id)).exact) chosen.push_back(example);
  }
  return chosen;
}

// One question: a pair at a share.
struct Asked {
  FeaturePair pair;
  double share = 0;
};

// How often something holds, as counts by cluster; a mean over the seeds.
struct Shares {
  std::vector<Counts> first, second, neither, other;  // other: what another pair's first description would be
  double fits_first = 0, fits_second = 0;             // mean simulated correlation
};

Estimate found(const std::vector<Counts>& counts) {
  return estimate(counts, {})[static_cast<size_t>(Metric::exact_match)];
}
std::string shown(const Estimate& share) {
  return percent_shown(share.value, share.low, share.high);
}

bool says(const Example& example, const std::string& text) {
  return score_item(example, text).exact;
}

Shares shares_at(const FoundIn& run, const std::vector<Asked>& asked, const Row& row, double share) {
  std::map<std::string, size_t> clusters;
  std::vector<size_t> places;
  for (size_t i = 0; i < asked.size(); ++i) {
    if (asked[i].share != share) continue;
    places.push_back(i);
    clusters.emplace(asked[i].pair.first->cluster, clusters.size());
  }
  Shares shares;
  for (auto* each : {&shares.first, &shares.second, &shares.neither, &shares.other}) each->resize(clusters.size());
  const double weight = 1.0 / static_cast<double>(row.seeds.size());
  const auto add = [&](std::vector<Counts>& sums, size_t cluster, bool holds) {
    ItemScore score;
    score.exact = holds;
    Counts item = count_item(score);
    sums[cluster] += item *= weight;
  };
  for (const std::vector<Answer>& answers : row.seeds) {
    for (size_t p = 0; p < places.size(); ++p) {
      const FeaturePair& pair = asked[places[p]].pair;
      const std::string& text = answers[places[p]].text;
      const size_t cluster = clusters.at(pair.first->cluster);
      const bool first = says(*pair.first, text), second = says(*pair.second, text);
      add(shares.first, cluster, first);
      add(shares.second, cluster, second);
      add(shares.neither, cluster, !first && !second);
      add(shares.other, cluster, says(*asked[places[(p + 1) % places.size()]].pair.first, text));
      if (!run.result.features) continue;
      for (const auto& [example, sum] :
           {std::pair{pair.first, &shares.fits_first}, std::pair{pair.second, &shares.fits_second}}) {
        ItemScore score;
        run.result.features->score(*example, text, score);
        *sum += weight * score.simulated / static_cast<double>(places.size());
      }
    }
  }
  return shares;
}

}  // namespace

std::vector<FeaturePair> draw_pairs(const std::vector<const Example*>& examples, int64_t count, uint64_t seed) {
  std::vector<FeaturePair> pairs;
  for (size_t a = 0; a < examples.size(); ++a) {
    for (size_t b = a + 1; b < examples.size(); ++b) {
      if (examples[a]->layers != examples[b]->layers || examples[a]->answer == examples[b]->answer) continue;
      pairs.push_back({examples[a], examples[b]});
    }
  }
  Random random(seed, "pairs of features");
  random.shuffle(pairs);
  if (std::ssize(pairs) > count) pairs.resize(static_cast<size_t>(count));
  for (FeaturePair& pair : pairs) {
    if (random.below(2) == 1) std::swap(pair.first, pair.second);
  }
  return pairs;
}

at::Tensor mixture(const at::Tensor& first, const at::Tensor& second, double share) {
  const auto unit = [](const at::Tensor& vector) { return vector / vector.norm().clamp_min(1e-12); };
  return unit(first) * share + unit(second) * (1 - share);
}

std::vector<Finding> mixture_findings(const FoundIn& run) {
  if (!run.recipe.mixtures) return {};
  const MixtureSettings& settings = *run.recipe.mixtures;
  const Dataset& dataset = run.result.scored;
  const Row* trained = run.row(run.recipe.explainers.front().name, "trained");
  if (!trained) return {};
  run.say("  questions about sums of two directions");
  std::vector<FeaturePair> pairs = draw_pairs(candidates(dataset, trained), settings.pairs, settings.seed);
  const bool right = pairs.size() >= kFewest;
  if (!right) pairs = draw_pairs(candidates(dataset, nullptr), settings.pairs, settings.seed);
  if (pairs.empty()) return {};
  std::vector<double> shares = settings.shares;
  for (const double pure : {0.0, 1.0}) shares.push_back(pure);
  std::sort(shares.begin(), shares.end());
  std::vector<Asked> asked;
  std::vector<Example> examples;
  std::vector<at::Tensor> vectors;
  for (const double share : shares) {
    for (const FeaturePair& pair : pairs) {
      asked.push_back({pair, share});
      Example example = *pair.first;
      example.id = fmt::format("mixture-{:06}", examples.size());
      example.attributes = {{"share", fmt::format("{:g}", share)}, {"second", pair.second->answer}};
      examples.push_back(std::move(example));
      vectors.push_back(mixture(dataset.vectors[pair.first->vector], dataset.vectors[pair.second->vector], share));
    }
  }
  std::vector<TrainJob> jobs;
  for (const TrainJob& job : run.trained) {
    if (job.name == trained->explainer && job.condition == "trained") jobs.push_back(job);
  }
  const std::vector<Row> rows = ask_further(run, dataset, examples, at::stack(vectors), jobs, run.out / "mixtures");
  Finding finding{
      "mixtures",
      {fmt::format("Sums of two directions, a of the first and 1 - a of the second: what {} says ({} of {})",
                   run.label(trained->explainer, "trained"), plural(std::ssize(pairs), "pair"),
                   right ? "test features that it describes to the word when they are alone" : "test features"),
       {"a", "the first's description", "the second's", "neither", "another pair's (chance)",
        "correlation with the first", "correlation with the second", "n"},
       {}},
      {}};
  CurveFigure figure{"Sums of two directions: which description is said",
                     "Shares of answers, times 100; the table below has the figures.",
                     "a, the first one's part of the sum",
                     false,
                     {{"the first's", "self", {}}, {"the second's", "explainer", {}}, {"another pair's", "floor", {}}}};
  std::string halves;
  for (const double share : shares) {
    const Shares said = shares_at(run, asked, rows.front(), share);
    const Estimate drawn[] = {found(said.first), found(said.second), found(said.other)};
    for (size_t i = 0; i < std::size(drawn); ++i) {
      figure.series[i].points.push_back({share, drawn[i].value, drawn[i].low, drawn[i].high});
    }
    finding.table.lines.push_back({fmt::format("{:g}", share), shown(drawn[0]), shown(drawn[1]),
                                   shown(found(said.neither)), shown(drawn[2]), percent(said.fits_first),
                                   percent(said.fits_second), count(std::ssize(pairs))});
    if (share <= 0 || share >= 1) continue;
    halves += fmt::format("{}{:g} of it {}", halves.empty() ? "" : ", at ", share, shown(drawn[0]));
  }
  finding.curves.push_back(std::move(figure));
  finding.sentences.push_back(
      fmt::format("Of 100 sums of two directions it says the larger one's description to the word, at {}.", halves));
  return {finding};
}

}  // namespace introspect
