#include "model/synthesize.h"

#include "base/error.h"
#include "base/files.h"
#include "base/progress.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "model/model.h"

#include <algorithm>
#include <cstring>
#include <map>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr int64_t pool_size = (1 << 20) + 7;
constexpr int64_t window = 4096;  // numbers that lie together in the pool

uint64_t bytes_of(const WeightShape& weight, at::ScalarType dtype) {
  uint64_t bytes = c10::elementSize(dtype);
  for (int64_t extent : weight.shape) bytes *= static_cast<uint64_t>(extent);
  return bytes;
}

// The same with at most two layers and few tokens.
ModelConfig small(ModelConfig config) {
  config.layers = std::min<int64_t>(config.layers, 2);
  config.vocab_size = 16;
  return config;
}

// A small new model of the family: what `initialise` gives its tensors.
std::map<std::string, at::Tensor> own_values(const ModelConfig& config, uint64_t seed) {
  std::map<std::string, at::Tensor> values;
  if (!family_of(config).initialise) return values;
  Model model = create_model(small(config), seed);
  for (auto& [name, tensor] : parameters(model)) values[name] = tensor;
  return values;
}

class Values {
 public:
  Values(const ModelConfig& config, const SynthesizeOptions& options)
      : config_(config),
        small_(small(config)),
        options_(options),
        pool_(at::empty({pool_size})),
        own_(own_values(config, options.seed)) {
    Random random(options.seed, "normal numbers");
    float* values = pool_.data_ptr<float>();
    for (int64_t i = 0; i < pool_size; ++i) values[i] = static_cast<float>(random.normal());
  }

  at::Tensor of(const WeightShape& weight) {
    FirstValues first = first_values(config_, weight);
    if (const at::Tensor own = own_value(weight.name); own.defined()) {
      const bool matrix = own.dim() == 2 && weight.name.ends_with(".weight");
      if (!matrix) return own.to(options_.dtype).reshape(weight.shape);
      // how far the family departs from what every model begins with, which depends on the number of layers
      first.deviation *= own.std().item<double>() / first_values(small_, weight).deviation;
    }
    if (first.deviation == 0) return at::full(weight.shape, first.mean, options_.dtype);
    at::Tensor values = at::empty(weight.shape, options_.dtype);
    const at::Tensor pool = scaled(first.deviation);
    const int64_t count = values.numel(), windows = (count + window - 1) / window;
    std::vector<int64_t> starts(windows);
    Random random(options_.seed, weight.name);
    for (int64_t& start : starts) start = static_cast<int64_t>(random.below(pool_size - window));
    const size_t size = c10::elementSize(options_.dtype);
    auto* target = static_cast<char*>(values.data_ptr());
    const auto* source = static_cast<const char*>(pool.data_ptr());
    at::parallel_for(0, windows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t numbers = std::min(window, count - i * window);
        std::memcpy(target + static_cast<size_t>(i * window) * size, source + static_cast<size_t>(starts[i]) * size,
                    static_cast<size_t>(numbers) * size);
      }
    });
    return values;
  }

 private:
  // The tensor of this name in the small model; layers behind its last one have that one's.
  at::Tensor own_value(std::string name) const {
    if (own_.empty()) return {};
    if (const size_t begin = name.find_first_of("0123456789"); begin != std::string::npos && !own_.contains(name)) {
      name.replace(begin, name.find('.', begin) - begin, "1");
    }
    const auto found = own_.find(name);
    // the embedding and the head of the small model have fewer rows
    const bool table = name.find("embed") != std::string::npos || name == "lm_head.weight";
    return found == own_.end() || table ? at::Tensor() : found->second;
  }
  at::Tensor scaled(double deviation) {
    at::Tensor& pool = scaled_[deviation];
    if (!pool.defined()) pool = (pool_ * deviation).to(options_.dtype);
    return pool;
  }

  const ModelConfig& config_;
  const ModelConfig small_;
  const SynthesizeOptions& options_;
  at::Tensor pool_;
  std::map<std::string, at::Tensor> own_;
  std::map<double, at::Tensor> scaled_;
};

