// The published input-ablation data.
#include "base/error.h"
#include "procedure/ablation.h"
#include "procedure/published_rows.h"
#include "procedure/wording.h"

#include <algorithm>

#include <fmt/ranges.h>

namespace introspect {

namespace {

const PublishedColumns kColumns = {{"question", "choices", "correct_answer", "zeroshot_prediction",
                                    "random_hint_prediction", "original_user_prompt", "hint_user_prompt"},
                                   {"hint", "system_prompt", "changed_pred_bc_hint", "index"}};
constexpr const char* kWording = "published";

// The letter of a choice: of "B", " B", "Answer: B", and of 1, counted from 0.
std::optional<std::string> letter_of(const Json& value) {
  if (value.is_number_integer()) {
    const auto number = value.get<int64_t>();
    if (number < 0 || number >= static_cast<int64_t>(most_choices)) return std::nullopt;
    return std::string(1, static_cast<char>('A' + number));
  }
  if (!value.is_string()) return std::nullopt;
  std::string text = trimmed(value.get<std::string>());
  constexpr std::string_view kCue = "Answer:";
  if (text.starts_with(kCue)) text = trimmed(text.substr(kCue.size()));
  if (text.ends_with(".")) text.pop_back();
  if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z') return text;
  if (text.size() == 1 && text[0] >= '0' && text[0] <= '9') return letter_of(Json(text[0] - '0'));
  return std::nullopt;
}

// The letter that a hint names: the last capital that stands alone.
std::string hinted_letter(const std::string& hint) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  for (size_t i = hint.size(); i-- > 0;) {
    const bool alone = (i == 0 || !is_letter(hint[i - 1])) && (i + 1 == hint.size() || !is_letter(hint[i + 1]));
    if (hint[i] >= 'A' && hint[i] <= 'Z' && alone) return std::string(1, hint[i]);
  }
  return "";
}

struct Tally {
  int64_t prompts = 0, right_without = 0, right_with = 0, wrong = 0, followed = 0, changed = 0;
  double share(int64_t part, int64_t whole) const {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
  }
};

class AblationImport {
 public:
  explicit AblationImport(ImportReport& report) : report_(report) { dataset_.task = "ablation"; }

  void add(Split split, const std::string& id, const Json& row) {
    const auto with = letter_of(row.at("random_hint_prediction")), without = letter_of(row.at("zeroshot_prediction")),
               right = letter_of(row.at("correct_answer"));
    if (!with || !without || !right) {
      report_.dropped.add("an answer that is no letter", id);
      return;
    }
    const std::vector<std::string> choices = choices_of(row, id);
    const std::string question = required_text(row, "question", id), user = required_text(row, "hint_user_prompt", id);
    const std::string hint = hint_of(row, user, id);
    if (choices.size() < 2 || hint.empty()) {
      report_.dropped.add(hint.empty() ? "no hint in hint_user_prompt" : "fewer than two choices", id);
      return;
    }
    Example example;
    example.id = "ablation-" + id;
    example.split = split;
    example.cluster = plain_text(question);
    example.input = user;
    example.token = hint;
    example.before = bracket_answer(*with);
    example.after = bracket_answer(*without);
    example.answer = answer_sentence(example.changed(), example.after);
    std::vector<std::string> said;
    for (size_t i = 0; i < choices.size(); ++i)
      said.push_back(bracket_answer(std::string(1, static_cast<char>('A' + i))));
    const std::string hinted = hinted_letter(hint);
    example.attributes = {{"wording", kWording},
                          {"subject", "MMLU"},
                          {"question_id", id},
                          {"question", question},
                          {"options", fmt::format("{}", fmt::join(choices, "\n"))},
                          {"choices", fmt::format("{}", fmt::join(said, "\n"))},
                          {"hint", hinted},
                          {"hint_right", hinted == *right ? "yes" : "no"},
                          {"right", *right}};
    count(example, *with, *without, *right, hinted);
    compare(row, example, id);
    if (row.contains("system_prompt") && row.at("system_prompt").is_string()) {
      ++systems_[row.at("system_prompt").get<std::string>()];
    }
    dataset_.examples.push_back(std::move(example));
  }

