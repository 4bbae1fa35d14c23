#include "procedure/saved_chunks.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/files.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "model/names.h"

#include <algorithm>
#include <mutex>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

namespace introspect {

namespace {

// Refuses to mix work that does not belong together.
void claim_folder(const ChunkedWork& work, const fs::path& folder) {
  fs::create_directories(folder);
  const fs::path file = folder / (work.name + ".json");
  if (!fs::exists(file)) {
    write_json(file, work.claim);
    return;
  }
  const Json there = read_json(file);
  for (const auto& [key, value] : work.claim.items()) {
    if (there.contains(key) && there[key] == value) continue;
    fail(work.name, fmt::format("the folder holds a {} of another {} ({})", work.name, key, folder.string()),
         "give another folder, or remove this one");
  }
}

}  // namespace

void run_saved_chunks(const Model& model, const ChunkedWork& work, const fs::path& folder) {
  if (first_process()) claim_folder(work, folder);
  wait_for_processes();
  if (!first_process() && !fs::exists(folder / (work.name + ".json"))) {
    fail(work.name,
         fmt::format("the first process has begun in a folder that is not there for this one ({})", folder.string()),
         "the processes need a file system that all of them see");
  }
  Progress progress(work.name, static_cast<int64_t>(work.items), work.unit);
  const World& all = current_world();
  std::vector<std::function<void()>> of_others;
  std::vector<std::function<void()>> chunks;
  std::mutex mutex;
  for (size_t begin = 0; begin < work.items; begin += work.items_per_chunk) {
    const size_t end = std::min(work.items, begin + work.items_per_chunk);
    const fs::path file = folder / fmt::format("{}-{:06}.jsonl", work.file_stem, begin / work.items_per_chunk);
    const auto take = [&, begin, end, file](const std::vector<Json>& lines) {
      if (lines.size() != end - begin) {
        fail(work.name, fmt::format("got {} lines, expected {} ({})", lines.size(), end - begin, file.string()),
             "remove the file to compute it again");
      }
      for (size_t i = begin; i < end; ++i) {
        work.take(i, lines[i - begin], fmt::format("{}:{}", file.string(), i - begin + 1));
      }
      if (work.note) progress.note(work.note());
      progress.advance(static_cast<int64_t>(end - begin));
    };
    const auto take_file = [file, take] { take(read_json_lines(file)); };
    if (begin / work.items_per_chunk % static_cast<size_t>(all.size) != static_cast<size_t>(all.rank)) {
      of_others.emplace_back(take_file);
      continue;
    }
    if (fs::exists(file)) {
      take_file();
      continue;
    }
    chunks.emplace_back([&, begin, end, file, take] {
      check_interrupt(work.name);
      const std::vector<Json> lines = work.make(begin, end);
      write_json_lines(file, lines);
      const std::lock_guard<std::mutex> lock(mutex);
      take(lines);
    });
  }
  run_chunks(model, chunks);
  if (all.size > 1) {
    progress.note("waiting for the other processes");
    wait_for_processes();
  }
  for (const auto& each : of_others) each();
  progress.finish();
}

void run_chunks(const Model& model, const std::vector<std::function<void()>>& chunks) {
  const bool small = model.config.d_model < 1024 && model.embedding.device().is_cpu();
  const int threads = at::get_num_threads();
  run_parallel(chunks, small ? threads : 1, small ? 1 : threads);
}

std::string model_fingerprint(const Model& model) {
  // The last norm and a few rows of the last block: any training moves them.
  const at::Tensor norm = model.final_norm.to(at::kCPU, at::kFloat).contiguous();
  Model copy = model;  // shares the weights; named_linears wants one that may be changed
  const at::Tensor rows = named_linears(copy)
                              .back()
                              .linear->weight.narrow(0, 0, std::min<int64_t>(4, model.config.d_model))
                              .to(at::kCPU, at::kFloat)
                              .contiguous();
  std::string bytes = config_to_json(model.config).dump();
  for (const at::Tensor& tensor : {norm, rows}) {
    bytes.append(static_cast<const char*>(tensor.data_ptr()), static_cast<size_t>(tensor.nbytes()));
  }
  return sha256_text(bytes);
}

}  // namespace introspect
