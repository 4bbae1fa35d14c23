// How an explainer that is its own target moves while it learns, and whether what it says is true of what it was or of
// what it has become.
#pragma once

#include "dataset/example.h"
#include "experiment/train_jobs.h"
#include "model/model.h"
#include "report/report.h"
#include "text/tokenizer.h"

#include <filesystem>
#include <vector>

namespace introspect {

// The examples of an ablation data set with the answers that `model` itself gives to their prompts. Those that it
// cannot be asked keep theirs; info["not_asked"] has their ids.
Dataset with_answers_of(const Model& model, const Tokenizer& tokenizer, const Dataset& dataset);
// The test examples of an ablation data set with the answers that the explainer in `explainer` itself gives now.
Dataset own_labels(const fs::path& explainer, const Dataset& dataset);

// Of the jobs that were trained with self_consistency, the first seed of each row: how far it drifted, and its answers
// (out/answers/...) scored against the labels of the start and against its own; scores in out/own_labels. Empty if
// there are none.
std::vector<NamedTable> self_consistency_tables(const std::vector<TrainJob>& jobs, const Dataset& scored,
                                                const fs::path& dataset_folder, const fs::path& out);

}  // namespace introspect
