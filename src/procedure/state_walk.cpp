#include "procedure/state_walk.h"

#include "model/recurrence.h"

#include <map>

namespace introspect {

namespace {

// Texts from `done` to `ends`, and the states there.
void go_on(const Model& model, const std::vector<std::vector<int64_t>>& texts, std::vector<int64_t>& done,
           const std::vector<int64_t>& ends, at::ScalarType compute, States& states) {
  if (done == ends) return;
  std::vector<std::vector<int64_t>> pieces;
  for (size_t i = 0; i < texts.size(); ++i) pieces.emplace_back(texts[i].begin() + done[i], texts[i].begin() + ends[i]);
  ForwardOptions options;
  options.states = &states;
  options.keep_states = true;
  options.want_logits = false;
  options.compute = compute;
  states = forward(model, pack(pieces, done), options).states;
  done = ends;
}

}  // namespace

void walk_states(const Model& model, const std::vector<std::vector<int64_t>>& texts,
                 const std::vector<std::vector<int64_t>>& stops, at::ScalarType compute,
                 const std::function<void(const States& states, const std::vector<StateStop>& at)>& visit) {
  std::vector<std::map<int64_t, std::vector<size_t>>> ahead(texts.size());  // a text's stops by position
  for (size_t i = 0; i < texts.size(); ++i) {
    for (size_t k = 0; k < stops[i].size(); ++k) ahead[i][stops[i][k]].push_back(k);
  }
  States states = first_states(model, std::ssize(texts));
  std::vector<int64_t> done(texts.size(), 0);
  while (true) {
    std::vector<int64_t> ends = done;
    std::vector<StateStop> at;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (ahead[i].empty()) continue;
      const auto next = ahead[i].begin();
      ends[i] = next->first;
      for (const size_t index : next->second) at.push_back({i, index});
      ahead[i].erase(next);
    }
    if (at.empty()) return;
    go_on(model, texts, done, ends, compute, states);
    visit(states, at);
  }
}

}  // namespace introspect
