#include "feature/published_features.h"

#include "base/error.h"
#include "sae/pickle.h"

#include <algorithm>
#include <set>

#include <ATen/Functions.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr std::pair<const char*, Split> kSplits[] = {
    {"train", Split::train}, {"valid", Split::validation}, {"validation", Split::validation}, {"test", Split::test}};

struct Feature {
  Split split = Split::train;
  int64_t layer = 0, latent = 0;
  std::string label, references, score;
};

std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  constexpr std::string_view kEnd = "<|end_of_text|>";  // some labels carry it
  if (line.ends_with(kEnd)) line.resize(line.size() - kEnd.size());
  const size_t first = line.find_first_not_of(' ');
  return first == std::string::npos ? "" : line.substr(first, line.find_last_not_of(' ') - first + 1);
}

bool wanted(const FeatureImportSettings& settings, int64_t layer) {
  return settings.layers.empty() ||
         std::find(settings.layers.begin(), settings.layers.end(), layer) != settings.layers.end();
}

// ((layer, latent), label_dict)
void read_labelled(const PickleValue& item, const std::string& label, Feature& feature) {
  const auto refuse = [&] {
    fail("import", fmt::format("expected ((layer, latent), {{\"chosen_label\": ...}}) ({})", label));
  };
  if (item.items.size() != 2 || item.items[0]->items.size() != 2) refuse();
  const PickleValue &layer = *item.items[0]->items[0], &latent = *item.items[0]->items[1], &labels = *item.items[1];
  if (layer.kind != PickleValue::integer || latent.kind != PickleValue::integer || labels.kind != PickleValue::dict)
    refuse();
  feature.layer = layer.number;
  feature.latent = latent.number;
  const PickleValue* chosen = labels.find("chosen_label");
  if (chosen && chosen->kind == PickleValue::text) feature.label = one_line(chosen->characters);
  if (const PickleValue* all = labels.find("all_labels")) {
    for (const PickleValue* each : all->items) {
      if (each->kind != PickleValue::text || one_line(each->characters) == feature.label) continue;
      feature.references += (feature.references.empty() ? "" : "\n") + one_line(each->characters);
    }
  }
  const PickleValue* scores = labels.find("all_label_scores");
  const PickleValue* score = scores && chosen ? scores->find(chosen->characters) : nullptr;
  if (score && score->kind == PickleValue::real) feature.score = fmt::format("{:.4f}", score->value);
}

class FeatureImport {
 public:
  FeatureImport(const FeatureImportSettings& settings, FeatureImportReport& report)
      : settings_(settings), report_(report) {}

  void labelled(const fs::path& folder) {
    for (const auto& [name, split] : kSplits) {
      const fs::path path = folder / "explanations" / fmt::format("{}_explanations.pkl", name);
      if (!fs::exists(path)) continue;
      const Pickle pickle(path);
      if (pickle.root().kind != PickleValue::list) fail("import", fmt::format("expected a list ({})", path.string()));
      report_.features[name] += std::ssize(pickle.root().items);
      int64_t taken = 0;
      for (const PickleValue* item : pickle.root().items) {
        if (settings_.limit > 0 && taken >= settings_.limit) break;
        Feature feature;
        read_labelled(*item, path.string(), feature);
        feature.split = split;
        if (!wanted(settings_, feature.layer)) continue;
        if (feature.label.empty()) {
          report_.dropped.add("without a label", fmt::format("{}:{}", feature.layer, feature.latent));
          continue;
        }
        features_[feature.layer].push_back(std::move(feature));
        ++taken;
      }
    }
    for (const auto& [layer, of_layer] : features_) add_layer(folder, layer, of_layer);
  }

