// A made-up report: plausible figures, awkward text.
#pragma once

#include "report/report.h"
#include "report/row_names.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace introspect {

// The rows of a patching run.
inline std::vector<RowName> patching_rows() {
  std::vector<RowName> rows;
  for (const RowName& row : row_names()) {
    static const std::vector<std::string> others = {
        "lora", "trained_on_some_wordings", "trained_on_some_subjects", "hint_differs", "self_simulation",
        "untrained_simulation", "text_classifier", "majority_wording", "majority_wording_subject",
        // of features
        "affine_adapter", "layer_dropped", "layer_faked", "nearest_neighbour", "nearest_neighbour_layer",
        "selfie_best_of_5", "gold",
        // of other recipes
        "joint", "self_consistent", "trained_on_the_other_task"};
    const bool few = row.condition.starts_with("few_shot_") || row.condition == "untrained_lenient";
    const bool other = std::find(others.begin(), others.end(), row.condition) != others.end();
    const bool listed = row.condition != "untrained" || row.explainer == "self";
    if (row.explainer != "base" && row.explainer != "wide" && !few && !other && listed) rows.push_back(row);
  }
  return rows;
}

inline ReportInput sample_report(int relations = 8) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const std::vector<RowName> rows = patching_rows();
  ReportInput input;
  input.title = "A small model explains its own activations";
  input.question =
      "If a model is asked in words what it would say after its own activations are replaced, can it tell, and better "
      "than another model that was asked the same?";
  const std::vector<std::string> metrics = {"content_on_changed", "content_on_unchanged", "content_match",
                                            "has_changed_f1",     "derived_f1",           "exact_match"};
  const std::vector<std::vector<double>> values = {
      {.332, .827, .580, .519, .670, .318}, {.361, .843, .602, .524, .684, .331}, {.159, .809, .484, .525, .552, .255},
      {.171, .812, .492, .521, .560, .262}, {.301, .862, .571, .548, .661, .342}, {.149, .853, .499, .531, .557, .291},
      {.203, .882, .543, .517, .587, .282}, {.121, .790, .455, .520, .531, .240}, {.094, .701, .398, .515, .512, .211},
      {.152, .760, .456, .518, .561, .247}, {.233, .816, .525, .521, .634, .283}, {.031, .412, .222, .488, .471, .105},
      {.002, .011, .007, .071, .069, .001}, {.118, 0, .059, .333, .333, .058},    {.061, .502, .281, .503, .448, .271},
      {.027, .731, .379, .498, .402, .366}, {0, 1, .5, .333, .333, .5},           {.011, .036, .024, .333, .351, .018}};
  const auto add = [&](const RowName& row, size_t r, const std::string& group, int64_t n, double shift) {
    const bool self = row.explainer == "self" && row.condition == "trained";
    for (size_t m = 0; m < metrics.size(); ++m) {
      Score score;
      score.task = "activation patching";
      score.target = "tiny-llama";
      score.explainer = row.explainer;
      score.condition = row.condition;
      score.metric = metrics[m];
      score.group = group;
      score.n = m < 2 ? n / 2 : n;
      score.clusters = std::max<int64_t>(1, n / 6);
      score.value = std::min(1.0, std::max(0.0, values[r][m] + shift));
      const double width = 1.96 * std::sqrt(score.value * (1 - score.value) / static_cast<double>(score.clusters)) * .8;
      score.low = std::max(0.0, score.value - width);
      score.high = std::min(1.0, score.value + width);
      score.unparsable = row.condition == "untrained" ? 2101 : row.condition == "few_shot" ? 312 : 0;
      score.seeds = row.kind == RowKind::floor ? 1 : 3;
      score.seed_deviation = score.seeds > 1 ? .011 : kNone;
      score.difference_to_self = self ? kNone : values[r][m] - values[0][m];
      score.difference_low = self ? kNone : score.difference_to_self - .04;
      score.difference_high = self ? kNone : score.difference_to_self + .04;
      score.p_against_self = self ? kNone : std::abs(score.difference_to_self) > .05 ? .0001 : .142;
      input.scores.push_back(score);
    }
  };
  const std::vector<std::string> names = {"capital",  "official language", "continent", "currency",
                                          "material", "habitat",           "founder",   "instrument"};
  for (size_t r = 0; r < rows.size(); ++r) {
    add(rows[r], r, "all", 2256, 0);
    for (int i = 0; i < relations; ++i) {
      add(rows[r], r, "relation=" + names[i % names.size()] + (i < 8 ? "" : " " + std::to_string(i)), 282,
          .03 * (i % 5 - 2));
    }
    for (int block = 0; block < 4; ++block) {
      add(rows[r], r, "block=" + std::to_string(block), 564, .02 * (block - 1));
    }
    for (const std::string type : {"subject final", "last"}) {
      add(rows[r], r, "token_type=" + type, 1128, type == "last" ? .04 : -.04);
    }
  }
  for (size_t a = 0; a < 5; ++a) {
    for (size_t b = a + 1; b < 5; ++b) {
      const RowName &first = rows[a], &second = rows[b];
      const double gap = values[a][0] - values[b][0];
      const double p = std::abs(gap) > .05 ? .0001 : .21;
      input.comparisons.push_back({"activation patching", "tiny-llama", first.explainer, first.condition,
                                   second.explainer, second.condition, "content_on_changed", gap, gap - .04, gap + .04,
                                   p, std::min(1.0, 10 * p)});
    }
  }
  input.facts = {{"task", "activation patching"},
                 {"target", "tiny-llama, 4.3 million parameters, 8 layers in 4 blocks"},
                 {"examples", "8,400 train, 1,120 validation, 2,256 test; half of each changed"},
                 {"split", "by subject: no subject is in two splits"}};
  const std::vector<std::string> types = {
      "subject final",      "last", "relation", "original answer option", "counterfactual answer option",
      "other answer option"};
  for (size_t t = 0; t < types.size(); ++t) {
    for (int block = 0; block < 4; ++block) {
      for (const std::string& relation : names) {
        const double share = t == 0 ? .62 - .17 * block : t == 1 ? .08 + .29 * block : .004;
        const bool kept = share > .05;
        input.cells.push_back({types[t], std::to_string(block), relation, 640, std::llround(640 * share),
                               kept ? 2 * std::llround(640 * std::min(share, 1 - share)) : 0,
                               kept ? "" : "fewer than 20 changed items"});
      }
    }
  }
  for (int i = 0; i < 30; ++i) {
    BrowsedExample example;
    example.id = "patching-" + std::to_string(1017 + 31 * i);
    example.changed = i % 2 == 0;
    example.input =
        "The capital of Portugal is\n\nRespond with one of Lisbon or Oslo or Bern or Rome or Cairo or unknown and "
        "nothing else.\n\nResponse:";
    example.token = i % 3 ? " Portugal" : ":";
    example.token_type = i % 3 ? "subject final" : "last";
    example.relation = "capital";
    example.block = std::to_string(i % 4);
    example.layers = {2 * (i % 4), 2 * (i % 4) + 1};
    example.before = " Lisbon";
    example.after = example.changed ? " Oslo" : " Lisbon";
    for (size_t r = 0; r < rows.size(); ++r) {
      if (r > 4 && r != 10 && r != 12 && r != 14) continue;
      const bool right = (i * 7 + static_cast<int>(r) * 5) % 3 != 0;
      Said said{rows[r].explainer,
                rows[r].condition,
                "",
                true,
                example.changed == right,
                right ? (example.changed ? "Oslo" : "Lisbon") : "Bern",
                right};
      if (r == 10) said = {"self", "untrained", "the the <b>of</b> & the", false, false, "", false};
      example.said.push_back(said);
    }
    input.examples.push_back(example);
  }
  input.command = "introspect demo --full --out runs/demo";
  input.settings = {
      {"seed", "1, 2, 3"}, {"steps", "2,000"}, {"learning rate", "0.0005"}, {"injection", "unit norm times 300"}};
  input.versions = {{"introspect", "0.1.0"}, {"libtorch", "1.13.1"}, {"machine", "2 cores, AVX-512, fp32"}};
  input.weak = {"The models are tiny: that an effect is there says little about large ones.",
                "Settings were chosen on the validation split of the same relations."};
  return input;
}

}  // namespace introspect
