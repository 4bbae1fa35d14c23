// introspect judge: how near predicted descriptions are to the true ones.
#include "evaluate/judge.h"

#include "base/error.h"
#include "base/progress.h"
#include "cli/chat_options.h"
#include "cli/commands.h"
#include "dataset/example.h"
#include "explainer/answers.h"
#include "procedure/records.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <unordered_map>

namespace introspect {

namespace {

struct Options {
  std::string predictions, dataset, out, split = "test";
  ChatOptions chat;
  bool offline = false, floor = false, json = false;
  uint64_t seed = 0;
};

// The answer, and the lines of the attribute "references" if there are any.
std::vector<std::string> references_of(const Example& example) {
  std::vector<std::string> references;
  const auto add = [&](const std::string& text) {
    const std::string reference = trimmed(text);
    const bool known = std::find(references.begin(), references.end(), reference) != references.end();
    if (!reference.empty() && !known) references.push_back(reference);
  };
  add(example.answer);
  if (const auto labels = example.attributes.find("references"); labels != example.attributes.end()) {
    for (size_t begin = 0; begin < labels->second.size();) {
      const size_t end = std::min(labels->second.find('\n', begin), labels->second.size());
      add(labels->second.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return references;
}

std::vector<JudgeItem> items_of(const Options& options) {
  const Dataset dataset = load_dataset(options.dataset);
  std::unordered_map<std::string, std::string> said;
  for (const Answer& answer : load_answers(options.predictions)) said.emplace(answer.id, answer.text);
  std::vector<JudgeItem> items;
  size_t used = 0, left_out = 0;  // as in the scores, examples that stand aside are in no mean
  for (const Example* example : dataset.of(parse_split(options.split))) {
    const auto found = said.find(example->id);
    if (found == said.end()) {
      fail("judge", fmt::format("example '{}' has no answer ({})", example->id, options.predictions));
    }
    ++used;
    if (example->attributes.contains("aside") || example->answer.empty()) {
      ++left_out;
      continue;
    }
    items.push_back({example->id, example->cluster, found->second, references_of(*example)});
  }
  if (used < said.size()) {
    fail("judge", fmt::format("{} answers to examples that are not in split {} ({})", said.size() - used, options.split,
                              options.predictions));
  }
  if (left_out > 0) say(fmt::format("left out: {} examples that stand aside of the data set", left_out));
  if (items.empty()) fail("judge", fmt::format("split {} has no examples ({})", options.split, options.dataset));
  return items;
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json summary_of(const Judgements& judged, const Options& options) {
  const JudgeSummary summary = summarise(judged, options.seed);
  return {{"mean", number(summary.mean)},    {"low", number(summary.low)},
          {"high", number(summary.high)},    {"n", summary.items},
          {"clusters", summary.clusters},    {"ratings", judged.asked},
          {"unparsable", judged.unparsable}, {"refused", judged.refused},
          {"empty", judged.empty},           {"unjudged", judged.unjudged}};
}

std::string shown(const Json& summary) {
  const auto percent = [&](const char* key) {
    return summary.at(key).is_null() ? std::string("-") : fmt::format("{:.1f}", 100 * summary.at(key).get<double>());
  };
  const auto count = [&](const char* key) { return summary.at(key).get<int64_t>(); };
  return fmt::format("{} ({} to {}), {} items; of {} ratings {} unparsable, {} refused; {} empty, {} not judged",
                     percent("mean"), percent("low"), percent("high"), count("n"), count("ratings"),
                     count("unparsable"), count("refused"), count("empty"), count("unjudged"));
}

void judge(const Options& options) {
  if (options.offline == asks_chat_model(options.chat, /*optional=*/true)) {
    fail_usage("judge", "expected one of --endpoint, --chat-folder and --offline");
  }
  const std::vector<JudgeItem> items = items_of(options);
  const std::vector<JudgeItem> others = with_other_references(items, options.seed);
  Json result{{"judge", "words in common"},
              {"predictions", options.predictions},
              {"dataset", options.dataset},
              {"split", options.split}};
  Judgements judged, floor;
  const bool with_floor = options.offline || options.floor;
  if (options.offline) {
    judged = judge_by_words(items);
    floor = judge_by_words(others);
  } else {
    const std::unique_ptr<CachedChatModel> model = open_chat_model(options.chat, options.out + ".replies.jsonl");
    ChatEstimate estimate;
    for (const auto* list : {&items, &others}) {
      if (list == &others && !options.floor) continue;
      for (const JudgeItem& item : *list) {
        if (trimmed(item.predicted).empty()) continue;
        for (const std::string& reference : item.references) {
          estimate.add(*model, judge_question(item.predicted, reference));
        }
      }
    }
    const std::string text = estimate_text(estimate, prices_of(options.chat));
    if (options.chat.estimate) {
      std::printf("%s\n", text.c_str());
      return;
    }
    say(text);
    judged = judge_with_model(*model, items);
    if (judged.asked > 0 && judged.unparsable + judged.refused == judged.asked) {
      fail("judge",
           fmt::format("of {} ratings {} could not be read and {} were refused (model '{}')", judged.asked,
                       judged.unparsable, judged.refused, model->name()),
           "the model may be too small for the task, or needs more --chat-parameters; its replies are kept");
    }
    if (options.floor) floor = judge_with_model(*model, others);
    say(tally_text(model->tally(), prices_of(options.chat)));
    result["judge"] = model->name();
    result["settings"] = chat_settings(options.chat);
  }
  result["score"] = summary_of(judged, options);
  if (with_floor) result["floor"] = summary_of(floor, options);
  Json list = Json::array();
  for (size_t i = 0; i < items.size(); ++i) {
    const Judgement& judgement = judged.items[i];
    list.push_back({{"id", judgement.id},
                    {"score", number(judgement.score)},
                    {"predicted", items[i].predicted},
                    {"reference", judgement.reference}});
  }
  Json file = result;
  file["items"] = std::move(list);
  write_json(options.out, file);
  if (options.json) {
    std::printf("%s\n", result.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
    return;
  }
  std::printf("score  %s\n", shown(result["score"]).c_str());
  if (with_floor)
    std::printf("floor  %s (the same answers against other examples' descriptions)\n", shown(result["floor"]).c_str());
  std::printf("%s\n", options.out.c_str());
}

}  // namespace

void add_judge_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("judge", "Rate predicted descriptions against the true ones, by a chat model");
  command->add_option("--predictions", options->predictions, "answers.jsonl of an explainer")->required();
  command->add_option("--dataset", options->dataset, "the data set it answered")->required();
  command->add_option("--out", options->out, "JSON file for scores and ratings; replies go beside it")->required();
  command->add_option("--split", options->split, "train, validation or test")->capture_default_str();
  command->add_flag("--offline", options->offline, "without a model: the words that two descriptions share");
  command->add_flag(
      "--floor", options->floor,
      "rate the answers against other examples' descriptions too: twice the questions (--offline: always)");
  command->add_option("--seed", options->seed, "of the interval and the floor")->capture_default_str();
  add_chat_options(*command, options->chat);
  command->add_flag("--json", options->json, "print the summary as JSON");
  command->footer(
      "Ratings of 1 to 5 become 0 to 1; of several true descriptions (attribute \"references\") the best counts.\n"
      "Example: introspect judge --predictions runs/answers.jsonl --dataset runs/features --offline --out judged.json");
  command->callback([options] { judge(*options); });
}

}  // namespace introspect
