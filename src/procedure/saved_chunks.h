// Long work that is kept piece by piece: items go in chunks, each chunk is a file of JSON lines, and a second call
// reads what is there.
#pragma once

#include "base/json.h"
#include "model/model.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace introspect {

struct ChunkedWork {
  std::string name;       // "sweep": of <folder>/sweep.json, progress and errors
  std::string file_stem;  // "cells": <folder>/cells-000012.jsonl
  std::string unit;       // "prompts"
  Json claim;             // whatever decides the results; work of another claim in the folder is an Error
  size_t items = 0, items_per_chunk = 1;
  // Lines of the items [begin, end), one each. May run on several threads at once.
  std::function<std::vector<Json>(size_t begin, size_t end)> make;
  // Takes an item's line, made now or read from its file (`where` names it); never called twice at once.
  std::function<void(size_t item, const Json& line, const std::string& where)> take;
  std::function<std::string()> note;  // for the progress line; may be empty
};

// A chunk always runs as one, so that results do not depend on interruptions, nor on how many run beside each other.
// Throws Error(interrupted) between two chunks, and Error for a file with another number of lines.
// Several processes (base/distributed.h) share the chunks: each makes every size-th one, and takes all in the end. They
// need a folder that all of them see.
void run_saved_chunks(const Model& model, const ChunkedWork& work, const fs::path& folder);

// Runs the chunks: of a small model several beside each other, each on one processor thread, since its products do not
// fill several; of a large one one after the other on all threads.
void run_chunks(const Model& model, const std::vector<std::function<void()>>& chunks);

// Differs between models of the same shape, also between a model and its continuation, without reading every weight.
std::string model_fingerprint(const Model& model);

}  // namespace introspect
