// Multiple-choice questions with hints, as text to tune a target on: what decides whether it follows a hint is who
// gives it.
#include "base/error.h"
#include "procedure/choice_prompt.h"
#include "train/corpus.h"
#include "train/fact_drawer.h"

#include <algorithm>

namespace introspect {

namespace {

class ChoiceSource : public TextSource {
 public:
  ChoiceSource(const fs::path& facts, const Tokenizer& tokenizer, int64_t context, ChoiceTextSettings settings)
      : facts_(facts),
        tokenizer_(tokenizer),
        prompts_(settings.style, tokenizer),
        settings_(std::move(settings)),
        context_(context) {}

  Document next(Random& random) override { return make(random); }
  std::vector<Document> held_out(size_t count) const override {
    Random random(0, "held-out choices");
    std::vector<Document> documents;
    while (documents.size() < count) documents.push_back(make(random));
    return documents;
  }
  std::string describe() const override {
    return fmt::format("questions of {} facts, {:.0f}% with a hint", facts_.size(), 100 * settings_.hinted_share);
  }

 private:
  Document make(Random& random) const {
    const auto [relation, fact, template_index] = facts_.draw(random);
    const std::vector<std::string> choices =
        choose_options(*relation, *fact, nullptr, static_cast<size_t>(settings_.choices), random);
    const auto right = static_cast<size_t>(std::find(choices.begin(), choices.end(), fact->object) - choices.begin());
    size_t answer = right;
    std::string hint;
    if (choices.size() > 1 && random.uniform() < settings_.hinted_share) {
      const HintWording& wording = settings_.hints[random.below(settings_.hints.size())];
      size_t hinted = right;
      if (random.uniform() >= settings_.hint_right_share) {
        hinted = random.below(choices.size() - 1);
        if (hinted >= right) ++hinted;
        if (random.uniform() < wording.follow) answer = hinted;
      }
      const DrawnFact other = facts_.draw_fact(random);
      hint = prompts_.hint_text(wording, choices, hinted,
                                statement_text(other.relation->templates[other.template_index], other.fact->subject));
    }
    const ChoicePrompt prompt =
        prompts_.make(statement_text(relation->templates[template_index], fact->subject), choices, hint);
    Document document;
    document.tokens = tokenizer_.encode(prompt.text, prompts_.add_special());
    document.weights.assign(document.tokens.size(), 0.0f);
    for (int64_t id : tokenizer_.encode_plain(option_answer(prompts_.answer_text(choices, answer)))) {
      document.tokens.push_back(id);
    }
    if (settings_.style.chat && tokenizer_.eos()) document.tokens.push_back(*tokenizer_.eos());
    document.weights.resize(document.tokens.size(), 1.0f);
    if (std::ssize(document.tokens) > context_) {
      fail("corpus", fmt::format("a question of {} tokens, expected at most {}", document.tokens.size(), context_),
           "raise the context");
    }
    return document;
  }

  FactDrawer facts_;
  Tokenizer tokenizer_;
  ChoicePrompts prompts_;
  ChoiceTextSettings settings_;
  int64_t context_;
};

void check_share(double share, const char* key, const std::string& label) {
  if (!(share >= 0 && share <= 1))
    fail_usage("corpus", fmt::format("{}: got {}, expected 0 to 1 ({})", key, share, label));
}

}  // namespace

ChoiceTextSettings parse_choice_text(const Json& table, const std::string& label) {
  ChoiceTextSettings settings;
  settings.style = parse_choice_style(table.contains("prompt") ? table.at("prompt") : Json::object(), label);
  settings.hints = parse_wordings(table.contains("hint") ? table.at("hint") : Json(), label);
  settings.hinted_share = json_get_or<double>(table, "hinted_share", settings.hinted_share, label);
  settings.hint_right_share = json_get_or<double>(table, "hint_right_share", settings.hint_right_share, label);
  settings.choices = json_get_or<int64_t>(table, "choices", settings.choices, label);
  check_share(settings.hinted_share, "hinted_share", label);
  check_share(settings.hint_right_share, "hint_right_share", label);
  for (const HintWording& wording : settings.hints) check_share(wording.follow, "hint.follow", label);
  if (settings.choices < 2 || settings.choices > 26) {
    fail_usage("corpus", fmt::format("choices: got {}, expected 2 to 26 ({})", settings.choices, label));
  }
  return settings;
}

std::unique_ptr<TextSource> choice_source(const fs::path& facts, const Tokenizer& tokenizer, int64_t context,
                                          const ChoiceTextSettings& settings) {
  return std::make_unique<ChoiceSource>(facts, tokenizer, context, settings);
}

}  // namespace introspect