// Whether an earlier call with the same settings has written this shard.
bool is_there(const fs::path& path, const std::vector<TensorOutline>& outlines, const std::string& origin) {
  if (!fs::exists(path)) return false;
  const Safetensors stored(path);
  const auto& metadata = stored.metadata();
  const auto found = metadata.find("synthesized");
  bool same = found != metadata.end() && found->second == origin && stored.tensors().size() == outlines.size();
  for (const TensorOutline& outline : outlines) same = same && stored.contains(outline.name);
  if (!same) {
    fail("synthesize", fmt::format("the file is there and holds something else ({})", path.string()),
         "give --out a folder that does not exist yet");
  }
  return true;
}

void check_disk(const fs::path& folder, uint64_t needed) {
  const fs::space_info space = fs::space(folder);
  if (space.available < needed) {
    fail("synthesize",
         fmt::format("{:.1f} GB are to be written, {:.1f} GB are free ({})", static_cast<double>(needed) / 1e9,
                     static_cast<double>(space.available) / 1e9, folder.string()));
  }
}

}  // namespace

SynthesizeReport synthesize_checkpoint(const Json& given, const fs::path& folder, const SynthesizeOptions& options,
                                       const std::function<void(uint64_t, uint64_t)>& report) {
  Json json = given;
  json["torch_dtype"] = options.dtype == at::kBFloat16 ? "bfloat16"
                        : options.dtype == at::kHalf   ? "float16"
                                                       : "float32";
  const ModelConfig config = parse_config(json, "config");
  SynthesizeReport made;
  std::vector<std::vector<WeightShape>> shards;
  uint64_t filled = 0;
  for (const WeightShape& weight : expected_weights(config)) {
    const uint64_t bytes = bytes_of(weight, options.dtype);
    if (shards.empty() || filled + bytes > options.shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(weight);
    filled += bytes;
    made.bytes += bytes;
  }
  made.shards = std::ssize(shards);

  fs::create_directories(folder);
  const fs::path config_path = folder / "config.json";
  if (fs::exists(config_path) && read_json(config_path) != json) {
    fail("synthesize", fmt::format("another model's config.json is there ({})", folder.string()),
         "give --out a folder that does not exist yet");
  }
  const std::string origin = fmt::format("introspect, seed {}, {}", options.seed, c10::toString(options.dtype));
  struct Shard {
    std::string file;
    std::vector<TensorOutline> outlines;
    bool there;
  };
  std::vector<Shard> files;
  uint64_t needed = 1'000'000, done = 0;  // headers, index, config
  Json index{{"metadata", {{"total_size", made.bytes}}}, {"weight_map", Json::object()}};
  for (size_t s = 0; s < shards.size(); ++s) {
    Shard& shard = files.emplace_back();
    shard.file = shards.size() == 1 ? "model.safetensors"
                                    : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    uint64_t bytes = 0;
    for (const WeightShape& weight : shards[s]) {
      shard.outlines.push_back({weight.name, options.dtype, weight.shape});
      index["weight_map"][weight.name] = shard.file;
      bytes += bytes_of(weight, options.dtype);
    }
    shard.there = is_there(folder / shard.file, shard.outlines, origin);
    made.kept += shard.there ? 1 : 0;
    (shard.there ? done : needed) += bytes;
  }
  check_disk(folder, needed);
  write_json(config_path, json);
  Values values(config, options);
  if (report) report(done, made.bytes);
  for (size_t s = 0; s < files.size(); ++s) {
    if (files[s].there) continue;
    const auto next = [&](size_t i) {
      check_interrupt("synthesize");
      at::Tensor tensor = values.of(shards[s][i]);
      done += tensor.nbytes();
      if (report) report(done, made.bytes);
      return tensor;
    };
    write_safetensors(folder / files[s].file, files[s].outlines, next, {{"format", "pt"}, {"synthesized", origin}});
  }
  if (files.size() > 1) write_json(folder / "model.safetensors.index.json", index);
  return made;
}

}  // namespace introspect
