#include "feature/language_simulator.h"

#include "base/error.h"
#include "model/forward.h"
#include "model/kernels.h"
#include "text/copy_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

const std::string kSlot = "{description}";

void check_layout(const SimulatorLayout& layout, const std::string& label) {
  const size_t at = layout.prompt.find(kSlot);
  if (at == std::string::npos || layout.prompt.find(kSlot, at + 1) != std::string::npos) {
    fail("simulator", fmt::format("prompt: got \"{}\", expected {} in it once ({})", layout.prompt, kSlot, label));
  }
  const std::set<int64_t> different(layout.class_tokens.begin(), layout.class_tokens.end());
  if (std::ssize(layout.class_tokens) != kSimulatorClasses || std::ssize(different) != kSimulatorClasses) {
    fail("simulator", fmt::format("class_tokens: got {} ids, {} of them different, expected {} ({})",
                                  layout.class_tokens.size(), different.size(), kSimulatorClasses, label));
  }
}

void check_ids(const SimulatorLayout& layout, int64_t vocabulary) {
  const auto check = [&](const char* what, int64_t id) {
    if (id < 0 || id >= vocabulary) {
      fail("simulator", fmt::format("{} {}: the model has a vocabulary of {}", what, id, vocabulary),
           "simulator.json belongs to another model, or the checkpoint is none of a simulator");
    }
  };
  for (const int64_t id : layout.class_tokens) check("class token", id);
  for (const auto& [from, to] : layout.remapped_tokens) check("remapped token", to);
}

// Every id of `target` means the same to `simulator`.
bool same_vocabulary(const Tokenizer& target, const Tokenizer& simulator) {
  if (target.vocab_size() > simulator.vocab_size()) return false;
  for (int64_t id = 0; id < target.vocab_size(); ++id) {
    if (target.token(id) != simulator.token(id)) return false;
  }
  return true;
}

// Ids of a row of [C, T], without what lies behind the end.
std::vector<std::vector<int64_t>> rows_of(const at::Tensor& tokens) {
  const at::Tensor all = tokens.to(at::kCPU, at::kLong).contiguous();
  const int64_t* id = all.data_ptr<int64_t>();
  std::vector<std::vector<int64_t>> rows(static_cast<size_t>(all.size(0)));
  for (std::vector<int64_t>& row : rows) {
    const int64_t* end = id + all.size(1);
    const int64_t* stop = std::find_if(id, end, [](int64_t each) { return each < 0; });
    if (std::any_of(stop, end, [](int64_t each) { return each >= 0; })) {
      fail("simulator", "a token behind the end of a piece (-1 may only be followed by -1)");
    }
    row.assign(id, stop);
    id = end;
  }
  return rows;
}

// A token of the simulator may reach over a special one of the target, which has no text and so no activation.
void set_special_to_zero(at::Tensor& values, const at::Tensor& tokens, const Tokenizer& target) {
  const at::Tensor all = tokens.to(at::kCPU, at::kLong).contiguous();
  const int64_t* id = all.data_ptr<int64_t>();
  for (int64_t i = 0; i < all.numel(); ++i) {
    if (id[i] >= 0 && target.is_special(id[i])) values.data_ptr<float>()[i] = 0;
  }
}

}  // namespace

SimulatorLayout published_simulator_layout() {
  SimulatorLayout layout;
  layout.remapped_tokens = {{128000, 128257}, {128006, 128258}, {128007, 128259}, {128009, 128260}};
  return layout;
}

Json layout_to_json(const SimulatorLayout& layout) {
  Json remapped = Json::object();
  for (const auto& [from, to] : layout.remapped_tokens) remapped[std::to_string(from)] = to;
  return {{"prompt", layout.prompt},
          {"class_tokens", layout.class_tokens},
          {"remapped_tokens", remapped},
          {"add_bos", layout.add_bos}};
}

