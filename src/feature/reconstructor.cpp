#include "feature/reconstructor.h"

#include "base/distributed.h"
#include "base/error.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "model/forward.h"
#include "text/copy_tokenizer.h"
#include "train/rate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

constexpr int64_t kTokensPerPass = 4096;

bool blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos;
}

void check_prompt(const std::string& prompt, const std::string& label) {
  for (const std::string name : {"{layer}", "{description}"}) {
    const size_t at = prompt.find(name);
    if (at == std::string::npos || prompt.find(name, at + 1) != std::string::npos) {
      fail("reconstructor", fmt::format("prompt: got \"{}\", expected {} in it once ({})", prompt, name, label));
    }
  }
}

at::Tensor unit_rows(const at::Tensor& x) {
  return x / x.norm(2, 1, true).clamp_min(1e-12);
}

void check_items(const DescribedVectors& items, const char* name) {
  const int64_t n = items.size();
  if (n == 0) fail("reconstructor", fmt::format("no descriptions ({})", name));
  if (std::ssize(items.layers) != n || !items.vectors.defined() || items.vectors.dim() != 2 ||
      items.vectors.size(0) != n) {
    fail("reconstructor", fmt::format("{} descriptions: expected as many layers and vectors ({})", n, name));
  }
  if (!items.vectors.isfinite().all().item<bool>()) fail("reconstructor", "a vector that is not finite");
  if (items.vectors.norm(2, 1).min().item<double>() == 0) fail("reconstructor", "a vector of length 0");
}

Fidelity fidelity_of(const std::vector<double>& cosines) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  const auto n = static_cast<double>(cosines.size());
  if (cosines.empty()) return {none, none, none};
  double sum = 0, squares = 0;
  for (const double cosine : cosines) sum += cosine;
  const double mean = sum / n;
  for (const double cosine : cosines) squares += (cosine - mean) * (cosine - mean);
  return {mean, cosines.size() > 1 ? std::sqrt(squares / (n - 1) / n) : none, 2 * (1 - mean)};
}

std::vector<double> cosines_of(const at::Tensor& made, const at::Tensor& unit_truth) {
  const at::Tensor cosines = (made * unit_truth).sum(1).to(at::kDouble).contiguous();
  return {cosines.data_ptr<double>(), cosines.data_ptr<double>() + cosines.numel()};
}

// For each item the index of another one of its layer with another description, in circles of random order; -1: none.
std::vector<int64_t> partners(const DescribedVectors& items, uint64_t seed) {
  std::map<int64_t, std::vector<int64_t>> circles;
  for (int64_t i = 0; i < items.size(); ++i) circles[items.layers[static_cast<size_t>(i)]].push_back(i);
  std::vector<int64_t> partner(static_cast<size_t>(items.size()), -1);
  for (auto& [layer, circle] : circles) {
    Random random(seed, fmt::format("shuffled descriptions {}", layer));
    random.shuffle(circle);
    for (size_t i = 0; i < circle.size(); ++i) {
      for (size_t step = 1; step < circle.size(); ++step) {
        const int64_t other = circle[(i + step) % circle.size()];
        const auto &mine = items.descriptions[static_cast<size_t>(circle[i])],
                   &theirs = items.descriptions[static_cast<size_t>(other)];
        if (mine == theirs || blank(theirs)) continue;
        partner[static_cast<size_t>(circle[i])] = other;
        break;
      }
    }
  }
  return partner;
}

std::map<int64_t, at::Tensor> layer_means(const DescribedVectors& items) {
  const at::Tensor unit = unit_rows(items.vectors.to(at::kFloat));
  std::map<int64_t, std::vector<int64_t>> rows;
  for (int64_t i = 0; i < items.size(); ++i) rows[items.layers[static_cast<size_t>(i)]].push_back(i);
  std::map<int64_t, at::Tensor> means;
  for (const auto& [layer, list] : rows) means[layer] = unit.index_select(0, at::tensor(list, at::kLong)).mean(0);
  return means;
}

Json fidelity_part(const Fidelity& f) {
  return {{"cosine", f.cosine}, {"cosine_standard_error", f.cosine_error}, {"distance", f.distance}};
}

}  // namespace

