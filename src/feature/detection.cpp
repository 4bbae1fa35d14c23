#include "feature/detection.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/Tensor.h>

namespace introspect {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// A piece as rows of plain numbers.
struct Pieces {
  at::Tensor tokens, activations;  // contiguous, on the processor: they own what is read below
  int64_t count = 0, length = 0;

  explicit Pieces(const FeatureContexts& contexts) {
    if (!contexts.tokens.defined() || contexts.tokens.dim() != 2 || !contexts.activations.defined() ||
        contexts.activations.sizes() != contexts.tokens.sizes()) {
      fail("detection", "tokens and activations of the contexts: expected two tensors of one shape [C, T]");
    }
    tokens = contexts.tokens.to(at::kInt).contiguous();
    activations = contexts.activations.to(at::kFloat).contiguous();
    count = tokens.size(0);
    length = tokens.size(1);
  }
  const int32_t* token_row(int64_t piece) const { return tokens.data_ptr<int32_t>() + piece * length; }
  const float* row(int64_t piece) const { return activations.data_ptr<float>() + piece * length; }
  // Position 0 is BOS: no activation is kept for it.
  bool counts(int64_t piece, int64_t position) const { return position > 0 && token_row(piece)[position] >= 0; }
  double highest(int64_t piece) const {
    double most = 0;
    for (int64_t i = 1; i < length; ++i) {
      if (counts(piece, i)) most = std::max<double>(most, row(piece)[i]);
    }
    return most;
  }
};

std::string stream_name(const char* what, const FeatureContexts& contexts) {
  return fmt::format("{} {} {}", what, contexts.layer, contexts.latent);
}

struct Sides {
  std::vector<int64_t> firing, silent;  // rows, each in random order
};

Sides sides_of(const Pieces& pieces, Random& random) {
  Sides sides;
  for (int64_t piece = 0; piece < pieces.count; ++piece) {
    (pieces.highest(piece) > 0 ? sides.firing : sides.silent).push_back(piece);
  }
  random.shuffle(sides.firing);
  random.shuffle(sides.silent);
  return sides;
}

// `count` of `positions` in ascending order, any with the same chance.
std::vector<int64_t> draw(std::vector<int64_t> positions, size_t count, Random& random) {
  random.shuffle(positions);
  positions.resize(count);
  std::sort(positions.begin(), positions.end());
  return positions;
}

struct Marks {
  std::vector<int64_t> firing, others;  // positions above the threshold, positions without activation
};

Marks marks_of(const Pieces& pieces, int64_t piece, double share) {
  Marks marks;
  const double threshold = share * pieces.highest(piece);
  for (int64_t i = 1; i < pieces.length; ++i) {
    if (!pieces.counts(piece, i)) continue;
    const double value = pieces.row(piece)[i];
    if (value > threshold) {
      marks.firing.push_back(i);
    } else if (value <= 0) {
      marks.others.push_back(i);
    }
  }
  return marks;
}

void check(const DetectionSettings& settings) {
  if (settings.items < 1 || !(settings.mark_above >= 0 && settings.mark_above < 1)) {
    fail_usage("detection", fmt::format("items {}, mark_above {}: expected at least 1 and a share of [0, 1)",
                                        settings.items, settings.mark_above));
  }
}

}  // namespace

std::vector<JudgedItem> detection_items(const FeatureContexts& contexts, const DetectionSettings& settings) {
  check(settings);
  const Pieces pieces(contexts);
  Random random(settings.seed, stream_name("detection", contexts));
  const Sides sides = sides_of(pieces, random);
  const size_t each = std::min({sides.firing.size(), sides.silent.size(), static_cast<size_t>(settings.items)});
  std::vector<JudgedItem> items;
  for (size_t i = 0; i < each; ++i) {
    items.push_back({sides.firing[i], true, {}});
    items.push_back({sides.silent[i], false, {}});
  }
  random.shuffle(items);
  return items;
}

std::vector<JudgedItem> fuzzing_items(const FeatureContexts& contexts, const DetectionSettings& settings) {
  check(settings);
  const Pieces pieces(contexts);
  Random random(settings.seed, stream_name("fuzzing", contexts));
  const Sides sides = sides_of(pieces, random);
  std::vector<JudgedItem> items;
  size_t silent = 0;
  for (const int64_t piece : sides.firing) {
    if (std::ssize(items) >= 2 * settings.items) break;
    const Marks marks = marks_of(pieces, piece, settings.mark_above);
    int64_t other = piece;
    std::vector<int64_t> candidates = marks.others;
    if (settings.negatives == FuzzingNegatives::silent_piece) {
      if (silent == sides.silent.size()) break;
      other = sides.silent[silent];
      candidates = marks_of(pieces, other, 0).others;
    }
    if (candidates.size() < marks.firing.size()) continue;
    ++silent;
    items.push_back({piece, true, marks.firing});
    items.push_back({other, false, draw(candidates, marks.firing.size(), random)});
  }
  random.shuffle(items);
  return items;
}

std::string item_text(const Tokenizer& tokenizer, const FeatureContexts& contexts, const JudgedItem& item) {
  const Pieces pieces(contexts);
  if (item.context < 0 || item.context >= pieces.count) {
    fail("detection", fmt::format("an item of context {}: there are {}", item.context, pieces.count));
  }
  std::string text;
  bool inside = false;
  for (int64_t i = 0; i < pieces.length; ++i) {
    const int32_t token = pieces.token_row(item.context)[i];
    if (token < 0 || tokenizer.is_special(token)) continue;
    const bool marked = std::binary_search(item.marked.begin(), item.marked.end(), i);
    if (marked != inside) text += marked ? "<<" : ">>";
    inside = marked;
    text += tokenizer.piece(token);
  }
  return inside ? text + ">>" : text;
}

