// A fact table as text: for pre-training, and for replay while an explainer is trained.
#pragma once

#include "procedure/options.h"
#include "procedure/records.h"

#include <cstdint>
#include <string>
#include <vector>

namespace introspect {

// "The capital of France is Paris." The first letter stays as the template and the subject have it. `template_index`
// counts from 0. Throws Error for a template that the relation does not have.
std::string statement_sentence(const Relation& relation, const Fact& fact, size_t template_index);

// A prompt and the words that answer it; together they are one piece of text.
struct OptionPrompt {
  std::string prompt, answer;
};
OptionPrompt option_prompt(const Relation& relation, const Fact& fact, size_t template_index,
                           const std::vector<std::string>& options, const PromptStyle& style = {});

// Every fact in every template of its relation.
std::vector<std::string> all_statements(const FactTable& table);

// `per_fact` prompts of every fact, each with a template and options drawn by `seed`; `count` options each.
// Relations with one object only are passed over.
std::vector<OptionPrompt> all_option_prompts(const FactTable& table, uint64_t seed, size_t per_fact = 1,
                                             size_t count = 5, const PromptStyle& style = {});

}  // namespace introspect
