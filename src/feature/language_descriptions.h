// Descriptions of features by a language model that is shown what makes them fire.
//
// The form of the prompt is that of EleutherAI's Delphi (Paulo et al. 2024, arXiv 2410.13928), which Neuronpedia offers
// too and which goes back to OpenAI's automated interpretability (Bills et al. 2023): pieces of text with the firing
// tokens between << and >>, these tokens listed with their activation on a scale of 0 to 10, and a last line that holds
// the answer. The words are our own.
#pragma once

#include "chat/chat_model.h"
#include "chat/cost.h"
#include "feature/contexts.h"
#include "feature/descriptions.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace introspect {

struct LanguageDescriptionSettings {
  int64_t exemplars = 10;    // pieces that are shown, at most
  int64_t candidates = 3;    // descriptions asked for: the first is the likeliest, the others are drawn
  double temperature = 0.8;  // of the others
  double mark_above = 0.3;   // tokens above this share of the piece's highest activation are marked (as in Delphi)
  int64_t max_tokens = 200;
};

// One question a candidate; none for a feature that fires in no piece that may be shown. Only contexts with even index
// are shown, the strongest first: descriptions are chosen on those (choose_description) and tested on the others.
// `promoted`: tokens that the feature makes likelier, shown if there are any.
std::vector<ChatQuestion> description_questions(const FeatureContexts& contexts,
                                                const std::vector<std::string>& promoted, const Tokenizer& tokenizer,
                                                const LanguageDescriptionSettings& settings);

// What stands behind the last "DESCRIPTION:" of a reply, without quotes around it or marks in it; empty if there is no
// such line, or nothing or more than 300 bytes behind it.
std::optional<std::string> parse_description(const std::string& reply);

// The `count` tokens that a direction of the residual stream [D] raises most: its inner product with the final norm's
// weight times the head's rows. What later blocks make of it is left out ("logit lens").
std::vector<std::string> promoted_tokens(const Model& model, const Tokenizer& tokenizer, const at::Tensor& direction,
                                         int64_t count);

struct LanguageDescriptionReport {
  int64_t features = 0, silent = 0;  // silent: fire in no piece that may be shown, so that nothing was asked
  int64_t questions = 0, refused = 0, unparsable = 0;
  int64_t duplicates = 0;   // candidates that say the same in other capitals
  int64_t undescribed = 0;  // asked about, without a description in the end
};

struct LanguageDescriptionTask {
  std::vector<std::pair<int64_t, int64_t>> features;                     // layer, latent
  std::function<std::vector<ChatQuestion>(int64_t, int64_t)> questions;  // of a layer and latent
};

// What asking would cost, without asking.
ChatEstimate estimate_descriptions(const ChatModel& model, const LanguageDescriptionTask& task);

// A feature each, in the order of the task: its different candidates with the model's name as their source and scores
// of NaN; nothing can be lost by stopping if the model remembers (chat/cache.h).
std::vector<DescribedFeature> describe_with_model(ChatModel& model, const LanguageDescriptionTask& task,
                                                  LanguageDescriptionReport& report);

}  // namespace introspect
