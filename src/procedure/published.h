// The data sets that Li et al. (2025) published, as data sets of ours: Parquet files of Hugging Face data sets
// (docs/PUBLISHED.md has the columns).
//
// Patching rows carry the vector that was put in, so no target is needed. Ablation rows have none.
#pragma once

#include "dataset/example.h"
#include "procedure/pairs.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace introspect {

struct ImportSettings {
  bool full = false;               // the split train_full in place of train (patching of Llama-3.1-8B has both)
  double validation_share = 0.05;  // of the train prompts, where no validation split was published
  uint64_t seed = 1;
  int64_t limit = 0;  // rows of each split; 0: all
};
Json import_settings_to_json(const ImportSettings& settings);

struct ImportReport {
  std::map<std::string, int64_t> rows;       // read, by published split
  std::map<std::string, int64_t> not_asked;  // of splits that were passed over
  std::vector<std::string> unused_columns;   // that nothing here reads
  DropReport dropped;                        // rows that were left out, and what is odd about rows that were kept
  int64_t test_prompts = 0, test_prompts_in_train = 0;
};

// .parquet files by split: a file's own name ("train-00000-of-00004.parquet") or, where that is a number, its folder's
// says which. `paths`: files and folders. Throws Error for a name that is no split, and where there are none.
std::map<std::string, std::vector<fs::path>> published_files(const std::vector<fs::path>& paths);

// Activation patching: layer, input_tokens, original_continuation, ablated_continuation and patch_position with
// orig_pos, orig_text_token and intervention_vector; if there are also is_different, token_type, counterfactual_text,
// gt_original_target, patch_position.counterfact_pos and counterfact_text_token. Tokens are written as text or in
// GPT-2's alphabet. Attributes and info are those of procedure/patching.h, as far as the rows know them.
Dataset import_patching(const std::vector<fs::path>& paths, const ImportSettings& settings, ImportReport& report);

// Input ablation: question, choices, correct_answer, zeroshot_prediction, random_hint_prediction, original_user_prompt,
// hint_user_prompt; if there are also hint, system_prompt, changed_pred_bc_hint and index. As procedure/ablation.h.
Dataset import_ablation(const std::vector<fs::path>& paths, const ImportSettings& settings, ImportReport& report);

}  // namespace introspect
