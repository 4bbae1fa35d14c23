// Scores as records: scores.json and comparisons.json are flat lists of these.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// One line of scores.json. NaN (null in JSON, empty in CSV) where a figure is not defined.
struct Score {
  std::string task, target;
  std::string explainer, condition;     // report/row_names.h
  std::string metric;                   // metrics.h
  std::string group;                    // "all", or an attribute and its value: "token_type=subject final"
  double value = 0, low = 0, high = 0;  // low and high: 95% interval, bootstrap over clusters
  int64_t n = 0, clusters = 0;          // items the metric is about, and clusters that hold them
  double unparsable = 0;                // of the group's items, the mean over seeds
  int seeds = 1;                        // answer sets that were averaged
  double seed_deviation = 0;            // sample standard deviation of the value over them; NaN for a single one
  // Against the row self, trained (NaN where there is none, and for that row itself): this row minus self.
  double difference_to_self = 0, difference_low = 0, difference_high = 0, p_against_self = 0;
};

// One line of comparisons.json: two rows on the same items, first minus second.
struct Comparison {
  std::string task, target;
  std::string first_explainer, first_condition, second_explainer, second_condition;
  std::string metric;
  double difference = 0, low = 0, high = 0;
  double p = 1, p_holm = 1;  // p_holm: corrected for all pairs of this metric
};

// scores.json as text.
std::string scores_text(const std::vector<Score>& scores);
void save_scores(const std::vector<Score>& scores, const fs::path& file);
std::vector<Score> load_scores(const fs::path& file);
void save_comparisons(const std::vector<Comparison>& comparisons, const fs::path& file);
std::vector<Comparison> load_comparisons(const fs::path& file);

}  // namespace introspect
