// AblationSettings as a recipe's table and back.
#include "base/error.h"
#include "procedure/ablation.h"

#include <nlohmann/json.hpp>

namespace introspect {

Json ablation_settings_to_json(const AblationSettings& s) {
  Json json{{"seed", s.seed},
            {"max_questions", s.max_questions},
            {"hints_per_question", s.hints_per_question},
            {"trial_questions", s.trial_questions},
            {"min_changed", s.min_changed},
            {"max_changed", s.max_changed},
            {"balanced", s.balanced},
            {"min_per_cell", s.balance.min_per_cell},
            {"max_per_cell", s.balance.max_per_cell},
            {"split_by", s.split.by},
            {"train_share", s.split.train_share},
            {"validation_share", s.split.validation_share},
            {"tokens_per_pass", s.run.tokens_per_pass},
            {"questions_per_chunk", s.questions_per_chunk},
            {"gate",
             {{"min_right", s.gate.min_right},
              {"min_followed", s.gate.min_followed},
              {"max_followed", s.gate.max_followed},
              {"wordings", s.gate.wordings}}},
            {"prompt", choice_style_to_json(s.style)},
            {"hint", wordings_to_json(s.hints)}};
  if (s.passage.statements > 0) {
    json["passage"] = {{"statements", s.passage.statements}, {"statement", s.passage.statement}};
  }
  return json;
}

namespace {

AblationPassage parse_passage(const Json& table, const std::string& label) {
  AblationPassage passage;
  for (const auto& [key, value] : table.items()) {
    if (key != "statements" && key != "statement") {
      fail_usage("ablation",
                 fmt::format("unknown key 'dataset.passage.{}', expected statements or statement ({})", key, label));
    }
  }
  passage.statements = json_get_or<int64_t>(table, "statements", passage.statements, label);
  passage.statement = json_get_or<std::string>(table, "statement", passage.statement, label);
  for (const char* mark : {"{question}", "{answer}"}) {
    if (passage.statement.find(mark) == std::string::npos) {
      fail_usage("ablation",
                 fmt::format("passage.statement: expected {} in \"{}\" ({})", mark, passage.statement, label));
    }
  }
  if (passage.statements < 0) {
    fail_usage("ablation",
               fmt::format("passage.statements: got {}, expected 0 or more ({})", passage.statements, label));
  }
  return passage;
}

}  // namespace

AblationSettings parse_ablation_settings(const Json& table, const std::string& label) {
  AblationSettings s;
  s.balance.max_share = 1;  // wordings are few, and all are wanted
  const Json known = ablation_settings_to_json(s);
  for (const auto& [key, value] : table.items()) {
    if (!known.contains(key) && key != "passage")
      fail_usage("ablation", fmt::format("unknown key 'dataset.{}' ({})", key, label));
  }
  const auto read = [&](const Json& from, const char* key, auto& value) {
    using Value = std::decay_t<decltype(value)>;
    value = json_get_or<Value>(from, key, value, label);
  };
  s.seed = static_cast<uint64_t>(json_get_or<int64_t>(table, "seed", 1, label));
  read(table, "max_questions", s.max_questions);
  read(table, "hints_per_question", s.hints_per_question);
  read(table, "trial_questions", s.trial_questions);
  read(table, "min_changed", s.min_changed);
  read(table, "max_changed", s.max_changed);
  read(table, "balanced", s.balanced);
  read(table, "min_per_cell", s.balance.min_per_cell);
  read(table, "max_per_cell", s.balance.max_per_cell);
  read(table, "split_by", s.split.by);
  read(table, "train_share", s.split.train_share);
  read(table, "validation_share", s.split.validation_share);
  read(table, "tokens_per_pass", s.run.tokens_per_pass);
  read(table, "questions_per_chunk", s.questions_per_chunk);
  if (table.contains("gate")) {
    const Json& gate = table.at("gate");
    for (const auto& [key, value] : gate.items()) {
      if (!known.at("gate").contains(key)) {
        fail_usage("ablation", fmt::format("unknown key 'dataset.gate.{}' ({})", key, label));
      }
    }
    read(gate, "min_right", s.gate.min_right);
    read(gate, "min_followed", s.gate.min_followed);
    read(gate, "max_followed", s.gate.max_followed);
    read(gate, "wordings", s.gate.wordings);
  }
  if (table.contains("passage")) s.passage = parse_passage(table.at("passage"), label);
  s.style = parse_choice_style(table.contains("prompt") ? table.at("prompt") : Json::object(), label);
  s.hints = parse_wordings(table.contains("hint") ? table.at("hint") : Json(), label);
  s.run.add_special = !s.style.chat;
  if (s.split.by != "question" && s.split.by != "subject") {
    fail_usage("ablation", fmt::format("split_by: got '{}', expected question or subject ({})", s.split.by, label));
  }
  for (const auto& [key, value] : {std::pair{"hints_per_question", s.hints_per_question},
                                   {"tokens_per_pass", s.run.tokens_per_pass},
                                   {"questions_per_chunk", s.questions_per_chunk}}) {
    if (value < 1) fail_usage("ablation", fmt::format("{}: got {}, expected at least 1 ({})", key, value, label));
  }
  return s;
}

}  // namespace introspect
