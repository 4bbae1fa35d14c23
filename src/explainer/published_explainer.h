// The explainers that Li et al. (2025) published, and others of their layout, as explainer folders of ours: a Hugging
// Face checkpoint or a PEFT adapter, which takes the vector raw in place of the embedding of one reserved token.
#pragma once

#include "explainer/explainer.h"

#include <filesystem>
#include <optional>
#include <string>

namespace introspect {

struct PublishedExplainer {
  fs::path folder;                       // with config.json (a whole model) or adapter_config.json
  fs::path base;                         // the adapter's base model; of a whole model only for a tokenizer it lacks
  std::string task;                      // features, patching or ablation
  std::optional<bool> chat;              // not set: whether the tokenizer has a chat template
  std::string system, prefill;           // chat: system turn (ablation: the published one if empty), begun answer
  std::vector<std::string> slot_tokens;  // begin, slot, end; empty: those of Llama 3 or Qwen3
  std::vector<std::string> templates;    // empty: the published ones
};

// The wordings of a task as published: for base models they end in a blank or a line end, for chat models they are
// what the user says. `qwen`: its explainers of features know two wordings more.
std::vector<std::string> published_templates(const std::string& task, bool chat, bool qwen);

// Writes `out`/explainer.json and links to the folder's files beside it: nothing is copied. Returns the configuration.
// Throws Error for a folder that is neither layout, an adapter without base model, and a tokenizer without slot tokens.
ExplainerConfig import_explainer(const PublishedExplainer& published, const fs::path& out);

}  // namespace introspect