  Dataset finish(const ImportSettings& settings) {
    if (dataset_.examples.empty()) fail("import", "no row could be used: " + report_.dropped.text());
    split_published(dataset_, settings, report_);
    std::stable_sort(dataset_.examples.begin(), dataset_.examples.end(),
                     [](const Example& a, const Example& b) { return a.split < b.split; });
    set_info();
    return std::move(dataset_);
  }

 private:
  static std::vector<std::string> choices_of(const Json& row, const std::string& id) {
    std::vector<std::string> choices;
    for (const Json& each : row.at("choices")) {
      const auto text = published_text(each);
      if (!text) fail("import", fmt::format("row {}: choices: got {}, expected text", id, each.dump()));
      std::string line = trimmed(*text);
      std::replace(line.begin(), line.end(), '\n', ' ');
      choices.push_back(line);
    }
    return choices;
  }

  // What the hinted prompt has more than the other one; else what the column says, if it stands in the prompt.
  static std::string hint_of(const Json& row, const std::string& user, const std::string& id) {
    const std::string plain = trimmed(required_text(row, "original_user_prompt", id));
    if (trimmed(user).starts_with(plain) && trimmed(user).size() > plain.size()) {
      return trimmed(trimmed(user).substr(plain.size()));
    }
    const auto said = row.contains("hint") ? published_text(row.at("hint")) : std::nullopt;
    return said && user.find(trimmed(*said)) != std::string::npos ? trimmed(*said) : "";
  }

  void count(const Example& example, const std::string& with, const std::string& without, const std::string& right,
             const std::string& hinted) {
    ++tally_.prompts;
    tally_.right_without += without == right;
    tally_.right_with += with == right;
    tally_.wrong += hinted != right;
    tally_.followed += hinted != right && with == hinted;
    tally_.changed += example.changed();
  }

  void compare(const Json& row, const Example& example, const std::string& id) {
    const auto said = row.find("changed_pred_bc_hint");
    if (said == row.end()) return;
    if (said->is_null()) {
      report_.dropped.add("kept: changed_pred_bc_hint is null", id);
    } else if (said->is_boolean() && said->get<bool>() != example.changed()) {
      report_.dropped.add("kept: changed_pred_bc_hint says something else than the two predictions", id);
    }
  }

  void set_info() {
    const AblationGate gate;
    const double right = tally_.share(tally_.right_without, tally_.prompts),
                 followed = tally_.share(tally_.followed, tally_.wrong);
    const bool counts = followed >= gate.min_followed && followed <= gate.max_followed;
    Json& info = dataset_.info;
    info["target_accuracy"] = {{"prompts", tally_.prompts}, {"correct", tally_.right_without}, {"share", right}};
    info["hints"] = Json::array({{{"wording", kWording},
                                  {"text", dataset_.examples.front().token},
                                  {"chosen", true},
                                  {"prompts", tally_.prompts},
                                  {"wrong_hints", tally_.wrong},
                                  {"followed_when_wrong", followed},
                                  {"changed_without", tally_.share(tally_.changed, tally_.prompts)},
                                  {"right_with", tally_.share(tally_.right_with, tally_.prompts)},
                                  {"kept", tally_.prompts}}});
    info["gate"] = {
        {"right_without_hint", right},
        {"right_passed", right > gate.min_right},
        {"followed", {{{"wording", kWording}, {"value", followed}, {"passed", counts}, {"n", tally_.wrong}}}},
        {"wordings_wanted", 1},
        {"wordings_that_count", counts ? 1 : 0},
        {"valid", right > gate.min_right && counts}};
    // rows hold answers alone: how often the likeliest token was none was not published
    info["no_answer"] = {{"runs", 0}, {"count", 0}};
    Json systems = Json::array();
    for (const auto& entry : systems_) systems.push_back(entry.first);
    info["system_prompts"] = systems;
  }

  ImportReport& report_;
  Dataset dataset_;
  Tally tally_;
  std::map<std::string, int64_t> systems_;
};

}  // namespace

Dataset import_ablation(const std::vector<fs::path>& paths, const ImportSettings& settings, ImportReport& report) {
  AblationImport made(report);
  for_each_published_row(paths, kColumns, settings, report,
                         [&](Split split, const std::string& id, const Json& row) { made.add(split, id, row); });
  return made.finish(settings);
}

}  // namespace introspect
