#include "sae/states.h"

#include "base/error.h"
#include "model/forward.h"
#include "train/loss.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace introspect {

std::vector<int64_t> special_tokens(const Tokenizer& tokenizer) {
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.is_special(id)) ids.push_back(id);
  }
  return ids;
}

std::vector<at::Tensor> states_of(const Model& model, const std::vector<Document>& documents,
                                  const StateSettings& settings, const StatesProgress& ran) {
  c10::NoGradGuard guard;
  int64_t tokens = 0, tokens_run = 0;
  for (const Document& document : documents) tokens += std::ssize(document.tokens);
  const std::set<int64_t> special(settings.special.begin(), settings.special.end());
  int64_t last_layer = 0;
  for (const Place& place : settings.places) last_layer = std::max(last_layer, place.layer + 1);
  std::vector<std::vector<at::Tensor>> parts(settings.places.size());
  for (const std::vector<Document>& group : group_by_tokens(documents, settings.pass_tokens)) {
    std::vector<std::vector<int64_t>> sequences;
    std::vector<int64_t> rows;
    int64_t start = 0;
    for (const Document& document : group) {
      for (int64_t i = 1; i < std::ssize(document.tokens); ++i) {
        if (!special.contains(document.tokens[i])) rows.push_back(start + i);
      }
      start += std::ssize(document.tokens);
      sequences.push_back(document.tokens);
    }
    tokens_run += start;
    if (rows.empty()) continue;
    const at::Tensor wanted = at::tensor(rows, at::kLong);
    Taps taps;
    for (const Place& place : settings.places) taps.push_back(Tap::capture(place, wanted));
    ForwardOptions options;
    options.taps = &taps;
    options.last_layer = last_layer;
    options.want_logits = false;
    options.compute = settings.compute;
    forward(model, pack(sequences), options);
    for (size_t i = 0; i < taps.size(); ++i) parts[i].push_back(taps[i].captured.to(at::kCPU, at::kFloat));
    if (ran) ran(tokens_run, tokens);
  }
  if (parts.empty() || parts.front().empty()) {
    fail("sae", fmt::format("{} documents have no position to take states from", documents.size()),
         "special tokens and the first position of a document do not count");
  }
  std::vector<at::Tensor> states;
  for (std::vector<at::Tensor>& part : parts) {
    states.push_back(at::cat(part));
    part.clear();
  }
  return states;
}

StateStream::StateStream(const Model& model, Mixture& mixture, const StateSettings& settings, int64_t block,
                         uint64_t seed, StatesProgress ran)
    : model_(model),
      mixture_(mixture),
      settings_(settings),
      block_tokens_(block),
      ran_(std::move(ran)),
      random_(seed, "order of residual states") {}

void StateStream::make_block() {
  began_ = {{"mixture", mixture_.state()}, {"random", random_.state()}, {"tokens", tokens_}, {"left_out", left_out_}};
  used_ = 0;  // from here on state() says where this block begins
  const std::vector<Document> documents = mixture_.next(block_tokens_);
  int64_t tokens = 0;
  for (const Document& document : documents) tokens += std::ssize(document.tokens);
  block_ = states_of(model_, documents, settings_, ran_);
  std::vector<int64_t> order(block_.front().size(0));
  std::iota(order.begin(), order.end(), 0);
  random_.shuffle(order);
  const at::Tensor rows = at::tensor(order, at::kLong);
  for (at::Tensor& states : block_) states = states.index_select(0, rows);
  tokens_ += tokens;
  left_out_ += tokens - std::ssize(order);
}

const std::vector<at::Tensor>& StateStream::block() {
  if (block_.empty()) make_block();
  return block_;
}

std::vector<at::Tensor> StateStream::next(int64_t count) {
  while (block().front().size(0) - used_ < count) {
    if (used_ == 0) {
      fail_usage("sae",
                 fmt::format("a block of {} tokens has {} positions, a batch {}", block_tokens_, block_.front().size(0),
                             count),
                 "raise training.block_tokens or lower training.batch");
    }
    left_out_ += block_.front().size(0) - used_;
    make_block();
  }
  std::vector<at::Tensor> batch;
  for (const at::Tensor& states : block_) batch.push_back(states.narrow(0, used_, count));
  used_ += count;
  return batch;
}

Json StateStream::state() const {
  Json state = began_;
  state["used"] = used_;
  return state;
}

void StateStream::restore(const Json& state) {
  mixture_.restore(state.at("mixture"));
  random_.restore(json_get<std::string>(state, "random", "checkpoint"));
  tokens_ = json_get<int64_t>(state, "tokens", "checkpoint");
  left_out_ = json_get<int64_t>(state, "left_out", "checkpoint");
  make_block();
  used_ = json_get<int64_t>(state, "used", "checkpoint");
}

}  // namespace introspect
