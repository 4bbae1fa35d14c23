// The answer in sentences, made from the scores alone: what was measured, what self is better than, and what follows.
// It says so when there is no effect, and when the run was no test of it.
#pragma once

#include "report/against.h"
#include "report/report.h"
#include "report/table.h"

#include <string>
#include <vector>

namespace introspect {

// Empty if the run is valid; else that it is not, and why.
std::vector<std::string> validity_sentences(const ReportInput& input);
// "at least 70%", "30 to 70%"
std::string wanted_words(const Gate& gate);

// Of one task and target. `input`: its gates; its scores are not read. A run that is not valid gets figures, and no
// conclusion; that it is not valid is said by validity_sentences.
std::vector<std::string> headline_sentences(const ScoreTable& table, const ReportInput& input = {});
std::vector<std::string> ablation_sentences(const ScoreTable& table, const ReportInput& input);

}  // namespace introspect
