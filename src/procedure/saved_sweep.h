// A sweep that keeps its work: prompts go in chunks, each chunk is a file, and a second call reads what is there.
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
// in the folder is an Error. A chunk always runs as one, so that results do not depend on interruptions.
std::vector<SweepResult> sweep_and_save(const Model& model, const std::vector<SweepPrompt>& prompts,
                                        const SweepSettings& settings, int64_t prompts_per_chunk,
                                        const std::string& purpose, const fs::path& folder);

// Differs between models of the same shape, also between a model and its continuation, without reading every weight.
std::string model_fingerprint(const Model& model);

}  // namespace introspect
