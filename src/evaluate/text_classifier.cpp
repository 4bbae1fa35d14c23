#include "evaluate/text_classifier.h"

#include "base/error.h"
#include "base/random.h"
#include "evaluate/plain_words.h"
#include "procedure/records.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <string_view>

namespace introspect {

namespace {

constexpr size_t buckets = size_t{1} << 16;
constexpr int epochs = 15;
constexpr double first_rate = 1.0;
constexpr uint64_t seed = 1;

struct Feature {
  uint32_t bucket = 0;
  float value = 0;
};
using Features = std::vector<Feature>;

// FNV-1a; std::hash need not give the same on another machine.
uint64_t hashed(std::string_view text, uint64_t hash) {
  for (const char letter : text) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3u;
  return hash;
}

uint32_t bucket_of(uint64_t hash) {
  return static_cast<uint32_t>((hash ^ hash >> 32) % buckets);
}

// Adds the words of one field, scaled to length 1: a long input must not drown a hint of one word.
void add_field(Features& features, std::string_view field, std::string_view text, bool as_a_whole) {
  const uint64_t start = hashed("\x1f", hashed(field, 0xcbf29ce484222325u));
  std::vector<uint32_t> found;
  if (as_a_whole) found.push_back(bucket_of(hashed(text, hashed("=", start))));
  uint64_t last = hashed("^", start);  // the first word's neighbour is the beginning
  for (const PlainWord& word : plain_words(text)) {
    found.push_back(bucket_of(hashed(word.plain, start)));
    found.push_back(bucket_of(hashed(word.plain, hashed(" ", last))));
    last = hashed(word.plain, start);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  const float value = 1 / std::sqrt(static_cast<float>(std::max<size_t>(found.size(), 1)));
  for (const uint32_t bucket : found) features.push_back({bucket, value});
}

Features features_of(const Example& example, const std::vector<std::string>& attributes) {
  Features features;
  add_field(features, "", example.input, false);
  for (const std::string& name : attributes) {
    const auto found = example.attributes.find(name);
    if (found == example.attributes.end()) {
      fail("text_classifier", fmt::format("example '{}' has no attribute '{}'", example.id, name));
    }
    add_field(features, name, found->second, true);
  }
  return features;
}

// The weights are scale * raw, so that shrinking them all costs one multiplication.
class Classifier {
 public:
  Classifier(const Dataset& dataset, const std::vector<std::string>& attributes) : raw_(buckets, 0.0f) {
    const std::vector<const Example*> train = dataset.of(Split::train);
    std::vector<Features> inputs;
    double changed = 0;
    for (const Example* example : train) {
      inputs.push_back(features_of(*example, attributes));
      changed += example->changed();
    }
    const auto count = static_cast<double>(train.size());
    if (changed == 0 || changed == count) {  // nothing to tell apart
      bias_ = changed > 0 ? 1 : -1;
      return;
    }
    const double weight_changed = count / (2 * changed), weight_unchanged = count / (2 * (count - changed));
    // The penalty is half the squared length of the weights against the sum of losses: 1 / count of it an example.
    const double penalty = 1 / count;
    const auto fields = static_cast<double>(1 + attributes.size());  // the squared length of every input

    std::vector<size_t> order(train.size());
    std::iota(order.begin(), order.end(), size_t{0});
    Random random(seed, "text_classifier");
    for (int epoch = 0; epoch < epochs; ++epoch) {
      random.shuffle(order);
      const double rate = first_rate / fields / (1 + epoch);
      for (const size_t i : order) {
        const bool truth = train[i]->changed();
        const double probability = 1 / (1 + std::exp(-score(inputs[i])));
        const double step = rate * (truth ? weight_changed : weight_unchanged) * ((truth ? 1 : 0) - probability);
        scale_ *= 1 - rate * penalty;
        bias_ += step;
        const auto raw_step = static_cast<float>(step / scale_);
        for (const Feature& feature : inputs[i]) raw_[feature.bucket] += raw_step * feature.value;
      }
    }
  }

  bool says_changed(const Features& features) const { return score(features) > 0; }

 private:
  double score(const Features& features) const {
    double sum = 0;
    for (const Feature& feature : features) sum += static_cast<double>(raw_[feature.bucket]) * feature.value;
    return bias_ + scale_ * sum;
  }

  std::vector<float> raw_;
  double scale_ = 1, bias_ = 0;
};

}  // namespace

std::vector<Answer> text_classifier_floor(const Dataset& dataset, const std::vector<std::string>& attributes,
                                          Split split) {
  const Classifier classifier(dataset, attributes);
  std::map<std::string, int64_t> frequency;  // of what changed train items changed to
  for (const Example* example : dataset.of(Split::train)) {
    if (example->changed()) ++frequency[trimmed(example->after)];
  }
  const auto times = [&](const std::string& choice) {
    const auto found = frequency.find(choice);
    return found == frequency.end() ? 0 : found->second;
  };

  std::vector<Answer> answers;
  for (const Example* example : dataset.of(split)) {
    std::vector<std::string> others = choices_of(*example);
    if (others.empty()) {
      fail("text_classifier", fmt::format("example '{}' has no attribute 'choices'", example->id),
           "it holds what the target may answer, one a line");
    }
    std::erase(others, trimmed(example->before));
    if (others.empty() || !classifier.says_changed(features_of(*example, attributes))) {
      answers.push_back({example->id, answer_words(false, example->before)});
      continue;
    }
    std::sort(others.begin(), others.end());
    const auto best = std::max_element(others.begin(), others.end(),
                                       [&](const std::string& a, const std::string& b) { return times(a) < times(b); });
    answers.push_back({example->id, answer_words(true, *best)});
  }
  return answers;
}

}  // namespace introspect
