// Files of multiple-choice questions: MMLU's CSV with and without header, JSONL.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "procedure/csv.h"
#include "procedure/questions.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <unordered_map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::array<std::string_view, 3> parts = {"test", "dev", "val"};  // of MMLU
constexpr std::string_view columns_hint =
    "the first line names the columns question, choice0, choice1, ... (or A, B, ...), answer, and subject if there is "
    "one; MMLU's own files have no header but six columns: question, four choices, a letter";

struct FileName {
  std::string id;       // "anatomy_test"
  std::string subject;  // "anatomy"
};

FileName name_of(const fs::path& path) {
  const std::string stem = path.stem().string();
  for (const std::string_view part : parts) {
    const std::string tail = fmt::format("_{}", part);
    if (stem.size() > tail.size() && stem.ends_with(tail)) return {stem, stem.substr(0, stem.size() - tail.size())};
  }
  const std::string folder = path.parent_path().filename().string();
  const bool inside = std::find(parts.begin(), parts.end(), folder) != parts.end();
  return {inside ? stem + "_" + folder : stem, stem};
}

// An index counted from 0 or a capital letter; nothing if it is neither.
std::optional<size_t> index_of(const std::string& answer) {
  if (answer.size() == 1 && answer[0] >= 'A' && answer[0] <= 'Z') return static_cast<size_t>(answer[0] - 'A');
  size_t index = 0;
  const auto [end, error] = std::from_chars(answer.data(), answer.data() + answer.size(), index);
  if (error != std::errc() || end != answer.data() + answer.size()) return std::nullopt;
  return index;
}

[[noreturn]] void refuse_answer(const std::string& answer, size_t choices, const std::string& where) {
  fail("questions",
       fmt::format("answer: got \"{}\", expected 0 to {} or A to {} ({})", answer, choices - 1,
                   static_cast<char>('A' + choices - 1), where),
       "answers are counted from 0; a letter has to have its choice");
}

// Which column is what.
struct Columns {
  size_t question = 0, answer = 0;
  std::optional<size_t> subject;
  std::vector<size_t> choices;
  bool header = true;
};

Columns find_columns(const CsvRow& row, const std::string& path) {
  const std::string where = fmt::format("{}:{}", path, row.line);
  std::unordered_map<std::string, size_t> column;
  bool twice = false;
  for (size_t i = 0; i < row.fields.size(); ++i) twice |= !column.emplace(trimmed(row.fields[i]), i).second;
  if (!column.contains("question")) {
    const std::string last = trimmed(row.fields.back());
    if (last.size() == 1 && last[0] >= 'A' && last[0] <= 'Z') {
      if (row.fields.size() != 6) {
        fail("questions",
             fmt::format("a line without header: got {} columns, expected 6: question, four choices, a letter ({})",
                         row.fields.size(), where),
             "for another number of choices let the first line name the columns: question,choice0,choice1,...,answer");
      }
      return {0, 5, std::nullopt, {1, 2, 3, 4}, false};
    }
    fail("questions", fmt::format("got no column \"question\" ({})", where), columns_hint);
  }
  if (twice) fail("questions", fmt::format("got two columns of one name ({})", where), columns_hint);
  if (!column.contains("answer")) fail("questions", fmt::format("got no column \"answer\" ({})", where), columns_hint);
  Columns columns{column.at("question"), column.at("answer"), std::nullopt, {}, true};
  size_t known = 2;
  if (const auto found = column.find("subject"); found != column.end()) {
    columns.subject = found->second;
    ++known;
  }
  const bool letters = column.contains("A");
  for (size_t i = 0; i < most_choices; ++i) {
    const auto found = column.find(letters ? std::string(1, static_cast<char>('A' + i)) : fmt::format("choice{}", i));
    if (found == column.end()) break;
    columns.choices.push_back(found->second);
    ++known;
  }
  if (columns.choices.size() < 2) {
    fail("questions",
         fmt::format("got no column \"{}{}\" ({})", letters ? "" : "choice",
                     letters ? std::string(1, static_cast<char>('A' + columns.choices.size()))
                             : std::to_string(columns.choices.size()),
                     where),
         columns_hint);
  }
  if (known != column.size()) {
    fail("questions",
         fmt::format("got columns \"{}\", of which some are not known ({})", fmt::join(row.fields, ","), where),
         columns_hint);
  }
  return columns;
}

