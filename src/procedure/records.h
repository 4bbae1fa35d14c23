// Facts: what a target is asked about. Read from the project's own fact tables, from ROME / CounterFact JSON, and from
// plain JSONL or CSV; in memory always one FactTable.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

// One fact as it stands in a file of records.
struct FactRecord {
  std::string subject;        // "France"
  std::string relation;       // "country-capital", "P36"
  std::string template_text;  // "The capital of {subject} is": ends where the object would follow
  std::string object;         // "Paris", without the blank in front
};

struct Fact {
  std::string subject, object;
  bool operator==(const Fact&) const = default;
};

struct Relation {
  std::string name, description;
  std::vector<std::string> templates;  // each has {subject} exactly once; at least one
  std::vector<Fact> facts;             // no fact twice

  std::vector<std::string> objects() const;  // distinct, in the order of the facts
};

struct FactTable {
  std::vector<Relation> relations;  // sorted by name

  size_t fact_count() const;
};

// Chosen by looking at the path:
//   a folder     the project's own: <relation>.csv (header subject,object) beside <relation>.toml (name, description,
//                templates)
//   *.json       a list of records: ROME / CounterFact ("requested_rewrite"), known_1000 ("attribute", "prompt"),
//                comp-mech ("base_prompt", "target_true"), or plain ones as in JSONL
//   *.jsonl      a line each: {"subject", "relation", "template" with {subject} or {}, "object"}
//   *.csv        the same four columns, named by a header, in any order
// Throws Error naming file and line (or record) for whatever does not fit.
FactTable read_facts(const fs::path& path);

FactTable read_fact_folder(const fs::path& folder);
std::vector<FactRecord> read_records_json(const fs::path& path);
std::vector<FactRecord> read_records_jsonl(const fs::path& path);
std::vector<FactRecord> read_records_csv(const fs::path& path);

// Groups records by relation; every template of a relation then stands for all its facts (as CounterFact's paraphrases
// do). Relations are sorted by name, facts and templates keep the order of the records.
FactTable group_records(const std::vector<FactRecord>& records);

// Checks and normalises one record: trims, turns {} into {subject}, looks for empty fields and for a template that
// does not have its subject exactly once. `where` ("file.jsonl:17") stands in the Error.
FactRecord checked_record(FactRecord record, std::string_view where);

std::string trimmed(std::string_view text);  // without ASCII blanks at both ends

}  // namespace introspect
