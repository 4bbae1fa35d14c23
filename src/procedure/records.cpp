#include "procedure/records.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "procedure/csv.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::string_view placeholder = "{subject}";

size_t occurrences(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

// What a field may not hold: line breaks and other control characters would break the prompt's layout.
void check_field(const std::string& text, std::string_view name, std::string_view where) {
  if (text.empty()) fail("records", fmt::format("{}: got nothing, expected text ({})", name, where));
  for (const char letter : text) {
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) {
      fail("records", fmt::format("{}: got a control character (code {}), expected one line of text ({})", name,
                                  static_cast<int>(letter), where));
    }
  }
}

std::string checked_template(std::string text, std::string_view where) {
  text = trimmed(text);
  if (occurrences(text, placeholder) == 0 && occurrences(text, "{}") == 1) {
    text.replace(text.find("{}"), 2, placeholder);
  }
  check_field(text, "template", where);
  if (occurrences(text, placeholder) != 1) {
    fail("records",
         fmt::format("template: got \"{}\", expected {{subject}} or {{}} in it exactly once ({})", text, where));
  }
  return text;
}

}  // namespace

std::string trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n\f\v";
  const size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(blanks) - first + 1));
}

FactRecord checked_record(FactRecord record, std::string_view where) {
  record.subject = trimmed(record.subject);
  record.relation = trimmed(record.relation);
  record.object = trimmed(record.object);
  check_field(record.subject, "subject", where);
  check_field(record.relation, "relation", where);
  check_field(record.object, "object", where);
  record.template_text = checked_template(record.template_text, where);
  return record;
}

std::vector<std::string> Relation::objects() const {
  std::vector<std::string> distinct;
  std::unordered_set<std::string> seen;
  for (const Fact& fact : facts) {
    if (seen.insert(fact.object).second) distinct.push_back(fact.object);
  }
  return distinct;
}

size_t FactTable::fact_count() const {
  size_t count = 0;
  for (const Relation& relation : relations) count += relation.facts.size();
  return count;
}

FactTable group_records(const std::vector<FactRecord>& records) {
  struct Seen {
    Relation relation;
    std::set<std::string> templates;
    std::set<std::pair<std::string, std::string>> facts;
  };
  std::map<std::string, Seen> groups;
  for (const FactRecord& record : records) {
    Seen& group = groups[record.relation];
    group.relation.name = record.relation;
    if (group.templates.insert(record.template_text).second) {
      group.relation.templates.push_back(record.template_text);
    }
    if (group.facts.insert({record.subject, record.object}).second) {
      group.relation.facts.push_back({record.subject, record.object});
    }
  }
  FactTable table;
  for (auto& [name, group] : groups) table.relations.push_back(std::move(group.relation));
  return table;
}

FactTable read_fact_folder(const fs::path& folder) {
  std::vector<fs::path> tables;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".csv") tables.push_back(entry.path());
  }
  std::sort(tables.begin(), tables.end());
  if (tables.empty()) {
    fail("records", fmt::format("got no .csv file, expected fact tables ({})", folder.string()),
         "a fact table is <relation>.csv with the header subject,object beside <relation>.toml with its templates");
  }
  std::vector<FactRecord> records;
  std::map<std::string, std::pair<std::string, std::vector<std::string>>> words;  // description, templates
  for (const fs::path& csv : tables) {
    const fs::path toml = fs::path(csv).replace_extension(".toml");
    if (!fs::exists(toml)) {
      fail("records",
           fmt::format("got no file, expected the templates of {} ({})", csv.filename().string(), toml.string()));
    }
    const Json description = read_toml(toml);
    const auto name = json_get<std::string>(description, "name", toml.string());
    auto templates = json_get<std::vector<std::string>>(description, "templates", toml.string());
    if (templates.empty())
      fail("records", fmt::format("templates: got none, expected at least one ({})", toml.string()));
    for (std::string& text : templates) text = checked_template(text, toml.string());
    if (words.contains(name)) {
      fail("records", fmt::format("name: got \"{}\" a second time ({})", name, toml.string()));
    }
    words[name] = {json_get_or<std::string>(description, "description", "", toml.string()), templates};

    const std::vector<CsvRow> rows = parse_csv(read_text(csv), csv.string());
    if (rows.empty() || rows[0].fields != std::vector<std::string>{"subject", "object"}) {
      fail("records", fmt::format("got another header, expected \"subject,object\" ({}:1)", csv.string()));
    }
    if (rows.size() == 1) fail("records", fmt::format("got no facts, expected at least one ({})", csv.string()));
    for (size_t i = 1; i < rows.size(); ++i) {
      records.push_back(checked_record({rows[i].fields[0], name, templates[0], rows[i].fields[1]},
                                       fmt::format("{}:{}", csv.string(), rows[i].line)));
    }
  }
  FactTable table = group_records(records);
  for (Relation& relation : table.relations) {
    relation.description = words.at(relation.name).first;
    relation.templates = words.at(relation.name).second;
  }
  return table;
}

FactTable read_facts(const fs::path& path) {
  if (!fs::exists(path)) fail("records", fmt::format("got no such file or folder ({})", path.string()));
  if (fs::is_directory(path)) return read_fact_folder(path);
  const std::string extension = path.extension().string();
  std::vector<FactRecord> records;
  if (extension == ".json") {
    records = read_records_json(path);
  } else if (extension == ".jsonl") {
    records = read_records_jsonl(path);
  } else if (extension == ".csv") {
    records = read_records_csv(path);
  } else {
    fail_usage("records",
               fmt::format("got \"{}\", expected a folder, .json, .jsonl or .csv ({})", extension, path.string()));
  }
  if (records.empty()) fail("records", fmt::format("got no records, expected at least one ({})", path.string()));
  return group_records(records);
}

}  // namespace introspect