void read_csv(const fs::path& path, std::vector<ChoiceQuestion>& questions, DropReport& dropped) {
  const std::vector<CsvRow> rows = parse_csv(read_text(path), path.string());
  if (rows.empty()) fail("questions", fmt::format("got an empty file, expected questions ({})", path.string()));
  const Columns columns = find_columns(rows[0], path.string());
  const size_t first = columns.header ? 1 : 0;
  if (rows.size() == first) {
    fail("questions", fmt::format("got no row behind the header, expected questions ({})", path.string()));
  }
  const FileName name = name_of(path);
  for (size_t i = first; i < rows.size(); ++i) {
    const std::string where = fmt::format("{}:{}", path.string(), rows[i].line);
    const std::vector<std::string>& fields = rows[i].fields;
    ChoiceQuestion question;
    question.id = fmt::format("{}/{}", name.id, i - first + 1);
    question.subject = columns.subject ? fields[*columns.subject] : name.subject;
    question.text = fields[columns.question];
    for (const size_t column : columns.choices) question.choices.push_back(fields[column]);
    const std::string answer = trimmed(fields[columns.answer]);
    const std::optional<size_t> index = index_of(answer);
    if (!index || *index >= question.choices.size()) refuse_answer(answer, question.choices.size(), where);
    question.answer = *index;

    // an empty choice is a fault of the file, whatever else the question has
    const bool empty = std::any_of(question.choices.begin(), question.choices.end(),
                                   [](const std::string& choice) { return trimmed(choice).empty(); });
    if (!empty && has_equal_choices(question.choices)) {
      dropped.add("question with two equal choices", question.id);
      continue;
    }
    questions.push_back(checked_question(std::move(question), where));
  }
}

// "answer" of a JSONL line: an index, a letter, or a choice's text.
size_t json_answer(const Json& line, const std::vector<std::string>& choices, const std::string& where) {
  const auto found = line.find("answer");
  if (found == line.end()) {
    fail("questions", fmt::format("got no key \"answer\" ({})", where),
         "an index counted from 0, a letter, or a choice's text");
  }
  if (found->is_number_integer()) {
    const auto index = json_get<int64_t>(line, "answer", where);
    if (index < 0 || index >= std::ssize(choices)) refuse_answer(std::to_string(index), choices.size(), where);
    return static_cast<size_t>(index);
  }
  const std::string answer = trimmed(json_get<std::string>(line, "answer", where));
  const auto same = std::find_if(choices.begin(), choices.end(),
                                 [&](const std::string& choice) { return trimmed(choice) == answer; });
  const std::optional<size_t> index = index_of(answer);
  const bool in_range = index && *index < choices.size();
  if (same == choices.end()) {
    if (!in_range) refuse_answer(answer, choices.size(), where);
    return *index;
  }
  const auto place = static_cast<size_t>(same - choices.begin());
  if (in_range && *index != place) {
    fail("questions",
         fmt::format("answer: got \"{}\", which names choice {} and is the text of choice {} ({})", answer, *index,
                     place, where),
         "write the index as a number, counted from 0");
  }
  return place;
}

void read_jsonl(const fs::path& path, std::vector<ChoiceQuestion>& questions) {
  const FileName name = name_of(path);
  for_each_json_line(path, [&](size_t number, const Json& line) {
    const std::string where = fmt::format("{}:{}", path.string(), number);
    if (!line.is_object()) fail("questions", fmt::format("got {}, expected an object ({})", line.type_name(), where));
    for (const auto& [key, value] : line.items()) {
      static const std::set<std::string> known = {"id", "subject", "group", "question", "choices", "answer"};
      if (!known.contains(key)) {
        fail("questions", fmt::format("got the unknown key \"{}\" ({})", key, where),
             "a line has question, choices, answer, and if there are subject, id, group");
      }
    }
    ChoiceQuestion question;
    question.id = json_get_or<std::string>(line, "id", fmt::format("{}/{}", name.id, number), where);
    question.subject = json_get_or<std::string>(line, "subject", name.subject, where);
    question.group = json_get_or<std::string>(line, "group", "", where);
    question.text = json_get<std::string>(line, "question", where);
    question.choices = json_get<std::vector<std::string>>(line, "choices", where);
    if (question.choices.empty()) fail("questions", fmt::format("choices: got none ({})", where));
    question.answer = json_answer(line, question.choices, where);
    questions.push_back(checked_question(std::move(question), where));
  });
  if (questions.empty()) fail("questions", fmt::format("got an empty file, expected questions ({})", path.string()));
}

