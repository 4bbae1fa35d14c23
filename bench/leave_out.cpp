// How fast leave-one-out over the sentences of a prompt is: the common beginning computed once and all that is left in
// one pass, against full re-runs in the same passes, and against full re-runs one at a time.
//   bench_leave_out [--model FOLDER] [--facts FOLDER] [--prompts N] [--sentences N] [--threads N]
#include "procedure/leave_out.h"

#include "base/random.h"
#include "common.h"
#include "model/model.h"
#include "procedure/render.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include <fmt/format.h>

namespace introspect {
namespace {

// Statements of facts, one behind the other, and a question at the end.
std::vector<LeaveOutPrompt> fact_prompts(const std::string& facts, int64_t count, int64_t sentences) {
  std::vector<std::string> statements = all_statements(read_facts(facts));
  Random(1, "bench").shuffle(statements);
  std::vector<LeaveOutPrompt> prompts;
  for (int64_t p = 0; p < count; ++p) {
    std::string text;
    for (int64_t s = 0; s < sentences; ++s) {
      text += (s ? " " : "") + statements.at(static_cast<size_t>(p * sentences + s) % statements.size());
    }
    LeaveOutPrompt prompt{text + " The capital of France is", {}, {}};
    prompt.spans = sentence_spans(prompt.text);
    prompt.spans.pop_back();  // the question stays
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

int64_t differing(const std::vector<LeaveOutResult>& a, const std::vector<LeaveOutResult>& b) {
  int64_t count = 0;
  for (size_t p = 0; p < a.size(); ++p) {
    for (size_t s = 0; s < a[p].without.size(); ++s) count += a[p].without[s].token != b[p].without[s].token;
  }
  return count;
}

int run(int argc, char** argv) {
  std::string folder = INTROSPECT_SOURCE_DIR "/models/tiny-llama", facts = INTROSPECT_SOURCE_DIR "/facts";
  int64_t count = 32, sentences = 10;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--model") folder = argv[i + 1];
    if (option == "--facts") facts = argv[i + 1];
    if (option == "--prompts") count = std::atoll(argv[i + 1]);
    if (option == "--sentences") sentences = std::atoll(argv[i + 1]);
    if (option == "--threads") at::set_num_threads(std::atoi(argv[i + 1]));
  }
  const Model model = load_model(folder);
  const Tokenizer tokenizer = Tokenizer::open(folder);
  const std::vector<LeaveOutPrompt> prompts = fact_prompts(facts, count, sentences);
  double tokens = 0, spans = 0;
  for (const LeaveOutPrompt& prompt : prompts) {
    tokens += static_cast<double>(tokenizer.encode(prompt.text).size());
    spans += static_cast<double>(prompt.spans.size());
  }
  fmt::print("{} prompts of {:.1f} tokens and {:.1f} sentences, {} threads\n", prompts.size(),
             tokens / static_cast<double>(prompts.size()), spans / static_cast<double>(prompts.size()),
             at::get_num_threads());

  LeaveOutSettings shared, full, single;
  full.share_prefix = false;
  single.share_prefix = false;
  // Rounds are interleaved, so that a busy machine slows all.
  double best_shared = 1e30, best_full = 1e30, best_single = 1e30;
  int64_t differ = 0;
  for (int round = 0; round < 3; ++round) {
    double start = now();
    const auto ours = leave_out(model, tokenizer, prompts, shared);
    best_shared = std::min(best_shared, now() - start);
    start = now();
    const auto batched = leave_out(model, tokenizer, prompts, full);
    best_full = std::min(best_full, now() - start);
    differ = differing(ours, batched);
    if (round > 0) continue;  // the slowest once
    start = now();
    for (const LeaveOutPrompt& prompt : prompts) {
      leave_out(model, tokenizer, {{prompt.text, {}, {}}}, single);
      for (const TextRange& span : prompt.spans) {
        leave_out(model, tokenizer, {{without_span(prompt.text, span), {}, {}}}, single);
      }
    }
    best_single = now() - start;
  }
  fmt::print("answers that differ: {}\n", differ);
  fmt::print("shared beginning   {:8.1f} ablations/s\n", spans / best_shared);
  fmt::print("full, same passes  {:8.1f} ablations/s   {:.2f} times slower\n", spans / best_full,
             best_full / best_shared);
  fmt::print("full, one by one   {:8.1f} ablations/s   {:.2f} times slower\n", spans / best_single,
             best_single / best_shared);
  return 0;
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  return introspect::reporting_errors(introspect::run, argc, argv);
}