DetectionScore score_verdicts(const std::vector<JudgedItem>& items, const std::vector<Verdict>& verdicts) {
  if (items.size() != verdicts.size()) {
    fail("detection", fmt::format("got {} verdicts on {} items", verdicts.size(), items.size()));
  }
  DetectionScore score;
  double right[2] = {0, 0};            // negatives, positives
  std::vector<double> confidences[2];  // of what could be read
  for (size_t i = 0; i < items.size(); ++i) {
    const size_t side = items[i].positive ? 1 : 0;
    ++(side == 1 ? score.positives : score.negatives);
    if (!verdicts[i].readable) {
      ++score.unreadable;
      right[side] += 0.5;
      continue;
    }
    if (!std::isfinite(verdicts[i].confidence)) {
      fail("detection", fmt::format("the confidence of verdict {} is {}", i, verdicts[i].confidence));
    }
    right[side] += verdicts[i].positive == items[i].positive ? 1 : 0;
    confidences[side].push_back(verdicts[i].confidence);
  }
  if (score.positives == 0 || score.negatives == 0) {
    score.balanced_accuracy = score.f1 = score.auroc = kNone;
    return score;
  }
  const auto positives = static_cast<double>(score.positives), negatives = static_cast<double>(score.negatives);
  score.balanced_accuracy = 0.5 * (right[1] / positives + right[0] / negatives);
  const double missed = positives - right[1], false_alarms = negatives - right[0];
  score.f1 = 2 * right[1] / (2 * right[1] + missed + false_alarms);
  // every pair of a positive and a negative; one with an unreadable side is a tie
  std::sort(confidences[0].begin(), confidences[0].end());
  double won = 0;
  for (const double confidence : confidences[1]) {
    const auto [low, high] = std::equal_range(confidences[0].begin(), confidences[0].end(), confidence);
    won += static_cast<double>(low - confidences[0].begin()) + 0.5 * static_cast<double>(high - low);
  }
  const double readable_pairs = static_cast<double>(confidences[0].size()) * static_cast<double>(confidences[1].size());
  score.auroc = (won + 0.5 * (positives * negatives - readable_pairs)) / (positives * negatives);
  return score;
}

std::vector<Verdict> judge_items(const std::string& description, const FeatureContexts& contexts,
                                 const std::vector<JudgedItem>& items, const Simulator& simulator,
                                 const DetectionSettings& settings) {
  std::vector<Verdict> verdicts(items.size());
  if (items.empty()) return verdicts;
  const Pieces pieces(contexts);
  std::optional<at::Tensor> simulated;
  if (description.find_first_not_of(" \t\r\n") != std::string::npos) {
    simulated = simulator.simulate(description, contexts.tokens);
  }
  if (!simulated) {
    for (Verdict& verdict : verdicts) verdict.readable = false;
    return verdicts;
  }
  if (simulated->sizes() != pieces.tokens.sizes()) fail("detection", "the simulator gave another shape than [C, T]");
  const at::Tensor values = simulated->to(at::kFloat).contiguous();
  double most = -std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < items.size(); ++i) {
    const JudgedItem& item = items[i];
    const float* row = values.data_ptr<float>() + item.context * pieces.length;
    double sum = 0, highest = -std::numeric_limits<double>::infinity();
    for (const int64_t position : item.marked) sum += row[position];
    for (int64_t position = 1; position < pieces.length; ++position) {
      if (pieces.counts(item.context, position)) highest = std::max<double>(highest, row[position]);
    }
    verdicts[i].confidence = item.marked.empty() ? highest : sum / static_cast<double>(item.marked.size());
    most = std::max(most, verdicts[i].confidence);
  }
  const double threshold = std::isnan(settings.threshold) ? std::max(0.0, most / 2) : settings.threshold;
  for (Verdict& verdict : verdicts) verdict.positive = verdict.confidence > threshold;
  return verdicts;
}

DetectionScore detection_score(const std::string& description, const FeatureContexts& contexts,
                               const Simulator& simulator, const DetectionSettings& settings) {
  const std::vector<JudgedItem> items = detection_items(contexts, settings);
  return score_verdicts(items, judge_items(description, contexts, items, simulator, settings));
}

DetectionScore fuzzing_score(const std::string& description, const FeatureContexts& contexts,
                             const Simulator& simulator, const DetectionSettings& settings) {
  const std::vector<JudgedItem> items = fuzzing_items(contexts, settings);
  return score_verdicts(items, judge_items(description, contexts, items, simulator, settings));
}

DetectionSummary summarise(const std::vector<DetectionScore>& scores) {
  DetectionSummary summary;
  summary.features = std::ssize(scores);
  for (const DetectionScore& score : scores) {
    summary.mean.positives += score.positives;
    summary.mean.negatives += score.negatives;
    summary.mean.unreadable += score.unreadable;
    if (std::isnan(score.balanced_accuracy)) {
      ++summary.without_items;
      continue;
    }
    summary.mean.balanced_accuracy += score.balanced_accuracy;
    summary.mean.f1 += score.f1;
    summary.mean.auroc += score.auroc;
  }
  const auto counted = static_cast<double>(summary.features - summary.without_items);
  for (double* value : {&summary.mean.balanced_accuracy, &summary.mean.f1, &summary.mean.auroc}) {
    *value = counted > 0 ? *value / counted : kNone;
  }
  return summary;
}

}  // namespace introspect
