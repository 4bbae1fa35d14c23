// Input ablation of any text: what a model answers without each of its parts.
#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "procedure/leave_out.h"
#include "procedure/questions.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

struct Options {
  ModelOptions model;
  std::string text, behind, by = "sentences", lines, out;
  std::vector<std::string> answers;
};

// One text with what is to be taken out of it.
struct Record {
  LeaveOutPrompt prompt;
  std::vector<std::string> answers;
};

TextRange place_of(const std::string& text, const std::string& part, const std::string& label) {
  const size_t at = part.empty() ? std::string::npos : text.find(part);
  if (at == std::string::npos || text.find(part, at + 1) != std::string::npos) {
    fail("ablate", fmt::format("expected \"{}\" exactly once in \"{}\" ({})", part, text.substr(0, 80), label));
  }
  return {at, at + part.size()};
}

Record make_record(const Tokenizer& tokenizer, const std::string& text, const std::string& behind,
                   const std::string& by, const std::vector<std::string>& remove,
                   const std::vector<std::string>& answers, const std::string& label) {
  Record record{{text + behind, {}, {}}, answers};
  if (text.empty()) fail("ablate", fmt::format("an empty text ({})", label));
  if (!remove.empty()) {
    for (const std::string& part : remove) record.prompt.spans.push_back(place_of(text, part, label));
  } else if (by == "sentences") {
    record.prompt.spans = sentence_spans(text);
  } else if (by == "words") {
    record.prompt.spans = word_spans(text);
  } else {
    fail_usage("ablate", fmt::format("--by: got '{}', expected sentences or words", by));
  }
  for (const std::string& answer : answers) {
    const int64_t first = tokenizer.encode_plain(option_answer(answer)).at(0);
    std::vector<int64_t>& valid = record.prompt.valid;
    if (std::find(valid.begin(), valid.end(), first) != valid.end()) {
      fail("ablate", fmt::format("two answers begin with the same token: '{}' ({})", answer, label));
    }
    valid.push_back(first);
  }
  return record;
}

Record parse_record(const Tokenizer& tokenizer, const Json& json, const Options& options, const std::string& label) {
  for (const auto& [key, value] : json.items()) {
    if (key != "text" && key != "behind" && key != "remove" && key != "answers") {
      fail("ablate", fmt::format("unknown key '{}', expected text, behind, remove or answers ({})", key, label));
    }
  }
  return make_record(tokenizer, json_get<std::string>(json, "text", label),
                     json_get_or<std::string>(json, "behind", options.behind, label), options.by,
                     json_get_or<std::vector<std::string>>(json, "remove", {}, label),
                     json_get_or<std::vector<std::string>>(json, "answers", options.answers, label), label);
}

std::string answer_of(const Tokenizer& tokenizer, const Record& record, const LeaveOutAnswer& answer) {
  if (answer.choice >= 0) return record.answers[static_cast<size_t>(answer.choice)];
  return tokenizer.decode({answer.token});
}

Json result_line(const Tokenizer& tokenizer, const Record& record, const LeaveOutResult& result) {
  const std::string whole = answer_of(tokenizer, record, result.whole);
  Json line{{"text", record.prompt.text},
            {"answer", whole},
            {"probability", result.whole.probability},
            {"without", Json::array()}};
  for (size_t s = 0; s < record.prompt.spans.size(); ++s) {
    const TextRange& span = record.prompt.spans[s];
    const std::string answer = answer_of(tokenizer, record, result.without[s]);
    line["without"].push_back({{"removed", record.prompt.text.substr(span.begin, span.end - span.begin)},
                               {"answer", answer},
                               {"probability", result.without[s].probability},
                               {"changed", answer != whole}});
  }
  return line;
}

void print_table(const Json& line) {
  std::printf("%-12s %6.1f%%  (whole text)\n", line.at("answer").get<std::string>().c_str(),
              100 * line.at("probability").get<double>());
  for (const Json& each : line.at("without")) {
    std::printf("%-12s %6.1f%%  %s without %s\n", each.at("answer").get<std::string>().c_str(),
                100 * each.at("probability").get<double>(), each.at("changed").get<bool>() ? "*" : " ",
                each.at("removed").dump().c_str());
  }
}

}  // namespace

