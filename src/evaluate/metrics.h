// How right one answer is, and what many of them come to.
//
// Every metric is a ratio or an F1 of counts that add up over items, so that a bootstrap over clusters needs nothing
// but each cluster's counts (statistics.h).
#pragma once

#include "explainer/answers.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace introspect {

struct Example;

// One answer to one example. The words are compared after trimming, in lower case (ASCII).
struct ItemScore {
  bool parsed = false;           // the answer has the form of parse_answer
  bool exact = false;            // the whole answer is the example's, but for a final dot
  bool true_changed = false;     // the target's answer did change
  bool stated_changed = false;   // the explainer says so
  bool content = false;          // what stands in <<< >>> is the target's answer with the intervention
  bool derived_changed = false;  // what stands in <<< >>> differs from the target's answer without intervention
  // Of descriptions of features (feature_score.h):
  bool described = true;  // there is a true answer; of a feature that nothing describes there is none
  double judged = 0;      // how near the words are to the true ones, in [0, 1]
  double simulated = 0;   // correlation of what the words say with what the feature does, in [-1, 1]
  double published = 0;   // the same as it was published: on the top contexts, without sign
};
ItemScore score_item(const Example& example, const std::string& answer);

enum class Metric {
  content_on_changed,    // the headline: only who reads the vector can know it
  content_on_unchanged,  //
  content_match,         // on all items
  has_changed_f1,        // macro F1 of stated_changed
  derived_f1,            // macro F1 of derived_changed
  exact_match,           // on all items that have a true answer
  judge,                 // features: mean of judged, on the same items
  simulator_score,       // features: mean of simulated
  published_simulator_score
};
constexpr size_t kMetricCount = 9;
constexpr std::array<Metric, kMetricCount> kMetrics = {Metric::content_on_changed,
                                                       Metric::content_on_unchanged,
                                                       Metric::content_match,
                                                       Metric::has_changed_f1,
                                                       Metric::derived_f1,
                                                       Metric::exact_match,
                                                       Metric::judge,
                                                       Metric::simulator_score,
                                                       Metric::published_simulator_score};
std::string metric_name(Metric metric);  // "content_on_changed"

// Sums over items; doubles, so that the mean over several seeds is again such a sum.
//
// The confusion of a flag is held by true class: "right" were given the true class, "wrong" the other one, and the
// rest of that class's items were unparsable: a miss for the true class, a false alarm for none.
struct Counts {
  enum Field : size_t {
    items,
    unparsable,
    exact,
    changed,
    unchanged,  // items by true class
    content_changed,
    content_unchanged,  // right content, by true class
    stated_right_changed,
    stated_wrong_changed,
    stated_right_unchanged,
    stated_wrong_unchanged,
    derived_right_changed,
    derived_wrong_changed,
    derived_right_unchanged,
    derived_wrong_unchanged,
    described,
    judged,
    simulated,
    published,
    fields
  };
  std::array<double, fields> sums{};

  double& operator[](Field field) { return sums[field]; }
  double operator[](Field field) const { return sums[field]; }
  Counts& operator+=(const Counts& other) {
    for (size_t i = 0; i < fields; ++i) sums[i] += other.sums[i];
    return *this;
  }
  Counts& operator-=(const Counts& other) {
    for (size_t i = 0; i < fields; ++i) sums[i] -= other.sums[i];
    return *this;
  }
  Counts& operator*=(double factor) {
    for (double& sum : sums) sum *= factor;
    return *this;
  }
};
Counts count_item(const ItemScore& score);

// The metric's value in [0, 1]; NaN where it has no items. Macro F1 is the mean over the classes that occur among
// truths or answers: where every item is unchanged and every answer says so, it is 1.
double metric_value(Metric metric, const Counts& counts);
// How many items the metric is about: all, or those of one class.
double metric_items(Metric metric, const Counts& counts);

}  // namespace introspect
