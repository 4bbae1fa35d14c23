#include "procedure/saved_sweep.h"

#include "base/error.h"
#include "base/files.h"
#include "procedure/saved_chunks.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string prompts_hash(const std::vector<SweepPrompt>& prompts) {
  std::string bytes;
  const auto add = [&](const std::vector<int64_t>& numbers) {
    const auto count = static_cast<int64_t>(numbers.size());
    bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
    bytes.append(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(int64_t));
  };
  for (const SweepPrompt& prompt : prompts) {
    for (const auto* part :
         {&prompt.tokens, &prompt.counterfactual, &prompt.answer, &prompt.positions, &prompt.sources}) {
      add(*part);
    }
  }
  return sha256_text(bytes);
}

Json result_line(size_t prompt, const SweepResult& result) {
  return {{"prompt", prompt},
          {"before", result.before},
          {"correct", result.correct},
          {"swept", result.swept},
          {"after", result.after}};
}

SweepResult parse_line(const Json& line, size_t prompt, const SweepPrompt& cells, int64_t blocks,
                       const std::string& where) {
  const auto broken = [&](const char* what) {
    fail("sweep", fmt::format("{} does not fit the prompts ({})", what, where), "remove the file to compute it again");
  };
  SweepResult result;
  if (json_get<int64_t>(line, "prompt", where) != static_cast<int64_t>(prompt)) broken("prompt");
  result.before = json_get<int64_t>(line, "before", where);
  result.correct = json_get<bool>(line, "correct", where);
  result.swept = json_get<bool>(line, "swept", where);
  if (!line.contains("after") || !line["after"].is_array()) broken("after");
  for (const Json& block : line["after"]) {
    if (!block.is_array() || block.size() != cells.positions.size()) broken("after");
    std::vector<int64_t>& tokens = result.after.emplace_back();
    for (const Json& token : block) {
      if (!token.is_number_integer()) broken("after");
      tokens.push_back(token.get<int64_t>());
    }
  }
  if (std::ssize(result.after) != (result.swept ? blocks : 0)) broken("after");
  return result;
}

}  // namespace

std::vector<SweepPrompt> slice(const std::vector<SweepPrompt>& prompts, size_t begin, size_t end) {
  return {prompts.begin() + static_cast<std::ptrdiff_t>(begin), prompts.begin() + static_cast<std::ptrdiff_t>(end)};
}

std::vector<SweepResult> sweep_and_save(const Model& model, const std::vector<SweepPrompt>& prompts,
                                        const SweepSettings& settings, int64_t prompts_per_chunk,
                                        const std::string& purpose, const fs::path& folder) {
  if (prompts_per_chunk < 1)
    fail_usage("sweep", fmt::format("prompts_per_chunk: got {}, expected at least 1", prompts_per_chunk));
  std::vector<SweepResult> results(prompts.size());
  int64_t done = 0, correct = 0;
  ChunkedWork work;
  work.name = "sweep";
  work.file_stem = "cells";
  work.unit = "prompts";
  work.claim = {{"model", model_fingerprint(model)}, {"prompts", prompts_hash(prompts)}, {"settings", purpose}};
  work.items = prompts.size();
  work.items_per_chunk = static_cast<size_t>(prompts_per_chunk);
  work.make = [&](size_t begin, size_t end) {
    const std::vector<SweepResult> made = sweep_prompts(model, slice(prompts, begin, end), settings);
    std::vector<Json> lines;
    for (size_t i = begin; i < end; ++i) lines.push_back(result_line(i, made[i - begin]));
    return lines;
  };
  work.take = [&](size_t item, const Json& line, const std::string& where) {
    results[item] = parse_line(line, item, prompts[item], settings.blocks, where);
    ++done;
    correct += results[item].correct;
  };
  work.note = [&] {
    return fmt::format("{:.0f}% answered rightly", 100.0 * static_cast<double>(correct) / static_cast<double>(done));
  };
  run_saved_chunks(model, work, folder);
  return results;
}

}  // namespace introspect