SimulatorLayout parse_simulator_layout(const Json& json, const std::string& label) {
  if (!json.is_object()) fail("simulator", fmt::format("got {}, expected an object ({})", json.type_name(), label));
  SimulatorLayout layout;
  layout.prompt = json_get<std::string>(json, "prompt", label);
  layout.class_tokens = json_get<std::vector<int64_t>>(json, "class_tokens", label);
  layout.add_bos = json_get_or<bool>(json, "add_bos", true, label);
  const auto found = json.find("remapped_tokens");
  if (found != json.end()) {
    if (!found->is_object()) {
      fail("simulator", fmt::format("remapped_tokens: got {}, expected an object ({})", found->type_name(), label));
    }
    for (const auto& [from, to] : found->items()) {
      int64_t id = 0;
      const auto [stop, error] = std::from_chars(from.data(), from.data() + from.size(), id);
      if (error != std::errc() || stop != from.data() + from.size() || !to.is_number_integer()) {
        fail("simulator",
             fmt::format("remapped_tokens: got \"{}\": {}, expected two ids ({})", from, to.dump(), label));
      }
      layout.remapped_tokens[id] = to.get<int64_t>();
    }
  }
  check_layout(layout, label);
  return layout;
}

RetokenisedText retokenise(const Tokenizer& target, const Tokenizer& simulator, const std::vector<int64_t>& tokens) {
  RetokenisedText result;
  std::string text;
  std::vector<std::pair<size_t, size_t>> bytes(tokens.size(), {0, 0});  // of each target token; empty if special
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (target.is_special(tokens[i])) {
      if (i == 0 && simulator.bos()) {
        result.ids.push_back(*simulator.bos());
        result.overlaps.emplace_back(0, 0);
      }
      continue;
    }
    const size_t begin = text.size();
    text += target.piece(tokens[i]);
    bytes[i] = {begin, text.size()};
  }
  const Encoding encoding = simulator.encode_with_offsets(text, false);
  size_t from = 0;
  for (size_t k = 0; k < encoding.ids.size(); ++k) {
    const auto [begin, end] = encoding.offsets[k];
    while (from < tokens.size() && bytes[from].second <= begin) ++from;
    size_t to = from, last = from;  // last: behind the last one that shares bytes, special tokens between passed over
    for (; to < tokens.size() && (bytes[to].first == bytes[to].second || bytes[to].first < end); ++to) {
      if (bytes[to].first < bytes[to].second) last = to + 1;
    }
    result.ids.push_back(encoding.ids[k]);
    result.overlaps.emplace_back(static_cast<int64_t>(from), static_cast<int64_t>(std::max(last, from)));
  }
  return result;
}

LanguageSimulator::LanguageSimulator(Model given_model, Tokenizer given_tokenizer, SimulatorLayout given_layout)
    : model(std::move(given_model)), tokenizer(std::move(given_tokenizer)), layout(std::move(given_layout)) {
  check_layout(layout, "the simulator's layout");
  check_ids(layout, model.config.vocab_size);
}

LanguageSimulator LanguageSimulator::open(const fs::path& folder, const LoadOptions& options,
                                          const fs::path& tokenizer_folder) {
  const fs::path path = folder / "simulator.json";
  SimulatorLayout layout = published_simulator_layout();
  if (fs::exists(path)) {
    layout = parse_simulator_layout(read_json(path), path.string());
  } else {
    const int64_t vocabulary = read_config(folder).vocab_size, needed = layout.remapped_tokens.rbegin()->second + 1;
    if (vocabulary < needed) {
      fail("simulator",
           fmt::format("no simulator.json, and a vocabulary of {} where the published simulator has {} ({})",
                       vocabulary, needed, folder.string()),
           "a simulator is what 'introspect simulator train' writes, or the published checkpoint");
    }
  }
  return LanguageSimulator(load_model(folder, options),
                           Tokenizer::open(tokenizer_folder.empty() ? folder : tokenizer_folder), std::move(layout));
}

void LanguageSimulator::save(const fs::path& folder, const fs::path& tokenizer_folder, at::ScalarType dtype,
                             const Json& extra) const {
  fs::create_directories(folder);
  save_model(model, folder, dtype);
  copy_tokenizer(tokenizer_folder, folder);
  Json json = layout_to_json(layout);
  json.update(extra);
  write_json(folder / "simulator.json", json);
}

bool LanguageSimulator::set_target(const Tokenizer& target) {
  target_.reset();
  if (!same_vocabulary(target, tokenizer)) target_ = target;
  return retokenises();
}

std::vector<int64_t> LanguageSimulator::remapped(std::vector<int64_t> ids) const {
  for (int64_t& id : ids) {
    const auto found = layout.remapped_tokens.find(id);
    if (found != layout.remapped_tokens.end()) id = found->second;
  }
  return ids;
}

