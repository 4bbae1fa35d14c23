// One question about a target model's inside, with its ground truth. A data set is a folder:
//   examples.jsonl       one Example a line
//   vectors.safetensors  "vectors" [n_vectors, d_target] F32; an example names its row
//   dataset.json         task, target, settings, counts
// Python reads it in three lines: see docs/DATASETS.md.
#pragma once

#include "base/json.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace introspect {

enum class Split { train, validation, test };
std::string split_name(Split split);
Split parse_split(const std::string& name);  // throws Error

struct Example {
  std::string id;  // unique in the data set: "patching-000017"
  Split split = Split::train;
  std::string cluster;          // what intervals and tests resample: the prompt, the subject, the feature
  std::vector<int64_t> layers;  // where the vector was taken and put
  int64_t vector = -1;          // row of vectors.safetensors; -1: none
  std::string input;            // the text x, as {input} shows it
  std::string token;            // the token text at the patched position, as {tokens} shows it
  std::string before, after;    // the target's answer without and with the intervention
  std::string answer;           // the words of the ground truth: what the explainer is to say
  // Everything else, for cells and browsing: "token_type", "relation", "block", "position", "subject", ...
  std::map<std::string, std::string> attributes;

  bool changed() const { return before != after; }
};

struct Dataset {
  std::string task;  // "patching"
  Json info;         // dataset.json, whole
  std::vector<Example> examples;
  at::Tensor vectors;  // [n_vectors, d_target] float32; undefined if the task has none

  std::vector<const Example*> of(Split split) const;
};

// dataset.json is written last and gets the keys "task" and "counts" (examples of each split), whatever info says.
// Throws Error for text that is not UTF-8 (JSON could not hold it, and replacing letters could make two different
// answers equal), a duplicate id, or a vector row that is not there.
void save_dataset(const Dataset& dataset, const fs::path& folder);
// Throws Error naming file and line for a broken example, a duplicate id, or a vector row that is not there; and for
// counts that disagree with dataset.json (a file cut short). `vectors` views the mapped file: never write to it.
Dataset load_dataset(const fs::path& folder);

}  // namespace introspect
