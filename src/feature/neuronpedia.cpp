#include "feature/neuronpedia.h"

#include "base/error.h"
#include "base/json.h"
#include "procedure/records.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <zlib.h>

#include <nlohmann/json.hpp>

namespace introspect {

namespace {

// A line holds a sentence and perhaps an embedding of 256 numbers; a compressed file may claim anything.
constexpr size_t kLongestLine = size_t{16} << 20;

using Visit = std::function<void(const Json& line, const std::string& label)>;

// zlib reads plain files as they are, so that one way serves both.
void for_each_line(const fs::path& path, const Visit& visit) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(::gzopen(path.c_str(), "rb"), ::gzclose_r);
  if (!file) fail("neuronpedia", fmt::format("cannot be opened: {} ({})", std::strerror(errno), path.string()));
  std::string line;
  size_t number = 1;
  const auto take = [&] {
    if (line.find_first_not_of(" \t\r") != std::string::npos) {
      const std::string label = fmt::format("{}:{}", path.string(), number);
      visit(parse_json(line, label), label);
    }
    line.clear();
    ++number;
  };
  std::vector<char> buffer(size_t{1} << 16);
  for (;;) {
    const int count = ::gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()));
    if (count < 0) {
      int code = 0;
      fail("neuronpedia", fmt::format("cannot be read behind line {}: {} ({})", number - 1,
                                      ::gzerror(file.get(), &code), path.string()));
    }
    if (count == 0) break;
    for (const char *at = buffer.data(), *end = at + count; at < end;) {
      const char* stop = std::find(at, end, '\n');
      line.append(at, stop);
      if (line.size() > kLongestLine) {
        fail("neuronpedia",
             fmt::format("a line of more than {} MiB ({}:{})", kLongestLine >> 20, path.string(), number));
      }
      if (stop < end) take(), ++stop;
      at = stop;
    }
  }
  // a file cut short in its compressed bytes ends like a whole one, but for this
  int code = Z_OK;
  const char* message = ::gzerror(file.get(), &code);
  if (code != Z_OK && code != Z_STREAM_END) {
    fail("neuronpedia", fmt::format("ends in the middle, behind line {}: {} ({})", number - 1, message, path.string()),
         "download it again");
  }
  if (!line.empty()) take();
}

void for_each_entry(const fs::path& path, const Visit& visit) {
  if (path.extension() != ".json") return for_each_line(path, visit);
  const Json list = read_json(path);
  if (!list.is_array()) fail("neuronpedia", fmt::format("expected a list of explanations ({})", path.string()));
  for (size_t i = 0; i < list.size(); ++i) visit(list[i], fmt::format("{} entry {}", path.string(), i + 1));
}

std::vector<fs::path> files_of(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    fail("neuronpedia", fmt::format("there is no such file or folder ({})", path.string()));
  if (!fs::is_directory(path, ignored)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")) files.push_back(entry.path());
  }
  if (files.empty()) fail("neuronpedia", fmt::format("holds no .jsonl and no .jsonl.gz ({})", path.string()));
  // batch-2 before batch-10: the order of labels must be that of the export
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    const std::string first = a.filename().string(), second = b.filename().string();
    return std::pair(first.size(), first) < std::pair(second.size(), second);
  });
  return files;
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

int64_t layer_of(const std::string& source, const std::string& label) {
  const std::optional<int64_t> layer = whole_number(source.substr(0, source.find('-')));
  if (!layer) {
    fail("neuronpedia", fmt::format("layer: got '{}', expected a number in front, as in '19-llamascope-res-131k' ({})",
                                    source.substr(0, 60), label));
  }
  return *layer;
}

int64_t index_of(const Json& line, const std::string& label) {
  const auto found = line.find("index");
  if (found != line.end() && found->is_string()) {
    if (const std::optional<int64_t> index = whole_number(found->get<std::string>())) return *index;
  }
  const int64_t index = json_get<int64_t>(line, "index", label);
  if (index < 0) fail("neuronpedia", fmt::format("index: got {}, expected 0 or more ({})", index, label));
  return index;
}

}  // namespace

std::vector<DescribedFeature> import_neuronpedia(const fs::path& path, const NeuronpediaSettings& settings,
                                                 NeuronpediaReport& report) {
  constexpr double kNotSimulated = std::numeric_limits<double>::quiet_NaN();
  report = {};
  std::map<std::pair<int64_t, int64_t>, DescribedFeature> features;
  std::map<int64_t, std::string> source_of_layer;
  std::string model = settings.model_id;
  const auto visit = [&](const Json& line, const std::string& label) {
    ++report.lines;
    const std::string line_model = json_get_or<std::string>(line, "modelId", "", label);
    const std::string source = json_get<std::string>(line, "layer", label);
    const int64_t layer = layer_of(source, label), latent = index_of(line, label);
    const std::string text = trimmed(json_get_or<std::string>(line, "description", "", label));
    if ((!settings.model_id.empty() && line_model != settings.model_id) ||
        (!settings.source.empty() && source != settings.source)) {
      ++report.other_models;
      return;
    }
    if (model.empty()) model = line_model;
    if (line_model != model) {
      fail("neuronpedia", fmt::format("model '{}' behind lines of '{}' ({})", line_model, model, label),
           "say which model's are wanted");
    }
    const auto [known, fresh] = source_of_layer.emplace(layer, source);
    if (!fresh && known->second != source) {
      fail("neuronpedia",
           fmt::format("layer {} has features of '{}' and of '{}' ({})", layer, known->second, source, label),
           "their latents have the same numbers; say which source is wanted");
    }
    if (settings.latents >= 0 && latent >= settings.latents) {
      ++report.outside;
      return;
    }
    if (text.empty()) {
      ++report.empty;
      return;
    }
    DescribedFeature& feature = features[{layer, latent}];
    feature.layer = layer;
    feature.latent = latent;
    for (const Description& description : feature.descriptions) {
      if (description.text != text) continue;
      ++report.duplicates;
      return;
    }
    feature.descriptions.push_back({text, "", "neuronpedia", kNotSimulated, kNotSimulated});
    ++report.kept;
    ++report.explanation_models[json_get_or<std::string>(line, "explanationModelName", "", label)];
  };
  for (const fs::path& file : files_of(path)) {
    ++report.files;
    for_each_entry(file, visit);
  }
  std::vector<DescribedFeature> list;
  list.reserve(features.size());
  for (auto& [place, feature] : features) list.push_back(std::move(feature));
  return list;
}

}  // namespace introspect
