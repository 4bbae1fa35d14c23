// An explainer: a language model, the slot through which it receives vectors, and how it is asked.
//
// Its folder is a Hugging Face folder (full fine-tuning) or a PEFT adapter (LoRA) with explainer.json and, where there
// are any, projections.safetensors ("projection.<layer>" [d_explainer, d_target]).
#pragma once

#include "explainer/injection.h"
#include "explainer/question.h"
#include "model/lora.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <filesystem>
#include <string>

namespace introspect {

struct ExplainerConfig {
  std::string task = "patching";
  QuestionStyle style;
  InjectionConfig injection;
  std::vector<std::string> slot_tokens;  // named in the recipe; empty: found
};
Json explainer_config_to_json(const ExplainerConfig& config);
ExplainerConfig parse_explainer_config(const Json& json, const std::string& label);

struct Explainer {
  Model model;
  Tokenizer tokenizer;
  ExplainerConfig config;
  std::vector<ExplainerConfig> also;  // of one that learnt several tasks: how it is asked about the others
  Projections projections;
  SlotTokens slot;            // -1 where the task has no vectors
  double embedding_norm = 1;  // mean norm of the embedding rows, for norm_matched

  Explainer(Model given_model, Tokenizer given_tokenizer, ExplainerConfig given_config,
            std::vector<ExplainerConfig> given_also = {});

  size_t tasks() const { return 1 + also.size(); }
  const ExplainerConfig& config_of(size_t task) const { return task == 0 ? config : also.at(task - 1); }
  // Makes `task` the one that it is asked about. One that learnt a single task is left as it is. Throws Error for a
  // task that it did not learn.
  void ask_about(const std::string& task);
};

// SelfIE (paper, baselines): an untrained model is asked for the meaning of a word, and v / |v| * scale stands in place
// of the word. `asked` gives task, slot tokens and BOS.
ExplainerConfig selfie_config(const ExplainerConfig& asked, double scale);

// A base model before training.
Explainer open_base(const fs::path& model_folder, const ExplainerConfig& config, const LoadOptions& load = {},
                    const std::vector<ExplainerConfig>& also = {});

// A trained explainer's folder. An adapter names its base model in explainer.json. Throws Error for a folder without
// explainer.json and whatever load_model and load_lora throw. Weights come in the type that explainer.json names
// ("weights", of adapters), else in float32, mapped where they can: they are to be read alone.
Explainer open_explainer(const fs::path& folder);

// `lora` null: the whole model, in float32, so that answers stay the same after loading. `weights`: the type that an
// adapter was trained on.
void save_explainer(const Explainer& explainer, const LoraConfig* lora, const fs::path& base_model,
                    const fs::path& folder, const std::string& weights = "fp32");

}  // namespace introspect