  void plain(const fs::path& folder) {
    for (const auto& entry : kSplits) {
      const char* name = entry.first;
      const fs::path indices = folder / fmt::format("{}_indices.json", name);
      const fs::path stored = folder / fmt::format("{}_vectors.pt", name);
      if (!fs::exists(indices)) continue;
      const Json list = read_json(indices);
      const Pickle pickle(stored);
      const at::Tensor& array = pickle.root().array;
      if (pickle.root().kind != PickleValue::tensor || array.dim() != 2 || array.size(0) != std::ssize(list)) {
        fail("import", fmt::format("expected a tensor [{}, width] ({})", list.size(), stored.string()));
      }
      report_.features[name] += array.size(0);
      int64_t taken = 0;
      for (int64_t i = 0; i < array.size(0); ++i) {
        if (settings_.limit > 0 && taken >= settings_.limit) break;
        const Json& pair = list[static_cast<size_t>(i)];
        if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer()) {
          fail("import",
               fmt::format("entry {}: got {}, expected [layer, number] ({})", i, pair.dump(), indices.string()));
        }
        Feature feature;
        feature.split = Split::test;
        feature.layer = pair[0].get<int64_t>();
        if (!wanted(settings_, feature.layer)) continue;
        add(feature, array[i].to(at::kFloat), fmt::format("{}-{:06}", name, i)).attributes["aside"] = settings_.aside;
        ++taken;
      }
    }
  }

  Dataset finish(const fs::path& folder) {
    if (vectors_.empty()) {
      fail("import", fmt::format("no feature was found in {}", folder.string()),
           "expected explanations/*_explanations.pkl with features/layer_*.pkl, or *_indices.json with *_vectors.pt");
    }
    dataset_.task = "features";
    for (const at::Tensor& vector : vectors_) {
      if (vector.sizes() != vectors_.front().sizes()) fail("import", "vectors of different widths");
    }
    dataset_.vectors = at::stack(vectors_);
    std::set<std::string> learnt;
    for (const Example& example : dataset_.examples) {
      if (example.split == Split::train) learnt.insert(example.answer);
    }
    for (Example& example : dataset_.examples) {
      if (!example.answer.empty()) example.attributes["label"] = learnt.contains(example.answer) ? "seen" : "unseen";
    }
    std::stable_sort(dataset_.examples.begin(), dataset_.examples.end(),
                     [](const Example& a, const Example& b) { return a.split < b.split; });
    dataset_.info["d_model"] = dataset_.vectors.size(1);
    return std::move(dataset_);
  }

 private:
  void add_layer(const fs::path& folder, int64_t layer, const std::vector<Feature>& of_layer) {
    const fs::path path = folder / "features" / fmt::format("layer_{}.pkl", layer);
    const Pickle pickle(path);
    const at::Tensor& array = pickle.root().array;
    if (pickle.root().kind != PickleValue::tensor || array.dim() != 2) {
      fail("import", fmt::format("expected an array [width, latents] ({})", path.string()));
    }
    std::vector<int64_t> columns;
    for (const Feature& feature : of_layer) {
      if (feature.latent < 0 || feature.latent >= array.size(1)) {
        fail("import", fmt::format("feature {}:{}, the array has {} columns ({})", layer, feature.latent, array.size(1),
                                   path.string()));
      }
      columns.push_back(feature.latent);
    }
    // by rows of the file, and not column by column: one walk over its gigabytes
    const at::Tensor rows = array.index_select(1, at::tensor(columns, at::kLong)).to(at::kFloat).t().contiguous();
    for (size_t i = 0; i < of_layer.size(); ++i) {
      const Feature& feature = of_layer[i];
      Example& example = add(feature, rows[static_cast<int64_t>(i)], fmt::format("{}-{:06}", layer, feature.latent));
      example.answer = feature.label;
      example.attributes["latent"] = std::to_string(feature.latent);
      if (!feature.references.empty()) example.attributes["references"] = feature.references;
      if (!feature.score.empty()) example.attributes["score"] = feature.score;
    }
  }

  Example& add(const Feature& feature, const at::Tensor& vector, const std::string& id) {
    Example example;
    example.id = "feature-" + id;
    example.split = feature.split;
    example.cluster = example.id;
    example.layers = {feature.layer};
    example.vector = std::ssize(vectors_);
    example.attributes["layer"] = std::to_string(feature.layer);
    example.attributes["kind"] = "published";
    vectors_.push_back(vector);
    dataset_.examples.push_back(std::move(example));
    return dataset_.examples.back();
  }

  const FeatureImportSettings& settings_;
  FeatureImportReport& report_;
  std::map<int64_t, std::vector<Feature>> features_;
  Dataset dataset_;
  std::vector<at::Tensor> vectors_;
};

}  // namespace

Dataset import_features(const fs::path& folder, const FeatureImportSettings& settings, FeatureImportReport& report) {
  FeatureImport made(settings, report);
  if (fs::is_directory(folder / "explanations")) {
    made.labelled(folder);
  } else {
    made.plain(folder);
  }
  return made.finish(folder);
}

}  // namespace introspect