void add_ablate_command(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("ablate", "What a model answers to a text, and to the text without each of its parts");
  add_model_options(*command, options->model);
  command->add_option("--text", options->text, "the text");
  command->add_option("--behind", options->behind, "stands behind the text and is never taken away: \"\\nAnswer:\"");
  command->add_option("--by", options->by, "sentences or words: the parts that are taken away, one at a time")
      ->capture_default_str();
  command->add_option("--answers", options->answers, "the valid answers; else whatever token is likeliest")
      ->delimiter(',');
  command->add_option(
      "--jsonl", options->lines,
      "instead of --text a record a line: {\"text\", \"behind\", \"answers\": [...], \"remove\": [parts "
      "of the text]}; all but text may be absent");
  command->add_option("--out", options->out, "write a JSON record a line here instead of a table");
  command->footer(
      "The common beginning of a text and its ablated forms is computed once.\n"
      "Example: introspect ablate models/tiny-llama --text \"The capital of France is\" --by words");
  command->callback([options] {
    if (options->text.empty() == options->lines.empty()) fail_usage("ablate", "expected --text T or --jsonl FILE");
    const Model model = open_model(options->model);
    const Tokenizer tokenizer = Tokenizer::open(options->model.folder);
    std::vector<Record> records;
    if (options->lines.empty()) {
      records.push_back(
          make_record(tokenizer, options->text, options->behind, options->by, {}, options->answers, "--text"));
    } else {
      for_each_json_line(options->lines, [&](size_t line, const Json& json) {
        records.push_back(parse_record(tokenizer, json, *options, fmt::format("{}:{}", options->lines, line)));
      });
    }
    Progress progress("ablate", std::ssize(records), "texts");
    std::vector<Json> results;
    constexpr size_t group = 16;
    for (size_t first = 0; first < records.size(); first += group) {
      check_interrupt("ablate");
      const size_t last = std::min(first + group, records.size());
      std::vector<LeaveOutPrompt> prompts;
      for (size_t i = first; i < last; ++i) prompts.push_back(records[i].prompt);
      const std::vector<LeaveOutResult> made = leave_out(model, tokenizer, prompts, LeaveOutSettings{});
      for (size_t i = first; i < last; ++i) results.push_back(result_line(tokenizer, records[i], made[i - first]));
      progress.advance(static_cast<int64_t>(last - first));
    }
    progress.finish();
    if (!options->out.empty()) {
      write_json_lines(options->out, results);
    } else {
      for (const Json& result : results) print_table(result);
    }
  });
}

void add_questions_command(CLI::App& app) {
  struct QuestionOptions {
    std::string path, out;
    FactQuestionSettings settings;
  };
  auto options = std::make_shared<QuestionOptions>();
  CLI::App* command = app.add_subcommand("questions", "Read multiple-choice questions, or make them of a fact table");
  command->add_option("PATH", options->path, "a folder of MMLU's CSV files, .csv, .jsonl, or a folder of facts")
      ->required();
  command->add_option("--choices", options->settings.choices, "of questions made of facts")->capture_default_str();
  command->add_option("--seed", options->settings.seed, "of questions made of facts")->capture_default_str();
  command->add_option("--out", options->out, "write them as JSONL");
  command->footer("Example: introspect questions facts --out runs/questions.jsonl");
  command->callback([options] {
    DropReport dropped;
    const std::vector<ChoiceQuestion> questions = read_questions(options->path, options->settings, dropped);
    std::vector<std::string> subjects;
    for (const ChoiceQuestion& question : questions) subjects.push_back(question.subject);
    std::sort(subjects.begin(), subjects.end());
    subjects.erase(std::unique(subjects.begin(), subjects.end()), subjects.end());
    std::printf("%zu questions of %zu subjects; left out: %s\n", questions.size(), subjects.size(),
                dropped.text().c_str());
    if (!options->out.empty()) save_questions(questions, options->out);
  });
}

}  // namespace introspect
