#include "evaluate/feature_score.h"

#include "base/error.h"
#include "base/safetensors.h"
#include "evaluate/metrics.h"
#include "feature/contexts.h"

#include <charconv>

#include <ATen/Functions.h>

namespace introspect {

FeatureScorer::FeatureScorer(const Dataset& dataset, const fs::path& folder, std::shared_ptr<const Simulator> simulator)
    : simulator_(std::move(simulator)) {
  const fs::path file = folder / "contexts.safetensors";
  const Safetensors stored(file);
  tokens_ = stored.get("tokens");
  activations_ = stored.get("activations");
  kinds_ = stored.get("kinds");
  const bool fits = tokens_.dim() == 3 && tokens_.scalar_type() == at::kInt && activations_.sizes() == tokens_.sizes() &&
                    activations_.scalar_type() == at::kFloat && kinds_.dim() == 2 &&
                    kinds_.scalar_type() == at::kInt && kinds_.size(0) == tokens_.size(0) &&
                    kinds_.size(1) == tokens_.size(1);
  if (!fits) {
    fail("evaluate", fmt::format("contexts: expected tokens [n, C, T] I32, activations of the same shape F32 and kinds "
                                 "[n, C] I32 ({})",
                                 file.string()));
  }
  for (const Example* example : dataset.of(Split::test)) contexts_row(*example);  // throws for rows that are not there
}

int64_t FeatureScorer::contexts_row(const Example& example) const {
  const auto found = example.attributes.find("contexts");
  int64_t row = -1;
  if (found != example.attributes.end()) {
    const std::string& text = found->second;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), row);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) row = -1;
  }
  if (row < 0 || row >= tokens_.size(0)) {
    fail("evaluate", fmt::format("example '{}' names no row of contexts.safetensors, which has {}", example.id,
                                 tokens_.size(0)));
  }
  return row;
}

}  // namespace introspect
