// Input ablation: what does the target answer to a question once the hint in its prompt is taken away? Makes a data set
// of such questions with their answers (Li et al. 2025, section on input ablation).
#pragma once

#include "dataset/example.h"
#include "model/model.h"
#include "procedure/balance.h"
#include "procedure/choice_prompt.h"
#include "procedure/leave_out.h"
#include "procedure/questions.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace introspect {

// What must be so of the target before an explainer's score can mean anything: it knows the answers by itself, and
// hints move it often but not always.
struct AblationGate {
  double min_right = 0.7;                         // share right without a hint
  double min_followed = 0.3, max_followed = 0.7;  // share of wrong hints that are followed, of a wording that counts
  int64_t wordings = 2;                           // so many must count (or all there are, if there are fewer)
};

// What may stand in place of the hint alone: a passage with the hint among statements, of which every sentence is taken
// away by itself. A statement is another question with its right answer.
struct AblationPassage {
  int64_t statements = 0;  // 0: the hint alone
  std::string statement = "{question} {answer}.";
};

struct AblationSettings {
  uint64_t seed = 1;
  int64_t max_questions = 0;       // drawn by seed; 0: all
  int64_t hints_per_question = 1;  // each of another wording; the answer that the hint names is uniform
  // Wordings are tried on `trial_questions` of the train split first; those whose hints change the answer in
  // min_changed to max_changed of cases are kept, or if there is none the one that comes nearest. 0: no trial, all
  // kept.
  int64_t trial_questions = 200;
  double min_changed = 0.3, max_changed = 0.7;
  bool balanced = true;  // changed and unchanged equally many in every (wording, subject)
  BalanceSettings balance;
  QuestionSplit split;
  ChoicePromptStyle style;
  std::vector<HintWording> hints;
  AblationPassage passage;
  LeaveOutSettings run;
  int64_t questions_per_chunk = 64;  // what an interrupted run loses at most
  AblationGate gate;
};
// A recipe's [dataset] table, and back; absent keys keep their defaults, an unknown key is an Error.
Json ablation_settings_to_json(const AblationSettings& settings);
AblationSettings parse_ablation_settings(const Json& table, const std::string& label);

// The whole procedure. Finished chunks are kept in work_folder/{trial,ablation}; a second call goes on where the first
// stopped and gives the same bytes. `dropped` has what reading the questions left out already. Throws Error if no
// question is left.
//
// Examples: input the user's words with the hint, token the hint's words, before the answer with and after the answer
// without the hint ("Answer: B"), cluster the question's group; attributes wording, subject, subject_half (two halves
// of the subjects, for tests of generalisation), question, options and choices (one a line: the words, and as answers
// are said), hint (the answer it names), hint_right, right (the right answer). Of a passage an example is a sentence of
// it: token is that, wording "statement" unless it is the hint, part how a question names it, passage the whole,
// removed_at where in it the sentence begins. info: settings, counts, target_accuracy (without a hint), hints (a line
// each wording), gate, no_answer (how often the likeliest token was none of the answers), balance, dropped.
Dataset make_ablation_dataset(const Model& model, const Tokenizer& tokenizer,
                              const std::vector<ChoiceQuestion>& questions, const AblationSettings& settings,
                              const fs::path& work_folder, DropReport& dropped);

// How an answer stands in the brackets: "Answer: B".
std::string bracket_answer(const std::string& answer);

}  // namespace introspect
