// Detection and fuzzing scores (feature/detection.h) with a chat model as the judge, as Delphi has them: several pieces
// a question, and for each the model says 1 (fits the description) or 0.
#pragma once

#include "chat/chat_model.h"
#include "feature/detection.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace introspect {

enum class DetectionQuestion {
  detection,  // does the feature fire anywhere in this piece?
  fuzzing     // does it fire on the marked tokens?
};

struct ChatDetectionSettings {
  DetectionSettings items;
  int64_t pieces_a_question = 5;  // as Delphi does; more are cheaper and easier to get wrong
  int64_t max_tokens = 60;
};

// `pieces`: item_text() of each.
ChatQuestion detection_question(const std::string& description, const std::vector<std::string>& pieces,
                                DetectionQuestion kind, int64_t max_tokens);
// The last list in brackets ("[1, 0, 1]"), or a reply of nothing but zeros and ones; empty if it has not exactly
// `count` of them.
std::optional<std::vector<bool>> parse_verdicts(const std::string& reply, size_t count);

// A description with contexts of its feature: such that it was not made from or chosen on.
struct DescribedContexts {
  std::string description;
  FeatureContexts contexts;
};

// A score each; nothing is asked about an empty description, whose verdicts are all unreadable, as are those of a
// question that was refused or whose reply could not be parsed. `refused` counts such questions.
std::vector<DetectionScore> chat_detection(ChatModel& model, const Tokenizer& tokenizer,
                                           const std::vector<DescribedContexts>& features, DetectionQuestion kind,
                                           const ChatDetectionSettings& settings, int64_t& refused);

}  // namespace introspect
