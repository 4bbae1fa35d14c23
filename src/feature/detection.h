// Can a reader of the description tell where the feature fires? Detection and fuzzing scores (Paulo et al. 2024, arXiv
// 2410.13928; EleutherAI's Delphi): detection asks about whole pieces of text, fuzzing about marked tokens of them.
// The judge here is a simulator; what is asked and what is made of the verdicts is the same for every judge.
#pragma once

#include "feature/contexts.h"
#include "feature/simulator.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace introspect {

// One question: does the piece (detection), do the marked tokens (fuzzing) fit the description?
struct JudgedItem {
  int64_t context = 0;          // row of FeatureContexts
  bool positive = false;        // the truth: the feature fires in the piece, on the marked tokens
  std::vector<int64_t> marked;  // fuzzing: ascending positions in [0, T); detection: empty
};

enum class FuzzingNegatives {
  same_piece,   // the positive's piece with as many tokens marked on which the feature does not fire
  silent_piece  // a piece without activation, with random tokens marked, as many as the positive's
};

struct DetectionSettings {
  int64_t items = 20;       // positives at most, and as many negatives: fewer of one kind mean fewer of the other
  double mark_above = 0.3;  // fuzzing marks tokens above this share of the piece's highest activation (as Delphi does)
  FuzzingNegatives negatives = FuzzingNegatives::same_piece;
  // A simulator says yes above this value. NaN: half of its highest value on the feature's items, which needs no unit
  // and no truth; for a simulator of zeros and ones that is the same as above 0.
  double threshold = std::numeric_limits<double>::quiet_NaN();
  uint64_t seed = 0;  // of which pieces are taken and which tokens are marked; the same for every description
};

// What is asked about a feature, positives and negatives in random order. A piece counts by its activations and not by
// the kind it was kept as: one of kind `random` in which the feature fires is a positive.
std::vector<JudgedItem> detection_items(const FeatureContexts& contexts, const DetectionSettings& settings);
// Pieces that have too few other tokens to mark give no item.
std::vector<JudgedItem> fuzzing_items(const FeatureContexts& contexts, const DetectionSettings& settings);

// The piece as a judge of words reads it: without special tokens, runs of marked tokens between << and >>.
std::string item_text(const Tokenizer& tokenizer, const FeatureContexts& contexts, const JudgedItem& item);

// What a judge says of an item. A verdict that could not be read counts as the toss of a coin, half right, so that a
// feature about which nothing can be read scores as chance does; and it is counted.
struct Verdict {
  bool readable = true;
  bool positive = false;
  double confidence = 0;  // in any unit: higher is more likely positive; 0 or 1 for a judge that says only yes or no
};

// NaN where a side has no items: such a feature is no part of a mean.
struct DetectionScore {
  int64_t positives = 0, negatives = 0;
  int64_t unreadable = 0;        // verdicts
  double balanced_accuracy = 0;  // mean of the shares of positives and of negatives that are told; chance is 0.5
  double f1 = 0;                 // of the positives
  double auroc = 0;              // a positive's confidence exceeds a negative's; ties count half; chance is 0.5
};
DetectionScore score_verdicts(const std::vector<JudgedItem>& items, const std::vector<Verdict>& verdicts);

// A simulator as judge: the confidence is its highest value in a piece (detection), its mean over the marked tokens
// (fuzzing). All verdicts on a description that is empty or that it cannot read are unreadable.
std::vector<Verdict> judge_items(const std::string& description, const FeatureContexts& contexts,
                                 const std::vector<JudgedItem>& items, const Simulator& simulator,
                                 const DetectionSettings& settings);
DetectionScore detection_score(const std::string& description, const FeatureContexts& contexts,
                               const Simulator& simulator, const DetectionSettings& settings);
DetectionScore fuzzing_score(const std::string& description, const FeatureContexts& contexts,
                             const Simulator& simulator, const DetectionSettings& settings);

// Means over features, each counting the same; features without items of one side are counted and left out.
struct DetectionSummary {
  int64_t features = 0, without_items = 0;
  DetectionScore mean;  // its counts are sums
};
DetectionSummary summarise(const std::vector<DetectionScore>& scores);

}  // namespace introspect