std::vector<int64_t> LanguageSimulator::prompt_ids(const std::string& description) const {
  std::string text = layout.prompt;
  text.replace(text.find(kSlot), kSlot.size(), description);
  std::vector<int64_t> ids;
  if (layout.add_bos && tokenizer.bos()) ids.push_back(*tokenizer.bos());
  for (const int64_t id : tokenizer.encode_plain(text)) ids.push_back(id);
  return remapped(std::move(ids));
}

RetokenisedText LanguageSimulator::text_ids(const std::vector<int64_t>& tokens) const {
  RetokenisedText text;
  if (target_) {
    text = retokenise(*target_, tokenizer, tokens);
  } else {
    text.ids = tokens;
    for (int64_t i = 0; i < std::ssize(tokens); ++i) text.overlaps.emplace_back(i, i + 1);
  }
  text.ids = remapped(std::move(text.ids));
  return text;
}

at::Tensor LanguageSimulator::class_logits(const at::Tensor& residual) const {
  const at::Tensor rows = at::tensor(layout.class_tokens, at::kLong).to(model.head.device());
  const at::Tensor x = rms_norm(residual, model.final_norm, model.config.norm_epsilon);
  return at::linear(x.to(at::kFloat), model.head.index_select(0, rows).to(at::kFloat));
}

std::optional<at::Tensor> LanguageSimulator::simulate(const std::string& description, const at::Tensor& tokens) const {
  c10::NoGradGuard guard;
  if (tokens.dim() != 2) fail("simulator", "tokens: expected a tensor [C, T]");
  if (description.find_first_not_of(" \t\r\n") == std::string::npos) return std::nullopt;
  std::vector<RetokenisedText> texts;
  size_t longest = 0;
  for (const std::vector<int64_t>& row : rows_of(tokens)) {
    texts.push_back(text_ids(row));
    longest = std::max(longest, texts.back().ids.size());
  }
  const std::vector<int64_t> prompt = prompt_ids(description);
  const auto room = static_cast<size_t>(model.config.max_positions);
  if (prompt_ids("x").size() + longest > room) {
    fail("simulator", fmt::format("a text of {} tokens: the simulator has {} positions", longest, room),
         "shorten the pieces of text");
  }
  if (prompt.size() + longest > room) return std::nullopt;

  ForwardOptions options;
  options.want_logits = false;
  options.compute = compute;
  options.keep_cache = true;
  const KeyValues cache = forward(model, pack({prompt}), options).cache;
  options.keep_cache = false;

  at::Tensor result = at::zeros(tokens.sizes(), at::kFloat);
  float* values = result.data_ptr<float>();
  const at::Tensor scale = at::arange(kSimulatorClasses, at::kFloat);
  for (size_t first = 0, last = 0; first < texts.size(); first = last) {
    // as many contexts as fit in a pass, at least one; an empty one has nothing to compute
    std::vector<std::vector<int64_t>> sequences;
    std::vector<size_t> owners;
    int64_t size = 0;
    for (; last < texts.size(); ++last) {
      const int64_t length = std::ssize(texts[last].ids);
      if (length == 0) continue;
      if (!sequences.empty() && size + length > tokens_per_pass) break;
      sequences.push_back(texts[last].ids);
      owners.push_back(last);
      size += length;
    }
    if (sequences.empty()) break;
    Prefix prefix;
    prefix.cache = &cache;
    prefix.begin.assign(sequences.size(), 0);
    prefix.length.assign(sequences.size(), std::ssize(prompt));
    options.prefix = &prefix;
    const std::vector<int64_t> positions(sequences.size(), std::ssize(prompt));
    const at::Tensor residual = forward(model, pack(sequences, positions), options).residual;
    const at::Tensor expected = at::mv(class_logits(residual).to(at::kCPU).softmax(1), scale).contiguous();  // [N]
    if (!expected.isfinite().all().item<bool>()) {
      fail("simulator", "the logits are not finite", "the weights hold NaN or infinity");
    }
    const float* next = expected.data_ptr<float>();
    for (const size_t owner : owners) {
      float* row = values + static_cast<int64_t>(owner) * tokens.size(1);
      for (const auto& [begin, end] : texts[owner].overlaps) {
        for (int64_t i = begin; i < end; ++i) row[i] = std::max(row[i], *next);
        ++next;
      }
    }
  }
  if (target_) set_special_to_zero(result, tokens, *target_);
  return result;
}

}  // namespace introspect
