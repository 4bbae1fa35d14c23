// Activation patching: which next token does the target give once a stretch of its residual stream comes from another
// prompt? Makes a data set of such questions with their answers (Li et al. 2025, section on activation patching).
#pragma once

#include "dataset/example.h"
#include "model/model.h"
#include "procedure/balance.h"
#include "procedure/cells.h"
#include "procedure/options.h"
#include "procedure/pairs.h"
#include "procedure/records.h"
#include "procedure/sweep.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace introspect {

struct PatchingSettings {
  uint64_t seed = 1;
  PairSettings pairs;
  SweepSettings sweep;
  bool balanced = true;  // changed and unchanged equally many in every cell (balance.h); false: every patch is kept
  BalanceSettings balance;
  PromptStyle style;
  std::string style_name = "plain";      // or "chat": with the target's chat template
  std::string system;                    // chat: the text of the system turn; empty: none
  std::vector<std::string> token_types;  // positions to patch, by token type; empty: all
  int64_t prompts_per_chunk = 32;        // what an interrupted sweep loses at most
};

// One flat table, as dataset.json and recipes have it, and back; absent keys keep their defaults, an unknown key is an
// Error.
Json patching_settings_to_json(const PatchingSettings& settings);
PatchingSettings parse_patching_settings(const Json& table, const std::string& label);

// Pairs and their prompts; those that cannot be run (too long for the model, subject not found in the tokens, ...) are
// counted in `dropped`. Throws Error if none is left.
std::vector<PatchPrompt> make_patch_prompts(const Model& model, const Tokenizer& tokenizer, const FactTable& facts,
                                            const PatchingSettings& settings, DropReport& dropped);
SweepPrompt sweep_prompt_of(const PatchPrompt& prompt);

// The whole procedure. Every chunk of prompts is kept as <work_folder>/sweep/cells-<number>.jsonl once it is done; a
// second call with the same settings, facts and target goes on where the first stopped and gives the same bytes. Work
// of other settings in the folder is an Error. Ctrl-C throws Error(interrupted) between two chunks.
//
// Examples: input the text of x's prompt, token the patched token's text, before and after the next token's text,
// cluster "prompt-<number>"; attributes token_type, block, relation, position, source_position, subject,
// counterfactual_subject, object, counterfactual_object, template, cell. Their order: split, prompt, block, position.
// info: settings, blocks, counts, target_accuracy, change_map (before balancing), balance (thin cells), dropped.
Dataset make_patching_dataset(const Model& model, const Tokenizer& tokenizer, const FactTable& facts,
                              const PatchingSettings& settings, const fs::path& work_folder);

}  // namespace introspect