DescribedVectors decoder_vectors(const std::vector<WordedFeature>& features, const std::vector<Sae>& saes) {
  DescribedVectors items;
  std::vector<at::Tensor> rows;
  for (const WordedFeature& feature : features) {
    const auto sae =
        std::find_if(saes.begin(), saes.end(), [&](const Sae& each) { return each.place.layer == feature.layer; });
    if (sae == saes.end())
      fail("reconstructor", fmt::format("no SAE of layer {}, which a feature is of", feature.layer));
    if (feature.latent < 0 || feature.latent >= sae->latents()) {
      fail("reconstructor",
           fmt::format("latent {} of layer {}: the SAE has {}", feature.latent, feature.layer, sae->latents()));
    }
    for (const std::string& words : feature.descriptions) {
      items.layers.push_back(feature.layer);
      items.descriptions.push_back(words);
      rows.push_back(sae->decoder[feature.latent].to(at::kFloat));
    }
  }
  if (!rows.empty()) items.vectors = at::stack(rows);
  return items;
}

Reconstructor::Reconstructor(Model given_model, Tokenizer given_tokenizer, std::string given_prompt, int64_t layers)
    : model(std::move(given_model)), tokenizer(std::move(given_tokenizer)), prompt(std::move(given_prompt)) {
  check_prompt(prompt, "the reconstructor's prompt");
  if (layers < 1 || layers > model.config.layers) {
    fail("reconstructor", fmt::format("layers: got {}, the model has {}", layers, model.config.layers));
  }
  model.blocks.resize(static_cast<size_t>(layers));
  model.config.layers = layers;
}

Reconstructor Reconstructor::open(const fs::path& folder) {
  const fs::path path = folder / "reconstructor.json";
  if (!fs::exists(path)) {
    fail("reconstructor", fmt::format("no reconstructor.json (in {})", folder.string()),
         "a reconstructor is what 'introspect reconstructor train' writes");
  }
  Model model = load_model(folder);
  const int64_t layers = model.config.layers;
  const std::string prompt = json_get<std::string>(read_json(path), "prompt", path.string());
  Reconstructor result(std::move(model), Tokenizer::open(folder), prompt, layers);
  const Safetensors file(folder / "head.safetensors");
  const std::string label = file.path().string();
  for (const auto& [name, info] : file.tensors()) {
    const at::Tensor tensor = file.get(name).to(at::kFloat).clone();
    if (!tensor.isfinite().all().item<bool>())
      fail("reconstructor", fmt::format("'{}' is not finite ({})", name, label));
    if (name == "head") {
      result.head = tensor;
      continue;
    }
    int64_t layer = 0;
    const std::string number = name.starts_with("mean.") ? name.substr(5) : "";
    const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), layer);
    if (number.empty() || error != std::errc() || stop != number.data() + number.size()) {
      fail("reconstructor", fmt::format("tensor '{}': expected head or mean.<layer> ({})", name, label));
    }
    result.means[layer] = tensor;
  }
  if (!result.head.defined() || result.head.dim() != 2 || result.head.size(1) != result.model.config.d_model) {
    fail("reconstructor", fmt::format("head: expected [any, {}] ({})", result.model.config.d_model, label));
  }
  for (const auto& [layer, mean] : result.means) {
    if (mean.dim() != 1 || mean.size(0) != result.head.size(0)) {
      fail("reconstructor", fmt::format("mean.{}: expected [{}] ({})", layer, result.head.size(0), label));
    }
  }
  return result;
}

void Reconstructor::save(const fs::path& folder, const fs::path& tokenizer_folder, const Json& extra) const {
  fs::create_directories(folder);
  save_model(model, folder, at::kFloat);
  copy_tokenizer(tokenizer_folder, folder);
  std::vector<std::pair<std::string, at::Tensor>> tensors{{"head", head}};
  for (const auto& [layer, mean] : means) tensors.emplace_back(fmt::format("mean.{}", layer), mean);
  write_safetensors(folder / "head.safetensors", tensors);
  Json json{{"prompt", prompt}, {"layers", model.config.layers}, {"d_vector", head.size(0)}};
  json.update(extra);
  write_json(folder / "reconstructor.json", json);
}

