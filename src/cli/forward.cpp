// introspect forward: one pass over one text, with what is to be captured and changed on the way.
#include "model/forward.h"

#include "base/error.h"
#include "base/safetensors.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "text/tokenizer.h"

#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <set>

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

namespace introspect {

namespace {

struct ForwardArguments {
  ModelOptions model;
  std::vector<int64_t> tokens;
  std::string text, out;
  std::vector<std::string> capture, replace, embed, add, scale;
};

// "PLACE@POS[,POS...]=REST"
struct Change {
  Place place;
  std::vector<int64_t> positions;
  std::string rest;
};

Change parse_change(const std::string& option, const std::string& text, const std::string& place, int64_t length) {
  const size_t at = text.find('@'), equals = text.find('=', at == std::string::npos ? 0 : at);
  if (at == std::string::npos || equals == std::string::npos || equals + 1 == text.size()) {
    fail_usage("forward", fmt::format("{}: got '{}', expected {}@POS=...", option, text, place.empty() ? "PLACE" : ""));
  }
  if (!place.empty() && at > 0) fail_usage("forward", fmt::format("{}: got '{}', expected @POS=...", option, text));
  Change change;
  change.place = parse_place(place.empty() ? text.substr(0, at) : place);
  change.rest = text.substr(equals + 1);
  const char* next = text.data() + at + 1;
  const char* end = text.data() + equals;
  while (true) {
    int64_t position = 0;
    const auto [stop, error] = std::from_chars(next, end, position);
    if (error != std::errc() || (stop != end && *stop != ',')) {
      fail_usage("forward", fmt::format("{}: got positions '{}', expected numbers, negative ones from the end", option,
                                        std::string(text.data() + at + 1, end)));
    }
    if (position < -length || position >= length) {
      fail_usage("forward", fmt::format("{}: position {}, the input has {} tokens", option, position, length));
    }
    change.positions.push_back(position < 0 ? position + length : position);
    if (stop == end) break;
    next = stop + 1;
  }
  return change;
}

// "FILE:TENSOR" or "FILE:TENSOR[ROW]"; each file is opened once.
at::Tensor read_value(const std::string& option, const std::string& text, std::map<std::string, Safetensors>& files) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) {
    fail_usage("forward", fmt::format("{}: got '{}', expected FILE:TENSOR or FILE:TENSOR[ROW]", option, text));
  }
  const std::string path = text.substr(0, colon), whole = text.substr(colon + 1);
  auto found = files.find(path);
  if (found == files.end()) found = files.emplace(path, Safetensors(path)).first;
  const Safetensors& file = found->second;
  const size_t bracket = whole.rfind('[');
  if (file.contains(whole) || bracket == std::string::npos || whole.back() != ']') {
    return file.get(whole).to(at::kFloat);
  }
  const at::Tensor table = file.get(whole.substr(0, bracket));
  const int64_t rows = table.dim() > 0 ? table.size(0) : 0;
  int64_t row = 0;
  const char* end = whole.data() + whole.size() - 1;
  const auto [stop, error] = std::from_chars(whole.data() + bracket + 1, end, row);
  if (error != std::errc() || stop != end || row < -rows || row >= rows) {
    fail_usage("forward",
               fmt::format("{}: row {}, '{}' has {}", option, whole.substr(bracket), whole.substr(0, bracket), rows));
  }
  return table[row < 0 ? row + rows : row].to(at::kFloat);
}

// Changes first, captures last: what is captured is what the pass went on with.
Taps taps_of(const ForwardArguments& given, int64_t length) {
  Taps taps;
  std::map<std::string, Safetensors> files;
  const auto rows = [](const Change& change) { return at::tensor(change.positions, at::kLong); };
  for (const std::string& text : given.replace) {
    const Change change = parse_change("--replace", text, "", length);
    taps.push_back(Tap::replace(change.place, rows(change), read_value("--replace", change.rest, files)));
  }
  for (const std::string& text : given.embed) {
    const Change change = parse_change("--embed", text, "hook_embed", length);
    taps.push_back(Tap::replace(change.place, rows(change), read_value("--embed", change.rest, files)));
  }
  for (const std::string& text : given.add) {
    const Change change = parse_change("--add", text, "", length);
    taps.push_back(Tap::add(change.place, rows(change), read_value("--add", change.rest, files)));
  }
  for (const std::string& text : given.scale) {
    const Change change = parse_change("--scale", text, "", length);
    double factor = 0;
    const char* end = change.rest.data() + change.rest.size();
    const auto [stop, error] = std::from_chars(change.rest.data(), end, factor);
    if (error != std::errc() || stop != end) {
      fail_usage("forward", fmt::format("--scale: got '{}', expected a number", change.rest));
    }
    taps.push_back(Tap::scale(change.place, rows(change), factor));
  }
  std::set<std::string> seen;
  for (const std::string& name : given.capture) {
    if (!seen.insert(name).second) fail_usage("forward", fmt::format("--capture: '{}' twice", name));
    taps.push_back(Tap::capture(parse_place(name)));
  }
  return taps;
}

