#include "procedure/saved_sweep.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"

#include <functional>
#include <mutex>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
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

// Refuses to mix work that does not belong together.
void claim_folder(const fs::path& folder, const Json& claim) {
  fs::create_directories(folder);
  const fs::path file = folder / "sweep.json";
  if (!fs::exists(file)) {
    write_json(file, claim);
    return;
  }
  const Json there = read_json(file);
  for (const auto& [key, value] : claim.items()) {
    if (there.contains(key) && there[key] == value) continue;
    fail("sweep", fmt::format("the folder holds a sweep of another {} ({})", key, folder.string()),
         "give another folder, or remove this one");
  }
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

fs::path chunk_file(const fs::path& folder, size_t chunk) {
  return folder / fmt::format("cells-{:06}.jsonl", chunk);
}

// False if the chunk of prompts [begin, end) is not there yet.
bool read_chunk(const fs::path& file, const std::vector<SweepPrompt>& prompts, size_t begin, size_t end, int64_t blocks,
                std::vector<SweepResult>& results) {
  if (!fs::exists(file)) return false;
  const std::vector<Json> lines = read_json_lines(file);
  if (lines.size() != end - begin) {
    fail("sweep", fmt::format("got {} lines, expected {} ({})", lines.size(), end - begin, file.string()),
         "remove the file to compute it again");
  }
  for (size_t i = begin; i < end; ++i) {
    results[i] =
        parse_line(lines[i - begin], i, prompts[i], blocks, fmt::format("{}:{}", file.string(), i - begin + 1));
  }
  return true;
}

}  // namespace

std::vector<SweepPrompt> slice(const std::vector<SweepPrompt>& prompts, size_t begin, size_t end) {
  return {prompts.begin() + static_cast<std::ptrdiff_t>(begin), prompts.begin() + static_cast<std::ptrdiff_t>(end)};
}

void run_chunks(const Model& model, const std::vector<std::function<void()>>& chunks) {
  const bool small = model.config.d_model < 1024 && model.embedding.device().is_cpu();
  const int threads = at::get_num_threads();
  run_parallel(chunks, small ? threads : 1, small ? 1 : threads);
}

std::string model_fingerprint(const Model& model) {
  // The last norm and a few rows of the last block: any training moves them.
  const at::Tensor norm = model.final_norm.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor rows = model.blocks.back()
                              .down.weight.narrow(0, 0, std::min<int64_t>(4, model.config.d_model))
                              .to(at::kCPU, at::kFloat)
                              .contiguous();
  std::string bytes = config_to_json(model.config).dump();
  for (const at::Tensor& tensor : {norm, rows}) {
    bytes.append(static_cast<const char*>(tensor.data_ptr()), static_cast<size_t>(tensor.nbytes()));
  }
  return sha256_text(bytes);
}

std::vector<SweepResult> sweep_and_save(const Model& model, const std::vector<SweepPrompt>& prompts,
                                        const SweepSettings& settings, int64_t prompts_per_chunk,
                                        const std::string& purpose, const fs::path& folder) {
  if (prompts_per_chunk < 1)
    fail_usage("sweep", fmt::format("prompts_per_chunk: got {}, expected at least 1", prompts_per_chunk));
  claim_folder(folder,
               {{"model", model_fingerprint(model)}, {"prompts", prompts_hash(prompts)}, {"settings", purpose}});
  const auto size = static_cast<size_t>(prompts_per_chunk);
  std::vector<SweepResult> results(prompts.size());
  std::vector<size_t> missing;  // begins of the chunks that are not there yet
  int64_t done = 0, correct = 0;
  for (size_t begin = 0; begin < prompts.size(); begin += size) {
    const size_t end = std::min(prompts.size(), begin + size);
    if (!read_chunk(chunk_file(folder, begin / size), prompts, begin, end, settings.blocks, results)) {
      missing.push_back(begin);
      continue;
    }
    done += static_cast<int64_t>(end - begin);
    for (size_t i = begin; i < end; ++i) correct += results[i].correct;
  }
  Progress progress("sweep", std::ssize(prompts), "prompts");
  progress.set(done);
  std::mutex mutex;
  std::vector<std::function<void()>> work;
  for (const size_t begin : missing) {
    work.emplace_back([&, begin] {
      check_interrupt("sweep");
      const size_t end = std::min(prompts.size(), begin + size);
      std::vector<SweepResult> made = sweep_prompts(model, slice(prompts, begin, end), settings);
      std::vector<Json> lines;
      for (size_t i = begin; i < end; ++i) lines.push_back(result_line(i, made[i - begin]));
      write_json_lines(chunk_file(folder, begin / size), lines);
      const std::lock_guard<std::mutex> lock(mutex);
      std::move(made.begin(), made.end(), results.begin() + static_cast<std::ptrdiff_t>(begin));
      done += static_cast<int64_t>(end - begin);
      for (size_t i = begin; i < end; ++i) correct += results[i].correct;
      progress.note(
          fmt::format("{:.0f}% answered rightly", 100.0 * static_cast<double>(correct) / static_cast<double>(done)));
      progress.advance(static_cast<int64_t>(end - begin));
    });
  }
  run_chunks(model, work);
  progress.finish();
  return results;
}

}  // namespace introspect
