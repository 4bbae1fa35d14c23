#include "procedure/records.h"

#include "base/error.h"
#include "procedure/csv.h"
#include "procedure/render.h"
#include "procedure/tiny.h"

#include <gtest/gtest.h>

namespace introspect {
namespace {

// The message of the Error that `run` throws.
template <class Run>
std::string message_of(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

TEST(Csv, QuotedFields) {
  const auto rows = parse_csv("a,b\r\n\"x, y\",\"say \"\"hi\"\"\"\n\n\"two\nlines\",\n", "t.csv");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].fields, (std::vector<std::string>{"x, y", "say \"hi\""}));
  EXPECT_EQ(rows[2].fields, (std::vector<std::string>{"two\nlines", ""}));
  EXPECT_EQ(rows[1].line, 2u);
  EXPECT_EQ(rows[2].line, 4u);
}

TEST(Csv, EdgesOfTheFile) {
  EXPECT_TRUE(parse_csv("", "t").empty());
  EXPECT_TRUE(parse_csv("\n\r\n,\n", "t").empty());
  EXPECT_EQ(parse_csv("a,b", "t")[0].fields, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(parse_csv("a,", "t")[0].fields, (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(parse_csv("\"a\"", "t")[0].fields, (std::vector<std::string>{"a"}));
  EXPECT_EQ(parse_csv("\xef\xbb\xbf"
                      "a",
                      "t")[0]
                .fields,
            (std::vector<std::string>{"a"}));
}

TEST(Csv, BrokenRowsAreNamed) {
  expect_part(message_of([] { parse_csv("a,b\n1,2\n3\n", "t.csv"); }), "t.csv:3");
  expect_part(message_of([] { parse_csv("a,b\n1,\"2\n3,4\n", "t.csv"); }), "t.csv:2");
  expect_part(message_of([] { parse_csv("a,b\n\"1\"x,2\n", "t.csv"); }), "t.csv:2");
  expect_part(message_of([] { parse_csv(std::string("a,b\n1,\0", 7), "t.csv"); }), "t.csv:2");
}

TEST(Records, FactFolder) {
  const tiny::Folder folder;
  folder.write("b.csv", "subject,object\nFrance,Paris\n\"Korea, South\",Seoul\nFrance,Paris\n");
  folder.write("b.toml",
               "name = \"capital\"\ndescription = \"d\"\ntemplates = [\"{subject} has\", \"In {subject}:\"]\n");
  const FactTable table = read_facts(folder.path());
  ASSERT_EQ(table.relations.size(), 1u);
  EXPECT_EQ(table.relations[0].name, "capital");
  EXPECT_EQ(table.relations[0].templates.size(), 2u);
  EXPECT_EQ(table.relations[0].facts, (std::vector<Fact>{{"France", "Paris"}, {"Korea, South", "Seoul"}}));
}

TEST(Records, FactFolderMistakes) {
  const tiny::Folder folder;
  expect_part(message_of([&] { read_facts(folder.path()); }), "no .csv");
  folder.write("b.csv", "subject,object\nFrance,Paris\nItaly,\n");
  expect_part(message_of([&] { read_facts(folder.path()); }), "b.toml");
  folder.write("b.toml", "name = \"capital\"\ntemplates = [\"the capital is\"]\n");
  expect_part(message_of([&] { read_facts(folder.path()); }), "{subject}");
  folder.write("b.toml", "name = \"capital\"\ntemplates = [\"{subject} has\"]\n");
  expect_part(message_of([&] { read_facts(folder.path()); }), "b.csv:3");
  folder.write("b.csv", "subjects,object\nFrance,Paris\n");
  expect_part(message_of([&] { read_facts(folder.path()); }), "b.csv:1");
}

TEST(Records, CounterfactAndItsRelatives) {
  const tiny::Folder folder;
  const fs::path file = folder.write("facts.json", R"([
    {"requested_rewrite": {"prompt": "The mother tongue of {} is", "relation_id": "P103",
      "target_new": {"str": "English"}, "target_true": {"str": "French"}, "subject": "Danielle Darrieux"}},
    {"subject": "Vinson Massif", "attribute": "Antarctica", "template": "{} is located in the continent",
      "prompt": "Vinson Massif is located in the continent of", "relation_id": "P30"},
    {"base_prompt": "Toyota Camry is a product of", "template": "{}: ...", "target_true": " Toyota", "subject": "Toyota Camry"},
    {"subject": "France", "relation": "capital", "template": "{} has", "object": "Paris"}])");
  const auto records = read_records_json(file);
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0].template_text, "The mother tongue of {subject} is");
  EXPECT_EQ(records[0].object, "French");
  EXPECT_EQ(records[0].relation, "P103");
  EXPECT_EQ(records[1].template_text, "{subject} is located in the continent of");
  EXPECT_EQ(records[2].template_text, "{subject} is a product of");
  EXPECT_EQ(records[2].object, "Toyota");
  EXPECT_EQ(records[3].template_text, "{subject} has");
  EXPECT_EQ(read_facts(file).relations.size(), 4u);
}

TEST(Records, BrokenLinesAreNamed) {
  const tiny::Folder folder;
  const std::string good = R"({"subject": "a", "relation": "r", "template": "{} is", "object": "b"})";
  const auto jsonl = [&](const std::string& line) { return folder.write("f.jsonl", good + "\n" + line + "\n"); };
  EXPECT_EQ(read_facts(jsonl(good)).fact_count(), 1u);
  expect_part(message_of([&] { read_facts(jsonl("{\"subject\": ")); }), "f.jsonl:2");
  expect_part(message_of([&] { read_facts(jsonl("[1]")); }), "f.jsonl:2");
  expect_part(message_of([&] { read_facts(jsonl(R"({"subject": "a", "relation": "r", "template": "{} is"})")); }),
              "object");
  expect_part(
      message_of([&] { read_facts(jsonl(R"({"subject": "", "relation": "r", "template": "{} is", "object": "b"})")); }),
      "f.jsonl:2");
  expect_part(message_of([&] {
                read_facts(jsonl(R"({"subject": "a\nb", "relation": "r", "template": "{} is", "object": "b"})"));
              }),
              "f.jsonl:2");
  expect_part(message_of([&] { read_facts(folder.write("f.csv", "subject,relation,object\na,b,c\n")); }), "template");
  expect_part(message_of([&] { read_facts(folder.write("g.csv", "object,template,relation,subject\nb,is,r,a\n")); }),
              "g.csv:2");
  expect_part(
      message_of([&] { read_facts(folder.write("f.json", "[{\"requested_rewrite\": {\"subject\": \"a\"}}]")); }),
      "record 1");
  expect_part(message_of([&] { read_facts(folder.write("f.json", "{}")); }), "list");
  expect_part(message_of([&] { read_facts(folder.write("f.txt", "")); }), ".txt");
  expect_part(message_of([&] { read_facts(folder.path() / "missing.json"); }), "missing.json");
}

TEST(Records, TheProjectsOwnFacts) {
  const FactTable table = read_facts(fs::path(INTROSPECT_SOURCE_DIR) / "facts");
  EXPECT_GT(table.relations.size(), 20u);
  EXPECT_GT(table.fact_count(), 2000u);
}

TEST(Render, Statements) {
  const Relation relation{
      "capital", "", {"The capital of {subject} is", "{subject}:"}, {{"France", "Paris"}, {"Italy", "Rome"}}};
  EXPECT_EQ(statement_sentence(relation, relation.facts[0], 0), "The capital of France is Paris.");
  EXPECT_EQ(all_statements({{relation}}), (std::vector<std::string>{"The capital of France is Paris.", "France: Paris.",
                                                                    "The capital of Italy is Rome.", "Italy: Rome."}));
  EXPECT_THROW(statement_sentence(relation, relation.facts[0], 2), Error);
  const auto prompts = all_option_prompts({{relation}}, 1, 2);
  ASSERT_EQ(prompts.size(), 4u);
  EXPECT_EQ(prompts[0].answer, " Paris");
  EXPECT_EQ(all_option_prompts({{relation}}, 1, 2)[3].prompt, prompts[3].prompt);
  EXPECT_TRUE(all_option_prompts({{{"r", "", {"{subject} is"}, {{"a", "x"}, {"b", "x"}}}}}, 1).empty());
}

}  // namespace
}  // namespace introspect