std::vector<int64_t> Reconstructor::ids(const std::string& description, int64_t layer) const {
  std::string text = prompt;
  text.replace(text.find("{layer}"), 7, std::to_string(layer));
  const size_t at = text.find("{description}");
  std::vector<int64_t> front;
  if (tokenizer.bos()) front.push_back(*tokenizer.bos());
  for (const int64_t id : tokenizer.encode_plain(text.substr(0, at) + description)) front.push_back(id);
  const std::vector<int64_t> back = tokenizer.encode_plain(text.substr(at + 13));
  const auto room = static_cast<size_t>(model.config.max_positions);
  if (front.size() + back.size() > room) front.resize(room - std::min(room, back.size()));
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

at::Tensor Reconstructor::pass(const std::vector<std::string>& descriptions, const std::vector<int64_t>& layers,
                               at::ScalarType compute) const {
  std::vector<std::vector<int64_t>> sequences;
  for (size_t i = 0; i < descriptions.size(); ++i) sequences.push_back(ids(descriptions[i], layers[i]));
  const Packed packed = pack(sequences);
  std::vector<int64_t> last;
  for (size_t i = 1; i < packed.starts.size(); ++i) last.push_back(packed.starts[i] - 1);
  ForwardOptions options;
  options.want_logits = false;
  options.compute = compute;
  const at::Tensor residual = forward(model, packed, options).residual;
  return at::linear(residual.index_select(0, at::tensor(last, at::kLong)).to(at::kFloat), head);
}

at::Tensor Reconstructor::reconstruct(const std::vector<std::string>& descriptions,
                                      const std::vector<int64_t>& layers) const {
  c10::NoGradGuard guard;
  if (descriptions.size() != layers.size()) {
    fail("reconstructor", fmt::format("got {} layers for {} descriptions", layers.size(), descriptions.size()));
  }
  std::vector<at::Tensor> parts{at::zeros({0, head.size(0)})};
  for (size_t first = 0, last = 0; first < descriptions.size(); first = last) {
    int64_t size = 0;
    for (; last < descriptions.size(); ++last) {
      size += std::ssize(ids(descriptions[last], layers[last]));
      if (last > first && size > kTokensPerPass) break;
    }
    const auto from = static_cast<int64_t>(first), to = static_cast<int64_t>(last);
    parts.push_back(unit_rows(pass({descriptions.begin() + from, descriptions.begin() + to},
                                   {layers.begin() + from, layers.begin() + to}, at::kFloat)));
  }
  const at::Tensor made = at::cat(parts);
  if (!made.isfinite().all().item<bool>()) fail("reconstructor", "a reconstruction that is not finite");
  return made;
}

FidelityReport measure_fidelity(const Reconstructor& reconstructor, const DescribedVectors& items, uint64_t seed) {
  check_items(items, "to be scored");
  if (items.vectors.size(1) != reconstructor.head.size(0)) {
    fail("reconstructor", fmt::format("vectors of width {}: the reconstructor makes {}", items.vectors.size(1),
                                      reconstructor.head.size(0)));
  }
  FidelityReport report;
  report.items = items.size();
  const at::Tensor truth = unit_rows(items.vectors.to(at::kFloat));
  const at::Tensor made = reconstructor.reconstruct(items.descriptions, items.layers);
  report.cosines = cosines_of(made, truth);
  for (size_t i = 0; i < report.cosines.size(); ++i) {
    if (!blank(items.descriptions[i])) continue;
    report.cosines[i] = 0;
    ++report.empty;
  }
  report.own = fidelity_of(report.cosines);

  const std::vector<int64_t> partner = partners(items, seed);
  std::vector<int64_t> from, to;
  for (int64_t i = 0; i < report.items; ++i) {
    if (partner[static_cast<size_t>(i)] < 0) continue;
    from.push_back(partner[static_cast<size_t>(i)]);
    to.push_back(i);
  }
  report.unshuffled = report.items - std::ssize(to);
  report.shuffled = fidelity_of(
      cosines_of(made.index_select(0, at::tensor(from, at::kLong)), truth.index_select(0, at::tensor(to, at::kLong))));
  std::vector<double> means;  // of layers that training knew
  for (int64_t i = 0; i < report.items; ++i) {
    const auto found = reconstructor.means.find(items.layers[static_cast<size_t>(i)]);
    if (found == reconstructor.means.end()) continue;
    means.push_back((truth[i] * found->second / found->second.norm().clamp_min(1e-12)).sum().item<double>());
  }
  report.mean_vector = fidelity_of(means);
  return report;
}

Json fidelity_to_json(const FidelityReport& report) {
  return {{"items", report.items},
          {"empty", report.empty},
          {"own", fidelity_part(report.own)},
          {"shuffled", fidelity_part(report.shuffled)},
          {"unshuffled", report.unshuffled},
          {"mean_vector", fidelity_part(report.mean_vector)}};
}

Json reconstructor_training_to_json(const ReconstructorTraining& t) {
  return {{"seed", t.seed},     {"batch", t.batch},     {"layers", t.layers},
          {"prompt", t.prompt}, {"compute", t.compute}, {"fine_tuning", fine_tuning_to_json(t.fine_tuning)}};
}

TrainedReconstructor train_reconstructor(const fs::path& base_model, const DescribedVectors& train,
                                         const DescribedVectors& validation, const ReconstructorTraining& training,
                                         std::vector<RunInput> inputs, const fs::path& folder,
                                         const std::function<void(const FineTuningProgress&)>& report) {
  check_fine_tuning(training.fine_tuning);
  check_items(train, "to train on");
  check_items(validation, "to validate on");
  if (training.batch < 1)
    fail_usage("reconstructor", fmt::format("batch: got {}, expected at least 1", training.batch));
  inputs.insert(inputs.begin(), {"base_model", base_model});
  RunRecord record(folder, "reconstructor train", reconstructor_training_to_json(training), inputs);
  TrainedReconstructor result;
  if (record.state() == StepState::complete) {
    const std::string label = (folder / "run.json").string();
    const Json made = record.result("result");
    return {true, json_get<int64_t>(made, "steps", label), json_get<int64_t>(made, "best_step", label),
            json_get<double>(made, "validation", label)};
  }

  const int64_t deepest = *std::max_element(train.layers.begin(), train.layers.end());
  Model base = load_model(base_model);
  const int64_t layers = training.layers > 0 ? training.layers : std::min(deepest + 1, base.config.layers);
  Reconstructor reconstructor(std::move(base), Tokenizer::open(base_model), training.prompt, layers);
  const int64_t width = reconstructor.model.config.d_model, vector_width = train.vectors.size(1);
  reconstructor.head = at::empty({vector_width, width});
  Random random(training.seed, "reconstructor head");
  for (int64_t i = 0; i < reconstructor.head.numel(); ++i) {
    reconstructor.head.data_ptr<float>()[i] =
        static_cast<float>(random.normal() / std::sqrt(static_cast<double>(width)));
  }
  reconstructor.means = layer_means(train);
  const at::Tensor truth = unit_rows(train.vectors.to(at::kFloat));
  const at::Tensor validation_truth = unit_rows(validation.vectors.to(at::kFloat));
  const at::ScalarType compute = choose_compute(training.compute);

  const auto step = [&](int64_t number) {
    Random order(training.seed, fmt::format("step {}", number));
    std::vector<int64_t> rows, of_layer;
    std::vector<std::string> descriptions;
    for (int64_t k = 0; k < training.batch; ++k) {
      rows.push_back(static_cast<int64_t>(order.below(static_cast<uint64_t>(train.size()))));
      descriptions.push_back(train.descriptions[static_cast<size_t>(rows.back())]);
      of_layer.push_back(train.layers[static_cast<size_t>(rows.back())]);
    }
    rows = share_of(rows);
    if (rows.empty()) return 0.0;
    const at::Tensor made = unit_rows(reconstructor.pass(share_of(descriptions), share_of(of_layer), compute));
    const at::Tensor cosine = (made * truth.index_select(0, at::tensor(rows, at::kLong))).sum(1);
    at::Tensor loss = (2 - 2 * cosine).sum() / training.batch;
    loss.backward();
    return loss.item<double>();
  };
  const auto validate = [&] {
    const at::Tensor made = reconstructor.reconstruct(validation.descriptions, validation.layers);
    return fidelity_of(cosines_of(made, validation_truth)).cosine;
  };
  std::vector<Trainable> trainables = model_trainables(reconstructor.model, training.fine_tuning);
  const Model& kept = reconstructor.model;
  std::erase_if(trainables, [&](const Trainable& each) {  // behind the residual stream: they see no gradient
    return each.tensor.is_same(kept.final_norm) ||
           (each.tensor.is_same(kept.head) && !each.tensor.is_same(kept.embedding));
  });
  trainables.push_back({"head", reconstructor.head, UpdateRule::adamw, training.fine_tuning.learning_rate, 0});
  const FineTuned tuned =
      fine_tune(folder, record.state() == StepState::resume, trainables, training.fine_tuning, step, validate, report);
  result.steps = tuned.steps;
  result.best_step = tuned.best_step;
  result.validation = tuned.best_validation;
  if (!first_process()) return result;
  const Json summary{{"steps", tuned.steps},
                     {"best_step", tuned.best_step},
                     {"loss", tuned.loss},
                     {"validation", tuned.best_validation},
                     {"train_descriptions", train.size()},
                     {"validation_descriptions", validation.size()}};
  reconstructor.save(folder, base_model, {{"training", reconstructor_training_to_json(training)}, {"result", summary}});
  record.add("result", summary);
  record.complete();
  fs::remove_all(folder / "checkpoint");
  return result;
}

}  // namespace introspect
