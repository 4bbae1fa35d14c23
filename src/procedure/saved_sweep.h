// A sweep that keeps its work (saved_chunks.h).
#pragma once

#include "model/model.h"
#include "procedure/sweep.h"

#include <filesystem>
#include <string>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// <folder>/sweep.json says what the work belongs to; <folder>/cells-000012.jsonl has a line for each prompt of chunk
// 12:
// {"prompt": 387, "before": 1201, "correct": true, "swept": true, "after": [[...], ...]} (token ids, [blocks][cells]).
// `purpose` is a text that holds everything that decides the results besides prompts and model: work of another purpose
// in the folder is an Error.
std::vector<SweepResult> sweep_and_save(const Model& model, const std::vector<SweepPrompt>& prompts,
                                        const SweepSettings& settings, int64_t prompts_per_chunk,
                                        const std::string& purpose, const fs::path& folder);

std::vector<SweepPrompt> slice(const std::vector<SweepPrompt>& prompts, size_t begin, size_t end);

}  // namespace introspect
