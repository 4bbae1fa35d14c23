#include "dataset/example.h"

#include "base/error.h"
#include "base/files.h"
#include "base/safetensors.h"

#include <array>
#include <unordered_map>

namespace introspect {

namespace {

constexpr std::array kSplits = {Split::train, Split::validation, Split::test};
constexpr const char* kExamples = "examples.jsonl";
constexpr const char* kVectors = "vectors.safetensors";
constexpr const char* kInfo = "dataset.json";

int64_t vector_rows(const at::Tensor& vectors) {
  return vectors.defined() ? vectors.size(0) : 0;
}

void check_vectors(const at::Tensor& vectors, const std::string& label) {
  if (!vectors.defined()) return;
  if (vectors.dim() != 2 || vectors.scalar_type() != at::kFloat) {
    fail("dataset", fmt::format("vectors: got {} dimensions of type {}, expected [n_vectors, d_target] of float32 ({})",
                                vectors.dim(), c10::toString(vectors.scalar_type()), label));
  }
}

void check_vector_row(const Example& example, int64_t rows, const std::string& label) {
  if (example.vector < -1 || example.vector >= rows) {
    fail("dataset", fmt::format("example '{}': got vector row {}, expected -1 (none) or a row of the {} that are there"
                                " ({})",
                                example.id, example.vector, rows, label));
  }
}

// Ids seen so far and where; the second of two equal ones is named with the first.
class SeenIds {
 public:
  void add(const std::string& id, size_t line, const std::string& label) {
    const auto [entry, fresh] = lines_.emplace(id, line);
    if (!fresh) fail("dataset", fmt::format("id '{}' stands in line {} already ({})", id, entry->second, label));
  }

 private:
  std::unordered_map<std::string, size_t> lines_;
};

std::string line_of(const Example& example) {
  Json line;
  line["id"] = example.id;
  line["split"] = split_name(example.split);
  line["cluster"] = example.cluster;
  line["layers"] = example.layers;
  line["vector"] = example.vector;
  line["input"] = example.input;
  line["token"] = example.token;
  line["before"] = example.before;
  line["after"] = example.after;
  line["answer"] = example.answer;
  Json attributes = Json::object();
  for (const auto& [key, value] : example.attributes) attributes[key] = value;
  line["attributes"] = std::move(attributes);
  try {
    return line.dump();
  } catch (const Json::type_error&) {
    fail("dataset", fmt::format("example '{}' holds text that is not UTF-8", example.id),
         "decode tokens so that incomplete characters become U+FFFD before comparing answers");
  }
}

Example example_of(const Json& line, const std::string& label) {
  Example example;
  example.id = json_get<std::string>(line, "id", label);
  const auto split = json_get<std::string>(line, "split", label);
  try {
    example.split = parse_split(split);
  } catch (const Error&) {
    fail("dataset", fmt::format("split: got '{}', expected train, validation or test ({})", split, label));
  }
  example.cluster = json_get<std::string>(line, "cluster", label);
  example.layers = json_get<std::vector<int64_t>>(line, "layers", label);
  example.vector = json_get_or<int64_t>(line, "vector", -1, label);
  example.input = json_get<std::string>(line, "input", label);
  example.token = json_get_or<std::string>(line, "token", "", label);
  example.before = json_get_or<std::string>(line, "before", "", label);
  example.after = json_get_or<std::string>(line, "after", "", label);
  example.answer = json_get<std::string>(line, "answer", label);
  if (const auto attributes = line.find("attributes"); attributes != line.end() && !attributes->is_null()) {
    if (!attributes->is_object()) fail("dataset", fmt::format("attributes: expected an object of strings ({})", label));
    for (const auto& item : attributes->items()) {
      if (!item.value().is_string()) {
        fail("dataset", fmt::format("attribute '{}': got {}, expected a string ({})", item.key(),
                                    item.value().type_name(), label));
      }
      example.attributes[item.key()] = item.value().get<std::string>();
    }
  }
  return example;
}

// A file that lost its end at a line break is still valid JSONL; only the counts can tell.
void check_counts(const Dataset& dataset, const fs::path& folder) {
  const auto counts = dataset.info.find("counts");
  if (counts == dataset.info.end()) return;
  for (const Split split : kSplits) {
    const auto held = static_cast<int64_t>(dataset.of(split).size());
    const auto said = json_get_or<int64_t>(*counts, split_name(split), held, (folder / kInfo).string());
    if (said != held) {
      fail("dataset",
           fmt::format("{} says {} {} examples, {} holds {} ({})", kInfo, said, split_name(split), kExamples, held,
                       folder.string()),
           fmt::format("the file was cut short, or edited: then remove \"counts\" from {}", kInfo));
    }
  }
}

}  // namespace

std::string split_name(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::validation:
      return "validation";
    case Split::test:
      return "test";
  }
  fail("dataset", "split: not one of train, validation, test");
}

Split parse_split(const std::string& name) {
  for (const Split split : kSplits) {
    if (split_name(split) == name) return split;
  }
  fail("dataset", fmt::format("split: got '{}', expected train, validation or test", name));
}

std::vector<const Example*> Dataset::of(Split split) const {
  std::vector<const Example*> chosen;
  for (const Example& example : examples) {
    if (example.split == split) chosen.push_back(&example);
  }
  return chosen;
}

void save_dataset(const Dataset& dataset, const fs::path& folder) {
  // Everything is checked before the first byte is written.
  check_vectors(dataset.vectors, folder.string());
  std::string lines;
  SeenIds seen;
  for (size_t i = 0; i < dataset.examples.size(); ++i) {
    const Example& example = dataset.examples[i];
    seen.add(example.id, i + 1, (folder / kExamples).string());
    check_vector_row(example, vector_rows(dataset.vectors), folder.string());
    lines += line_of(example) + "\n";
  }

  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) fail("dataset", fmt::format("cannot make the folder {}: {}", folder.string(), failure.message()));
  // Without dataset.json the folder is no data set: it goes first and comes back last.
  fs::remove(folder / kInfo, failure);
  fs::remove(folder / kVectors, failure);
  if (dataset.vectors.defined()) write_safetensors(folder / kVectors, {{"vectors", dataset.vectors}});
  write_text(folder / kExamples, lines);

  Json info = dataset.info.is_object() ? dataset.info : Json::object();
  info["task"] = dataset.task;
  Json& counts = info["counts"];
  if (!counts.is_object()) counts = Json::object();
  for (const Split split : kSplits) counts[split_name(split)] = dataset.of(split).size();
  write_json(folder / kInfo, info);
}

Dataset load_dataset(const fs::path& folder) {
  if (!fs::exists(folder / kInfo)) {
    fail("dataset", fmt::format("no {} in {}", kInfo, folder.string()),
         "a data set is a folder made by `introspect dataset`; one without this file was not finished");
  }
  Dataset dataset;
  dataset.info = read_json(folder / kInfo);
  dataset.task = json_get<std::string>(dataset.info, "task", (folder / kInfo).string());
  if (fs::exists(folder / kVectors)) {
    dataset.vectors = Safetensors(folder / kVectors).get("vectors");
    check_vectors(dataset.vectors, (folder / kVectors).string());
  }

  SeenIds seen;
  for_each_json_line(folder / kExamples, [&](size_t number, const Json& line) {
    const std::string label = fmt::format("{}:{}", (folder / kExamples).string(), number);
    Example example = example_of(line, label);
    seen.add(example.id, number, label);
    check_vector_row(example, vector_rows(dataset.vectors), label);
    dataset.examples.push_back(std::move(example));
  });
  check_counts(dataset, folder);
  return dataset;
}

}  // namespace introspect
