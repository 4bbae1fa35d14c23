#include "explainer/batch.h"

#include "model/kernels.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace introspect {

ExplainerBatch make_batch(const Explainer&, const std::vector<Question>& questions, const at::Tensor& vectors,
                          const std::vector<Document>& replay, const World& shared_by) {
  const auto mine = [&](size_t i) {
    return i % static_cast<size_t>(shared_by.size) == static_cast<size_t>(shared_by.rank);
  };
  ExplainerBatch batch;
  for (const Question& question : questions) batch.answer_tokens += std::ssize(question.answer);
  double replay_sum = 0;
  for (const Document& document : replay) {
    for (float weight : document.weights) replay_sum += weight;
  }

  std::vector<Document> documents;
  std::vector<int64_t> slot_rows, sources;
  int64_t start = 0;
  for (size_t i = 0; i < questions.size(); ++i) {
    if (!mine(i)) continue;
    const Question& question = questions[i];
    batch.answer_rows += std::ssize(question.answer);
    Document document;
    document.tokens = question.tokens;
    document.tokens.insert(document.tokens.end(), question.answer.begin(), question.answer.end());
    document.weights.assign(question.tokens.size(), 0.0f);
    document.weights.resize(document.tokens.size(), 1.0f / static_cast<float>(batch.answer_tokens));
    for (int64_t slot : question.slots) {
      slot_rows.push_back(start + slot);
      sources.push_back(static_cast<int64_t>(i));
      batch.slot_layers.push_back(question.layer);
      batch.slot_tasks.push_back(question.task);
    }
    start += std::ssize(document.tokens);
    documents.push_back(std::move(document));
  }
  for (size_t i = 0; i < replay.size(); ++i) {
    if (!mine(i)) continue;
    Document document = replay[i];
    for (float& weight : document.weights) weight /= static_cast<float>(replay_sum);
    documents.push_back(std::move(document));
  }
  batch.packed = pack_targets(documents);
  batch.slot_rows = at::tensor(slot_rows, at::kLong);
  if (!sources.empty()) batch.slot_vectors = vectors.index_select(0, at::tensor(sources, at::kLong));
  return batch;
}

namespace {

// The vectors of each task go in as that task wants it.
Taps injection_taps(const Explainer& explainer, const ExplainerBatch& batch) {
  Taps taps;
  for (size_t task = 0; task < explainer.tasks(); ++task) {
    std::vector<int64_t> which, layers;
    for (size_t i = 0; i < batch.slot_tasks.size(); ++i) {
      if (batch.slot_tasks[i] != task) continue;
      which.push_back(static_cast<int64_t>(i));
      layers.push_back(batch.slot_layers[i]);
    }
    if (which.empty()) continue;
    const InjectionConfig& injection = explainer.config_of(task).injection;
    const at::Tensor of_task = at::tensor(which, at::kLong);
    const at::Tensor slots = batch.slot_rows.index_select(0, of_task);
    const at::Tensor rows = inject(injection, explainer.projections, batch.slot_vectors.index_select(0, of_task),
                                   layers, explainer.model.config.d_model, explainer.embedding_norm);
    taps.push_back(injection.layer < 0 ? Tap::replace({PlaceKind::embed, -1}, slots, rows)
                                       : Tap::add({PlaceKind::resid_post, injection.layer}, slots, rows));
  }
  return taps;
}

}  // namespace

BatchLoss batch_loss(const Explainer& explainer, const ExplainerBatch& batch, ForwardOptions options) {
  Taps taps = injection_taps(explainer, batch);
  if (!taps.empty()) options.taps = &taps;
  options.logits_at = batch.packed.rows;
  const at::Tensor logits = forward(explainer.model, batch.packed.input, options).logits;
  const auto part = [&](int64_t first, int64_t last) {
    return weighted_cross_entropy(logits.slice(0, first, last), batch.packed.targets.slice(0, first, last),
                                  batch.packed.weights.slice(0, first, last));
  };
  BatchLoss loss;
  loss.total = part(0, batch.answer_rows);
  loss.answers = loss.total.item<double>();
  if (batch.answer_rows < logits.size(0)) loss.total = loss.total + part(batch.answer_rows, logits.size(0));
  return loss;
}

}  // namespace introspect
