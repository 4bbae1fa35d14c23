#include "procedure/render.h"

#include "base/error.h"
#include "base/random.h"

#include <fmt/format.h>

namespace introspect {

namespace {

const std::string& template_at(const Relation& relation, size_t index) {
  if (index >= relation.templates.size()) {
    fail("render", fmt::format("relation \"{}\": got template {}, expected one of {}, counted from 0", relation.name,
                               index, relation.templates.size()));
  }
  return relation.templates[index];
}

}  // namespace

std::string statement_sentence(const Relation& relation, const Fact& fact, size_t template_index) {
  return statement_text(template_at(relation, template_index), fact.subject) + option_answer(fact.object) + ".";
}

OptionPrompt option_prompt(const Relation& relation, const Fact& fact, size_t template_index,
                           const std::vector<std::string>& options, const PromptStyle& style) {
  return {target_prompt(template_at(relation, template_index), fact.subject, options, style).text,
          option_answer(fact.object)};
}

std::vector<std::string> all_statements(const FactTable& table) {
  std::vector<std::string> sentences;
  for (const Relation& relation : table.relations) {
    for (const Fact& fact : relation.facts) {
      for (size_t i = 0; i < relation.templates.size(); ++i) sentences.push_back(statement_sentence(relation, fact, i));
    }
  }
  return sentences;
}

std::vector<OptionPrompt> all_option_prompts(const FactTable& table, uint64_t seed, size_t per_fact, size_t count,
                                             const PromptStyle& style) {
  std::vector<OptionPrompt> prompts;
  for (const Relation& relation : table.relations) {
    if (relation.objects().size() < 2) continue;
    Random random(seed, "render/options/" + relation.name);
    for (const Fact& fact : relation.facts) {
      for (size_t i = 0; i < per_fact; ++i) {
        const size_t template_index = random.below(relation.templates.size());
        const std::vector<std::string> options = choose_options(relation, fact, nullptr, count, random);
        if (options.size() < 2) break;  // every object of the relation is true of this subject: none is wrong
        prompts.push_back(option_prompt(relation, fact, template_index, options, style));
      }
    }
  }
  return prompts;
}

}  // namespace introspect
