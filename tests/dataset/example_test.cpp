#include "dataset/example.h"

#include "base/files.h"
#include "base/temporary_folder.h"

#include <cstdlib>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

Dataset small() {
  Dataset dataset;
  dataset.task = "patching";
  dataset.info = Json::parse(R"({"target": "tiny-llama", "settings": {"blocks": 4}})");
  dataset.vectors = at::arange(6, at::kFloat).reshape({3, 2});
  for (int i = 0; i < 4; ++i) {
    Example example;
    example.id = "patching-" + std::to_string(i);
    example.split = i < 2 ? Split::train : i == 2 ? Split::validation : Split::test;
    example.cluster = "Lisbon";
    example.layers = {2, 3};
    example.vector = i - 1;
    example.input = "The \"capital\"\nof Côte d’Ivoire \\ 🦉 is";
    example.token = " Ivoire";
    example.before = " Yamoussoukro";
    example.after = i % 2 ? " Paris" : " Yamoussoukro";
    example.answer = "words <<<x>>>.";
    example.attributes = {{"token_type", "subject final"}, {"block", "0"}};
    dataset.examples.push_back(example);
  }
  return dataset;
}

void expect_equal(const Example& a, const Example& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.split, b.split);
  EXPECT_EQ(a.cluster, b.cluster);
  EXPECT_EQ(a.layers, b.layers);
  EXPECT_EQ(a.vector, b.vector);
  EXPECT_EQ(a.input, b.input);
  EXPECT_EQ(a.token, b.token);
  EXPECT_EQ(a.before, b.before);
  EXPECT_EQ(a.after, b.after);
  EXPECT_EQ(a.answer, b.answer);
  EXPECT_EQ(a.attributes, b.attributes);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Dataset, ComesBackAsItWas) {
  TemporaryFolder folder;
  const Dataset dataset = small();
  save_dataset(dataset, folder / "set");
  const Dataset loaded = load_dataset(folder / "set");
  ASSERT_EQ(loaded.examples.size(), dataset.examples.size());
  for (size_t i = 0; i < loaded.examples.size(); ++i) expect_equal(loaded.examples[i], dataset.examples[i]);
  EXPECT_TRUE(at::equal(loaded.vectors, dataset.vectors));
  EXPECT_EQ(loaded.task, "patching");
  EXPECT_EQ(loaded.info["settings"]["blocks"], 4);
  EXPECT_EQ(loaded.info["counts"].dump(), R"({"train":2,"validation":1,"test":1})");
  ASSERT_EQ(loaded.of(Split::train).size(), 2u);
  EXPECT_EQ(loaded.of(Split::test)[0]->id, "patching-3");
  EXPECT_TRUE(loaded.examples[1].changed());
  EXPECT_FALSE(loaded.examples[2].changed());
}

TEST(Dataset, SavingTwiceGivesTheSameBytes) {
  TemporaryFolder folder;
  save_dataset(small(), folder / "a");
  save_dataset(load_dataset(folder / "a"), folder / "b");
  EXPECT_EQ(sha256_folder(folder / "a"), sha256_folder(folder / "b"));
}

TEST(Dataset, WithoutVectorsAndWithoutExamples) {
  TemporaryFolder folder;
  save_dataset(small(), folder / "set");  // leaves a vectors file that the next one must not inherit
  Dataset empty;
  empty.task = "ablation";
  save_dataset(empty, folder / "set");
  const Dataset loaded = load_dataset(folder / "set");
  EXPECT_TRUE(loaded.examples.empty());
  EXPECT_FALSE(loaded.vectors.defined());
}

TEST(Dataset, NamesTheLineOfABrokenExample) {
  TemporaryFolder folder;
  save_dataset(small(), folder / "set");
  const fs::path file = folder / "set" / "examples.jsonl";
  const std::string good = read_text(file);
  const auto error_with = [&](const std::string& from, const std::string& to) {
    write_text(file, replaced(good, from, to));
    return error_of([&] { load_dataset(folder / "set"); });
  };
  EXPECT_TRUE(holds(error_with("{\"id\":\"patching-2\"", "{\"id\"\"patching-2\""), "examples.jsonl:3"));
  EXPECT_TRUE(holds(error_with("\"id\":\"patching-1\",", ""), "examples.jsonl:2: key 'id' is missing"));
  EXPECT_TRUE(holds(error_with("\"split\":\"test\"", "\"split\":\"exam\""), "got 'exam', expected train, validation"));
  EXPECT_TRUE(holds(error_with("\"split\":\"test\"", "\"split\":\"exam\""), "examples.jsonl:4"));
  EXPECT_TRUE(holds(error_with("\"layers\":[2,3]", "\"layers\":\"2,3\""), "examples.jsonl:1: key 'layers'"));
  EXPECT_TRUE(holds(error_with("\"block\":\"0\"", "\"block\":0"), "attribute 'block': got number, expected a string"));
  EXPECT_TRUE(holds(error_with("patching-3", "patching-1"), "id 'patching-1' stands in line 2 already"));
  EXPECT_TRUE(holds(error_with("\"vector\":2", "\"vector\":3"), "got vector row 3"));
  EXPECT_TRUE(holds(error_with("\"vector\":2", "\"vector\":-2"), "examples.jsonl:4"));
  write_text(file, good);
  EXPECT_NO_THROW(load_dataset(folder / "set"));
}

