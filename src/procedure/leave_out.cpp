#include "procedure/leave_out.h"

#include "base/error.h"
#include "model/forward.h"
#include "procedure/clean_runs.h"
#include "procedure/state_walk.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

namespace introspect {

namespace {

// A prompt's runs as tokens: the whole text, and what stands behind the common beginning in each ablated one.
struct Runs {
  std::vector<int64_t> whole;
  std::vector<std::vector<int64_t>> rest;  // at least one token each
  std::vector<int64_t> common;             // how many tokens of `whole` stand in front of it
};

Runs make_runs(const Model& model, const Tokenizer& tokenizer, const LeaveOutPrompt& prompt,
               const LeaveOutSettings& settings) {
  Runs runs;
  runs.whole = tokenizer.encode(prompt.text, settings.add_special);
  const auto check = [&](const std::vector<int64_t>& tokens) {
    if (tokens.empty()) fail("ablation", fmt::format("nothing is left of \"{}\"", prompt.text));
    if (std::ssize(tokens) > model.config.max_positions) {
      fail("ablation", fmt::format("a prompt of {} tokens, the model has {} positions (\"{}...\")", tokens.size(),
                                   model.config.max_positions, prompt.text.substr(0, 60)));
    }
  };
  check(runs.whole);
  for (const TextRange& span : prompt.spans) {
    if (span.begin > span.end || span.end > prompt.text.size()) {
      fail("ablation", fmt::format("span [{}, {}) of a text of {} bytes (\"{}...\")", span.begin, span.end,
                                   prompt.text.size(), prompt.text.substr(0, 60)));
    }
    const std::vector<int64_t> tokens = tokenizer.encode(without_span(prompt.text, span), settings.add_special);
    check(tokens);
    int64_t common = 0;
    if (settings.share_prefix) {
      const int64_t most = std::min(std::ssize(tokens) - 1, std::ssize(runs.whole));
      while (common < most && tokens[common] == runs.whole[common]) ++common;
    }
    runs.common.push_back(common);
    runs.rest.emplace_back(tokens.begin() + common, tokens.end());
  }
  return runs;
}

std::vector<int64_t> last_rows(const Packed& packed) {
  std::vector<int64_t> rows;
  for (int64_t s = 0; s < packed.sequences(); ++s) rows.push_back(packed.starts[s + 1] - 1);
  return rows;
}

LeaveOutAnswer read_answer(const at::Tensor& logits, int64_t likeliest, const std::vector<int64_t>& valid) {
  LeaveOutAnswer answer;
  answer.likeliest = answer.token = likeliest;
  const float* row = logits.data_ptr<float>();
  if (!valid.empty()) {
    answer.choice = 0;
    for (size_t i = 1; i < valid.size(); ++i) {
      if (row[valid[i]] > row[valid[static_cast<size_t>(answer.choice)]]) answer.choice = static_cast<int64_t>(i);
    }
    answer.token = valid[static_cast<size_t>(answer.choice)];
  }
  answer.probability = at::softmax(logits, 0)[answer.token].item<double>();
  return answer;
}

std::vector<std::vector<int64_t>> texts_of(const std::vector<Runs>& group) {
  std::vector<std::vector<int64_t>> texts;
  for (const Runs& runs : group) texts.push_back(runs.whole);
  return texts;
}

// The logits [V] behind what is left of each ablated text of a group, span by span.
using RestLogits = std::vector<std::vector<at::Tensor>>;

// All of them in one pass, with the keys and values of the whole texts in front.
RestLogits run_behind_prefixes(const Model& model, const std::vector<Runs>& group, const Packed& front,
                               const KeyValues& cache, const LeaveOutSettings& settings) {
  std::vector<std::vector<int64_t>> rest;
  std::vector<int64_t> positions;
  Prefix prefix{&cache, {}, {}};
  for (size_t p = 0; p < group.size(); ++p) {
    for (size_t s = 0; s < group[p].rest.size(); ++s) {
      rest.push_back(group[p].rest[s]);
      positions.push_back(group[p].common[s]);
      prefix.begin.push_back(front.starts[p]);
      prefix.length.push_back(group[p].common[s]);
    }
  }
  RestLogits made(group.size());
  if (rest.empty()) return made;
  const Packed back = pack(rest, positions);
  ForwardOptions options;
  options.compute = settings.compute;
  options.prefix = &prefix;
  options.logits_at = index_tensor(last_rows(back), model.embedding.device());
  const at::Tensor logits = forward(model, back, options).logits;
  int64_t row = 0;
  for (size_t p = 0; p < group.size(); ++p) {
    for (size_t s = 0; s < group[p].rest.size(); ++s) made[p].push_back(logits[row++]);
  }
  return made;
}

// Recurrent models: the same from the states behind the common beginnings.
RestLogits run_from_states(const Model& model, const std::vector<Runs>& group, const LeaveOutSettings& settings) {
  RestLogits made(group.size());
  std::vector<std::vector<int64_t>> stops;
  for (size_t p = 0; p < group.size(); ++p) {
    made[p].resize(group[p].rest.size());
    stops.push_back(group[p].common);
  }
  walk_states(model, texts_of(group), stops, settings.compute,
              [&](const States& states, const std::vector<StateStop>& at) {
                std::vector<std::vector<int64_t>> rest;
                std::vector<int64_t> of_text, positions;
                for (const StateStop& stop : at) {
                  rest.push_back(group[stop.text].rest[stop.index]);
                  positions.push_back(group[stop.text].common[stop.index]);
                  of_text.push_back(static_cast<int64_t>(stop.text));
                }
                const States from = select_rows(states, index_tensor(of_text, at::kCPU));
                const Packed back = pack(rest, positions);
                ForwardOptions options;
                options.compute = settings.compute;
                options.states = &from;
                options.logits_at = index_tensor(last_rows(back), model.embedding.device());
                const at::Tensor logits = forward(model, back, options).logits;
                for (size_t i = 0; i < at.size(); ++i) {
                  made[at[i].text][at[i].index] = logits[static_cast<int64_t>(i)];
                }
              });
  return made;
}

// One group of prompts: a pass over the whole texts, then over what is left of the ablated ones.
void run_group(const Model& model, const std::vector<LeaveOutPrompt>& prompts, size_t first,
               const std::vector<Runs>& group, const LeaveOutSettings& settings, std::vector<LeaveOutResult>& results) {
  const bool recurrent = model.config.recurrent();
  const Packed front = pack(texts_of(group));
  ForwardOptions options;
  options.compute = settings.compute;
  options.keep_cache = !recurrent;
  options.logits_at = index_tensor(last_rows(front), model.embedding.device());
  const ForwardResult clean = forward(model, front, options);
  const RestLogits rest = recurrent ? run_from_states(model, group, settings)
                                    : run_behind_prefixes(model, group, front, clean.cache, settings);
  std::vector<at::Tensor> rows;
  for (size_t p = 0; p < group.size(); ++p) {
    rows.push_back(clean.logits[static_cast<int64_t>(p)]);
    rows.insert(rows.end(), rest[p].begin(), rest[p].end());
  }
  const at::Tensor stacked = at::stack(rows);
  const std::vector<int64_t> best = argmax_rows(stacked);
  const at::Tensor logits = stacked.to(at::kCPU, at::kFloat).contiguous();
  int64_t row = 0;
  const auto next = [&](const std::vector<int64_t>& valid) {
    const int64_t at = row++;
    return read_answer(logits[at], best[static_cast<size_t>(at)], valid);
  };
  for (size_t p = 0; p < group.size(); ++p) {
    const std::vector<int64_t>& valid = prompts[first + p].valid;
    LeaveOutResult& result = results[first + p];
    result.whole = next(valid);
    for (size_t s = 0; s < group[p].rest.size(); ++s) result.without.push_back(next(valid));
  }
}

bool blank(char letter) {
  return letter == ' ' || letter == '\n' || letter == '\t' || letter == '\r';
}

// Cuts behind every blank that follows an end, as `ends` says of the letter in front of the blanks.
template <class Ends>
std::vector<TextRange> spans_of(const std::string& text, Ends&& ends) {
  std::vector<TextRange> spans;
  size_t begin = 0;
  while (begin < text.size() && blank(text[begin])) ++begin;
  for (size_t i = begin; i < text.size();) {
    if (!blank(text[i])) {
      ++i;
      continue;
    }
    const size_t end = i;
    while (i < text.size() && blank(text[i])) ++i;
    if (i == text.size() || !ends(end, i)) continue;
    spans.push_back({begin, i});
    begin = i;
  }
  size_t last = text.size();
  while (last > begin && blank(text[last - 1])) --last;
  if (last > begin) {
    size_t front = begin;
    while (front > 0 && blank(text[front - 1])) --front;
    spans.push_back({front, last});
  }
  return spans;
}

}  // namespace

std::string without_span(const std::string& text, const TextRange& span) {
  return text.substr(0, span.begin) + text.substr(span.end);
}

std::vector<TextRange> sentence_spans(const std::string& text) {
  return spans_of(text, [&](size_t end, size_t next) {
    const char last = text[end - 1];
    return last == '.' || last == '!' || last == '?' ||
           std::find(text.begin() + static_cast<std::ptrdiff_t>(end), text.begin() + static_cast<std::ptrdiff_t>(next),
                     '\n') != text.begin() + static_cast<std::ptrdiff_t>(next);
  });
}

std::vector<TextRange> word_spans(const std::string& text) {
  return spans_of(text, [](size_t, size_t) { return true; });
}

std::vector<LeaveOutResult> leave_out(const Model& model, const Tokenizer& tokenizer,
                                      const std::vector<LeaveOutPrompt>& prompts, const LeaveOutSettings& settings) {
  c10::NoGradGuard guard;
  std::vector<LeaveOutResult> results(prompts.size());
  std::vector<Runs> group;
  size_t first = 0;
  int64_t tokens = 0;
  for (size_t p = 0; p < prompts.size(); ++p) {
    group.push_back(make_runs(model, tokenizer, prompts[p], settings));
    tokens += std::ssize(group.back().whole);
    for (const std::vector<int64_t>& rest : group.back().rest) tokens += std::ssize(rest);
    if (tokens < settings.tokens_per_pass && p + 1 < prompts.size()) continue;
    run_group(model, prompts, first, group, settings, results);
    group.clear();
    first = p + 1;
    tokens = 0;
  }
  return results;
}

}  // namespace introspect
