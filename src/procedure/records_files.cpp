// The record files of others: ROME / CounterFact and its relatives, plain JSONL, plain CSV.
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "procedure/csv.h"
#include "procedure/records.h"

#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// "Paris is in" and "Paris" give "{subject} is in". Fails if the subject is not there.
std::string template_from(const std::string& prompt, const std::string& subject, std::string_view where) {
  const size_t at = subject.empty() ? std::string::npos : prompt.find(subject);
  if (at == std::string::npos) {
    fail("records",
         fmt::format("subject: got \"{}\", which does not stand in the prompt \"{}\" ({})", subject, prompt, where));
  }
  return prompt.substr(0, at) + "{subject}" + prompt.substr(at + subject.size());
}

std::string text_of(const Json& object, const std::string& key, const std::string& where) {
  return json_get<std::string>(object, key, where);
}

// {"requested_rewrite": {"prompt": "... {} ...", "relation_id", "target_true": {"str"}, "subject"}}
FactRecord rome_record(const Json& record, const std::string& where) {
  const Json& rewrite = record["requested_rewrite"];
  if (!rewrite.is_object()) fail("records", fmt::format("requested_rewrite: expected an object ({})", where));
  const Json& target = rewrite.contains("target_true") ? rewrite["target_true"] : Json();
  if (!target.is_object())
    fail("records", fmt::format("requested_rewrite.target_true: expected an object ({})", where));
  return {text_of(rewrite, "subject", where), text_of(rewrite, "relation_id", where), text_of(rewrite, "prompt", where),
          text_of(target, "str", where)};
}

// One record of any known layout, told apart by its keys.
FactRecord parse_record(const Json& record, const std::string& where) {
  if (!record.is_object()) fail("records", fmt::format("got {}, expected an object ({})", record.type_name(), where));
  FactRecord fact;
  if (record.contains("requested_rewrite")) {
    fact = rome_record(record, where);
  } else if (record.contains("attribute") && record.contains("prompt")) {
    // known_1000: its "template" may lack the prompt's last words, so the template is made from the prompt
    const std::string subject = text_of(record, "subject", where);
    fact = {subject, text_of(record, "relation_id", where),
            template_from(text_of(record, "prompt", where), subject, where), text_of(record, "attribute", where)};
  } else if (record.contains("base_prompt")) {
    // comp-mech names no relation: the statement without its subject stands for it
    const std::string subject = text_of(record, "subject", where);
    const std::string words = template_from(text_of(record, "base_prompt", where), subject, where);
    fact = {subject, words, words, text_of(record, "target_true", where)};
  } else {
    fact = {text_of(record, "subject", where), text_of(record, "relation", where), text_of(record, "template", where),
            text_of(record, "object", where)};
  }
  return checked_record(std::move(fact), where);
}

}  // namespace

std::vector<FactRecord> read_records_json(const fs::path& path) {
  const Json list = read_json(path);
  if (!list.is_array()) {
    fail("records", fmt::format("got {}, expected a list of records ({})", list.type_name(), path.string()),
         "a file with one record a line is a .jsonl");
  }
  std::vector<FactRecord> records;
  for (size_t i = 0; i < list.size(); ++i) {
    records.push_back(parse_record(list[i], fmt::format("{}: record {}, counted from 1", path.string(), i + 1)));
  }
  return records;
}

std::vector<FactRecord> read_records_jsonl(const fs::path& path) {
  std::vector<FactRecord> records;
  for_each_json_line(path, [&](size_t line, const Json& record) {
    records.push_back(parse_record(record, fmt::format("{}:{}", path.string(), line)));
  });
  return records;
}

std::vector<FactRecord> read_records_csv(const fs::path& path) {
  const std::vector<CsvRow> rows = parse_csv(read_text(path), path.string());
  if (rows.empty()) fail("records", fmt::format("got an empty file ({})", path.string()));
  std::map<std::string, size_t> column;
  for (size_t i = 0; i < rows[0].fields.size(); ++i) column[trimmed(rows[0].fields[i])] = i;
  for (const char* name : {"subject", "relation", "template", "object"}) {
    if (!column.contains(name)) {
      fail("records", fmt::format("got no column \"{}\" ({}:1)", name, path.string()),
           "the first line names the columns subject, relation, template, object");
    }
  }
  std::vector<FactRecord> records;
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto field = [&](const char* name) { return rows[i].fields[column.at(name)]; };
    records.push_back(checked_record({field("subject"), field("relation"), field("template"), field("object")},
                                     fmt::format("{}:{}", path.string(), rows[i].line)));
  }
  return records;
}

}  // namespace introspect