TEST(Dataset, AFileCutAtALineEndIsFound) {
  TemporaryFolder folder;
  save_dataset(small(), folder / "set");
  const fs::path file = folder / "set" / "examples.jsonl";
  const std::string good = read_text(file);
  write_text(file, good.substr(0, good.rfind('\n', good.size() - 2) + 1));
  EXPECT_TRUE(holds(error_of([&] { load_dataset(folder / "set"); }), "says 1 test examples, examples.jsonl holds 0"));
}

TEST(Dataset, AnUnfinishedFolderIsNoDataset) {
  TemporaryFolder folder;
  save_dataset(small(), folder / "set");
  fs::remove(folder / "set" / "dataset.json");
  EXPECT_TRUE(holds(error_of([&] { load_dataset(folder / "set"); }), "no dataset.json"));
  save_dataset(small(), folder / "set");
  fs::remove(folder / "set" / "vectors.safetensors");
  EXPECT_TRUE(holds(error_of([&] { load_dataset(folder / "set"); }), "got vector row 0"));
}

TEST(Dataset, RefusesToSaveWhatItCouldNotLoad) {
  TemporaryFolder folder;
  Dataset dataset = small();
  dataset.examples[1].before = "half a letter \xf0\x9f";
  EXPECT_TRUE(
      holds(error_of([&] { save_dataset(dataset, folder / "set"); }), "'patching-1' holds text that is not UTF-8"));
  dataset = small();
  dataset.examples[3].id = "patching-0";
  EXPECT_TRUE(holds(error_of([&] { save_dataset(dataset, folder / "set"); }), "'patching-0' stands in line 1 already"));
  dataset = small();
  dataset.vectors = dataset.vectors.to(at::kDouble);
  EXPECT_TRUE(
      holds(error_of([&] { save_dataset(dataset, folder / "set"); }), "expected [n_vectors, d_target] of float32"));
  dataset.vectors = at::Tensor();
  EXPECT_TRUE(holds(error_of([&] { save_dataset(dataset, folder / "set"); }), "'patching-1': got vector row 0"));
  EXPECT_FALSE(fs::exists(folder / "set"));
}

// The three lines of docs/DATASETS.md.
TEST(Dataset, PythonLoadsItInThreeLines) {
  const char* python = "/usr/bin/python3";
  if (std::system((std::string(python) + " -c 'import numpy' 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << python << " with numpy is not installed (apt-get install python3-numpy)";
  }
  TemporaryFolder folder;
  save_dataset(small(), folder / "set");
  const fs::path script = folder.write("load.py", R"(import json, sys, numpy
folder = sys.argv[1]
examples = [json.loads(line) for line in open(f"{folder}/examples.jsonl", encoding="utf-8")]
raw = open(f"{folder}/vectors.safetensors", "rb").read(); start = 8 + int.from_bytes(raw[:8], "little")
vectors = numpy.frombuffer(raw, "<f4", offset=start).reshape(json.loads(raw[8:start])["vectors"]["shape"])
assert [e["id"] for e in examples] == [f"patching-{i}" for i in range(4)], examples
assert examples[0]["input"] == "The \"capital\"\nof Côte d’Ivoire \\ 🦉 is", examples[0]
assert examples[3]["attributes"]["token_type"] == "subject final"
assert vectors.tolist() == [[0, 1], [2, 3], [4, 5]], vectors
assert vectors[examples[3]["vector"]].tolist() == [4, 5]
)");
  const std::string command = std::string(python) + " '" + script.string() + "' '" + (folder / "set").string() + "'";
  EXPECT_EQ(std::system(command.c_str()), 0);
  // and the check can fail
  EXPECT_NE(std::system((std::string(python) + " '" + script.string() + "' /nowhere 2>/dev/null").c_str()), 0);
}

}  // namespace
}  // namespace introspect
