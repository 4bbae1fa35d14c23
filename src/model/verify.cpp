#include "model/verify.h"

#include "base/error.h"
#include "base/safetensors.h"
#include "model/forward.h"
#include "model/names.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <nlohmann/json.hpp>

namespace introspect {

namespace {

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return text + "]";
}

// The number that is all of `text`, or -1.
int64_t whole_number(std::string_view text) {
  int64_t value = -1;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && stop == text.data() + text.size() ? value : -1;
}

at::Tensor one_row(int64_t position) {
  return at::full({1}, position, at::kLong);
}

class Verification {
 public:
  Verification(const Model& model, const fs::path& expected, const fs::path& prompts, const VerifyTolerance& tolerance)
      : model_(model), expected_(expected), json_(read_json(prompts)), label_(prompts.string()), tolerance_(tolerance) {
    const auto found = json_.find("prompts");
    if (found == json_.end() || !found->is_array()) {
      fail("verify", fmt::format("key 'prompts': expected a list of objects with 'tokens' ({})", label_));
    }
    for (const Json& prompt : *found) prompts_.push_back(json_get<std::vector<int64_t>>(prompt, "tokens", label_));
    for (const auto& [name, info] : expected_.tensors()) {
      if (!name.starts_with("given.")) left_.insert(name);
    }
  }

  VerifyReport run() {
    residuals();
    logits();
    patched();
    continuous();
    adapter();
    report_.ignored.assign(left_.begin(), left_.end());
    if (report_.records.empty()) {
      fail("verify", fmt::format("holds nothing to compare: expected logits.<i> or resid.<i>.<k> ({})",
                                 expected_.path().string()));
    }
    return std::move(report_);
  }

 private:
  const std::vector<int64_t>& prompt(int64_t index, const std::string& name) const {
    if (index < 0 || index >= std::ssize(prompts_)) {
      fail("verify", fmt::format("{}: prompt {}, expected one of the {} of {}", name, index, prompts_.size(), label_));
    }
    return prompts_[index];
  }

  // The expected tensor in float64; a shape that does not fit is no difference but an Error.
  at::Tensor take(const std::string& name, at::IntArrayRef shape) {
    const at::Tensor tensor = expected_.get(name);
    if (tensor.sizes() != shape) {
      fail("verify", fmt::format("tensor '{}': got shape {}, expected {} ({})", name, shape_text(tensor.sizes()),
                                 shape_text(shape), expected_.path().string()));
    }
    left_.erase(name);
    return tensor.to(at::kDouble);
  }

  void record(const std::string& name, const std::string& place, const at::Tensor& difference, double tolerance) {
    const double largest = difference.abs().max().item<double>();
    report_.records.push_back({name, place, largest, tolerance, largest <= tolerance});  // NaN is not ok
  }

  void record_logits(const std::string& name, const std::string& tensor, const at::Tensor& logits) {
    const at::Tensor expected = take(tensor, logits.sizes());
    const at::Tensor got = logits.to(at::kCPU, at::kDouble);
    record(name, "logits", at::log_softmax(got, -1) - at::log_softmax(expected, -1), tolerance_.log_probability);
  }

  at::Tensor run_prompt(const std::vector<int64_t>& tokens, Taps* taps = nullptr) const {
    ForwardOptions options;
    options.taps = taps;
    return forward(model_, pack({tokens}), options).logits;
  }

  // By depth, so that the first record that is not ok is the first place that differs.
  void residuals() {
    std::map<int64_t, std::map<int64_t, std::string>> by_depth;  // k, then prompt
    std::map<int64_t, Taps> taps;                                // of each prompt, in order of k
    for (const auto& [name, info] : expected_.tensors()) {
      if (!name.starts_with("resid.")) continue;
      const size_t dot = name.find('.', 6);
      if (dot == std::string::npos) continue;
      const int64_t index = whole_number(std::string_view(name).substr(6, dot - 6));
      const int64_t depth = whole_number(std::string_view(name).substr(dot + 1));
      if (index < 0 || depth < 0) continue;
      if (depth > model_.config.layers) {
        fail("verify", fmt::format("tensor '{}': the model has {} blocks ({})", name, model_.config.layers,
                                   expected_.path().string()));
      }
      by_depth[depth][index] = name;
    }
    const auto place_of = [](int64_t depth) {
      return depth == 0 ? Place{PlaceKind::resid_pre, 0} : Place{PlaceKind::resid_post, depth - 1};
    };
    for (const auto& [depth, names] : by_depth) {
      for (const auto& [index, name] : names) taps[index].push_back(Tap::capture(place_of(depth)));
    }
    for (auto& [index, of_prompt] : taps) run_prompt(prompt(index, "resid"), &of_prompt);
    for (const auto& [depth, names] : by_depth) {
      for (const auto& [index, name] : names) {
        const Place place = place_of(depth);
        for (const Tap& tap : taps[index]) {
          if (!(tap.place == place)) continue;
          const at::Tensor expected = take(name, tap.captured.sizes());
          record(fmt::format("prompt {}", index), place_name(place), tap.captured.to(at::kCPU, at::kDouble) - expected,
                 tolerance_.residual);
        }
      }
    }
  }

