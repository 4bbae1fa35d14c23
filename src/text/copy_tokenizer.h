// A tokenizer's files beside a model that was made from another's.
#pragma once

#include <filesystem>

namespace introspect {

namespace fs = std::filesystem;

// Copies tokenizer.json and its companions from one Hugging Face folder to another, those that are there; what stands
// there is overwritten.
void copy_tokenizer(const fs::path& from, const fs::path& to);

}  // namespace introspect
