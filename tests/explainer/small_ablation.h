// Questions with hints that a tiny untrained model answers: a data set of input ablation.
#pragma once

#include "base/progress.h"
#include "procedure/ablation.h"
#include "train/small_world.h"

#include <nlohmann/json.hpp>

namespace introspect::world {

inline Dataset ablation_questions(const Model& model, const fs::path& folder) {
  set_quiet(true);
  const Json hints = Json::array({{{"name", "friend"}, {"text", "A friend says {answer}."}},
                                  {{"name", "book"}, {"text", "The book has {answer}."}}});
  AblationSettings settings = parse_ablation_settings(
      {{"trial_questions", 0},
       {"hints_per_question", 2},
       {"balanced", false},
       {"prompt",
        {{"answers", "words"}, {"chat", false}, {"system", ""}, {"user", "{question}\n{hint}\nSay {options}"}}},
       {"hint", hints}},
      "test");
  DropReport dropped;
  const std::vector<ChoiceQuestion> questions =
      questions_of_facts(read_facts(write_facts(folder / "facts")), {1, 3}, dropped);
  return make_ablation_dataset(model, tokenizer(), questions, settings, folder / "work", dropped);
}

}  // namespace introspect::world