// The folder's own .csv files, sorted.
std::vector<fs::path> tables_of(const fs::path& folder) {
  std::vector<fs::path> tables;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".csv") tables.push_back(entry.path());
  }
  std::sort(tables.begin(), tables.end());
  return tables;
}

void read_folder(const fs::path& folder, std::vector<ChoiceQuestion>& questions, DropReport& dropped) {
  std::vector<fs::path> tables = tables_of(folder);
  for (const std::string_view part : parts) {
    if (!fs::is_directory(folder / part)) continue;
    const std::vector<fs::path> more = tables_of(folder / part);
    tables.insert(tables.end(), more.begin(), more.end());
  }
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && std::find(parts.begin(), parts.end(), name) == parts.end() &&
        !tables_of(entry.path()).empty()) {
      dropped.add("folder of .csv files other than test, dev, val", name);
    }
  }
  if (tables.empty()) {
    fail("questions", fmt::format("got no .csv file, expected questions ({})", folder.string()),
         "MMLU's files lie in the folder itself or in test/, dev/ and val/; a fact table has .toml files");
  }
  for (const fs::path& table : tables) read_csv(table, questions, dropped);
}

bool holds_toml(const fs::path& folder) {
  return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(),
                     [](const auto& entry) { return entry.path().extension() == ".toml"; });
}

void check_ids(const std::vector<ChoiceQuestion>& questions, const fs::path& path) {
  std::unordered_map<std::string, size_t> seen;
  for (size_t i = 0; i < questions.size(); ++i) {
    const auto [entry, fresh] = seen.emplace(questions[i].id, i);
    if (!fresh) {
      fail("questions",
           fmt::format("id: got \"{}\" for questions {} and {}, counted from 1, expected different ones ({})",
                       questions[i].id, entry->second + 1, i + 1, path.string()));
    }
  }
}

}  // namespace

std::vector<ChoiceQuestion> read_questions(const fs::path& path, const FactQuestionSettings& settings,
                                           DropReport& dropped) {
  if (!fs::exists(path)) fail("questions", fmt::format("got no such file or folder ({})", path.string()));
  std::vector<ChoiceQuestion> questions;
  const std::string extension = path.extension().string();
  if (fs::is_directory(path)) {
    if (holds_toml(path)) {
      questions = questions_of_facts(read_fact_folder(path), settings, dropped);
    } else {
      read_folder(path, questions, dropped);
    }
  } else if (extension == ".csv") {
    read_csv(path, questions, dropped);
  } else if (extension == ".jsonl") {
    read_jsonl(path, questions);
  } else {
    fail_usage("questions",
               fmt::format("got \"{}\", expected a folder, .csv or .jsonl ({})", extension, path.string()));
  }
  if (questions.empty()) {
    fail("questions", fmt::format("got no question, left out: {} ({})", dropped.text(), path.string()));
  }
  check_ids(questions, path);
  return questions;
}

void save_questions(const std::vector<ChoiceQuestion>& questions, const fs::path& jsonl) {
  check_ids(questions, jsonl);
  std::vector<Json> lines;
  lines.reserve(questions.size());
  for (const ChoiceQuestion& question : questions) {
    const std::string where = fmt::format("question {} for {}", question.id, jsonl.string());
    if (checked_question(question, where) != question) {
      fail("questions", fmt::format("got untrimmed text, broken lines in a choice or no group ({})", where),
           "checked_question() puts them right");
    }
    Json line = {{"id", question.id},
                 {"subject", question.subject},
                 {"question", question.text},
                 {"choices", question.choices},
                 {"answer", question.answer}};
    if (question.group != plain_text(question.text)) line["group"] = question.group;
    lines.push_back(std::move(line));
  }
  write_json_lines(jsonl, lines);
}

}  // namespace introspect