std::vector<int64_t> tokens_of(const ForwardArguments& given) {
  if (!given.tokens.empty()) return given.tokens;
  std::vector<int64_t> tokens = Tokenizer::open(given.model.folder).encode(given.text);
  if (tokens.empty()) fail_usage("forward", "--text: got no tokens, expected at least one");
  return tokens;
}

void run(const ForwardArguments& given) {
  c10::NoGradGuard no_gradients;
  const std::vector<int64_t> tokens = tokens_of(given);
  Taps taps = taps_of(given, std::ssize(tokens));
  const Model model = open_model(given.model);
  ForwardOptions options;
  if (!taps.empty()) options.taps = &taps;
  const at::Tensor logits = forward(model, pack({tokens}), options).logits;

  std::vector<std::pair<std::string, at::Tensor>> tensors{{"logits", logits.to(at::kFloat)}};
  for (const Tap& tap : taps) {
    if (tap.action == Tap::Action::capture) tensors.emplace_back(place_name(tap.place), tap.captured.to(at::kFloat));
  }
  write_safetensors(
      given.out, tensors,
      {{"format", "pt"}, {"model", given.model.folder}, {"tokens", fmt::format("{}", fmt::join(tokens, ","))}});
  for (const auto& [name, tensor] : tensors) {
    std::printf("%s [%lld, %lld]\n", name.c_str(), static_cast<long long>(tensor.size(0)),
                static_cast<long long>(tensor.size(1)));
  }
  const at::Tensor broken = logits.isfinite().all(1).logical_not().nonzero();
  if (broken.numel() > 0) {
    fail("forward",
         fmt::format("the logits are not finite at {} of {} positions, first at {} (written to {} all the same)",
                     broken.size(0), logits.size(0), broken[0].item<int64_t>(), given.out),
         "the weights or a vector given hold NaN or infinity; capture the layers to see where it begins");
  }
}

}  // namespace

void add_forward_command(CLI::App& app) {
  auto given = std::make_shared<ForwardArguments>();
  CLI::App* command = app.add_subcommand("forward", "Run a model once; capture and change activations on the way");
  add_model_options(*command, given->model);
  auto* input = command->add_option_group("input", "what to run");
  input->add_option("--tokens", given->tokens, "token ids: 1,2,3")->delimiter(',')->expected(1, 1 << 20);
  input->add_option("--text", given->text, "text for the model's tokenizer, special tokens added");
  input->require_option(1);
  const auto list = [&](const char* name, std::vector<std::string>& values, const char* help) {
    command->add_option(name, values, help)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  list("--capture", given->capture, "PLACE to write to --out, such as blocks.3.hook_resid_post (repeatable)");
  list("--replace", given->replace,
       "PLACE@POS[,POS...]=FILE:TENSOR[ROW] puts the tensor, or a row of it, there (repeatable)");
  list("--embed", given->embed, "@POS=FILE:TENSOR: a continuous token, the same as --replace hook_embed@POS=...");
  list("--add", given->add, "PLACE@POS=FILE:TENSOR adds the tensor there");
  list("--scale", given->scale, "PLACE@POS=NUMBER multiplies what is there");
  command->add_option("--out", given->out, "safetensors file: logits [time, vocab] and what was captured, float32")
      ->required();
  command->footer(
      "Positions count from 0, negative ones from the end. A tensor is [d_model], or a row a position.\n"
      "Order: replace, embed, add, scale, then capture. docs/TAPS.md lists the places.\n\n"
      "Example: what block 2 writes at the last token of one text, put in at the last token of another\n"
      "  introspect forward models/tiny-llama --text \"The capital of France is\" \\\n"
      "    --capture blocks.2.hook_resid_post --out france.safetensors\n"
      "  introspect forward models/tiny-llama --text \"The capital of Italy is\" \\\n"
      "    --replace 'blocks.2.hook_resid_post@-1=france.safetensors:blocks.2.hook_resid_post[-1]' \\\n"
      "    --out patched.safetensors");
  command->callback([given] { run(*given); });
}

}  // namespace introspect
