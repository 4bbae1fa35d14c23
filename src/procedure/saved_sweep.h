// A sweep that keeps its work: prompts go in chunks, each chunk is a file, and a second call reads what is there.
#pragma once

#include "model/model.h"
#include "procedure/sweep.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// <folder>/sweep.json says what the work belongs to; <folder>/cells-000012.jsonl has a line for each prompt of chunk
// 12:
// {"prompt": 387, "before": 1201, "correct": true, "swept": true, "after": [[...], ...]} (token ids, [blocks][cells]).
// `purpose` is a text that holds everything that decides the results besides prompts and model: work of another purpose
// in the folder is an Error. A chunk always runs as one, so that results do not depend on interruptions,
// nor on how many run beside each other.
std::vector<SweepResult> sweep_and_save(const Model& model, const std::vector<SweepPrompt>& prompts,
                                        const SweepSettings& settings, int64_t prompts_per_chunk,
                                        const std::string& purpose, const fs::path& folder);

// Runs the chunks of a sweep: of a small model several beside each other, each on one processor thread, since its
// products do not fill several; of a large one one after the other on all threads.
void run_chunks(const Model& model, const std::vector<std::function<void()>>& chunks);

std::vector<SweepPrompt> slice(const std::vector<SweepPrompt>& prompts, size_t begin, size_t end);

// Differs between models of the same shape, also between a model and its continuation, without reading every weight.
std::string model_fingerprint(const Model& model);

}  // namespace introspect