  void logits() {
    for (int64_t index = 0; index < std::ssize(prompts_); ++index) {
      const std::string name = fmt::format("logits.{}", index);
      if (expected_.contains(name)) record_logits(fmt::format("prompt {}", index), name, run_prompt(prompts_[index]));
    }
  }

  // A position of prompts.json, checked against the tokens.
  int64_t position_of(const Json& json, const std::vector<int64_t>& tokens, const char* what) const {
    const int64_t position = json_get<int64_t>(json, "position", label_);
    if (position < 0 || position >= std::ssize(tokens)) {
      fail("verify",
           fmt::format("{}: position {}, the prompt has {} tokens ({})", what, position, tokens.size(), label_));
    }
    return position;
  }

  const Json& member(const Json& json, const char* key, const char* what) const {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_object()) {
      fail("verify", fmt::format("{}.{}: expected an object ({})", what, key, label_));
    }
    return *found;
  }

  void patched() {
    const auto patch = json_.find("patch");
    if (patch == json_.end() || !patch->is_object()) return;
    const std::vector<int64_t>& tokens = prompt(json_get<int64_t>(*patch, "prompt", label_), "patch");
    const int64_t position = position_of(*patch, tokens, "patch");
    const Json& cases = member(*patch, "cases", "patch");
    for (const auto& [name, blocks] : cases.items()) {
      const std::string tensor = fmt::format("patched.{}.logits", name);
      if (!expected_.contains(tensor)) continue;
      Taps taps;
      for (int64_t block : json_get<std::vector<int64_t>>(cases, name, label_)) {
        const std::string vector =
            json_get<std::string>(member(*patch, "vectors", "patch"), std::to_string(block), label_);
        taps.push_back(Tap::replace({PlaceKind::resid_post, block}, one_row(position), expected_.get(vector)));
      }
      record_logits("patched " + name, tensor, run_prompt(tokens, &taps));
    }
  }

  void continuous() {
    const auto given = json_.find("continuous");
    if (given == json_.end() || !given->is_object()) return;
    const std::vector<int64_t>& tokens = prompt(json_get<int64_t>(*given, "prompt", label_), "continuous");
    const int64_t position = position_of(*given, tokens, "continuous");
    for (const std::string name : {"replace", "insert"}) {
      const std::string tensor = fmt::format("cont.{}.logits", name);
      if (!expected_.contains(tensor)) continue;
      std::vector<int64_t> changed = tokens;
      if (name == "insert") changed.insert(changed.begin() + position, 0);  // any token: its embedding is replaced
      Taps taps{Tap::replace({PlaceKind::embed, -1}, one_row(position),
                             expected_.get(json_get<std::string>(*given, "vector", label_)))};
      record_logits("continuous " + name, tensor, run_prompt(changed, &taps));
    }
  }

  void adapter() {
    for (int64_t index = 0; index < std::ssize(prompts_); ++index) {
      const std::string name = fmt::format("lora.logits.{}", index);
      if (!expected_.contains(name)) continue;
      Model with = model_;
      bool adapted = false;
      for (const NamedLinear& named : named_linears(with)) adapted = adapted || named.linear->lora;
      if (!adapted)
        fail("verify", fmt::format("'{}' needs an adapter on the model", name), "--adapter names its folder");
      record_logits(fmt::format("adapter, prompt {}", index), name, run_prompt(prompts_[index]));
    }
  }

  const Model& model_;
  Safetensors expected_;
  Json json_;
  std::string label_;
  VerifyTolerance tolerance_;
  std::vector<std::vector<int64_t>> prompts_;
  std::set<std::string> left_;
  VerifyReport report_;
};

}  // namespace

bool VerifyReport::ok() const {
  return first_difference() == nullptr;
}

const VerifyRecord* VerifyReport::first_difference() const {
  const auto found = std::find_if(records.begin(), records.end(), [](const VerifyRecord& each) { return !each.ok; });
  return found == records.end() ? nullptr : &*found;
}

VerifyReport verify_model(const Model& model, const fs::path& expected, const fs::path& prompts,
                          const VerifyTolerance& tolerance) {
  c10::NoGradGuard no_gradients;
  return Verification(model, expected, prompts, tolerance).run();
}

}  // namespace introspect
