// Simulators that are language models: one pass over a description and a text gives the value 0..10 of every token.
//
// A simulator reads its prompt with the description, then the token ids of the text. At each of the text's tokens the
// logits of eleven tokens of its vocabulary, restricted to these, are a distribution over the classes 0..10 (10: the
// highest activation that the feature has); the simulated activation is its mean.
//
// Its folder is a Hugging Face folder, with simulator.json beside it or, without one, in the layout of the published
// checkpoint (Transluce/features_explain_llama3.1_8b_simulator):
//   prompt           "## Neuron Description: {description}\n\n ## Input: "
//   class_tokens     the eleven ids of the classes 0..10, in this order (published: 0 to 10)
//   remapped_tokens  {"128000": 128257, ...}: ids that the simulator reads in place of others, in the whole input; the
//                    published one was made from a chat model and keeps that model's own special tokens out of the text
//   add_bos          whether BOS stands in front of the prompt (it is remapped like any other)
#pragma once

#include "base/json.h"
#include "feature/simulator.h"
#include "model/model.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace introspect {

constexpr int64_t kSimulatorClasses = 11;

struct SimulatorLayout {
  std::string prompt = "## Neuron Description: {description}\n\n ## Input: ";
  std::vector<int64_t> class_tokens = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  std::map<int64_t, int64_t> remapped_tokens;
  bool add_bos = true;
};
SimulatorLayout published_simulator_layout();  // with the four remapped ids of Llama 3.1
Json layout_to_json(const SimulatorLayout& layout);
// Throws Error for a prompt without exactly one {description}, other than eleven different class tokens, remapped ids
// that are no numbers.
SimulatorLayout parse_simulator_layout(const Json& json, const std::string& label);

// A text of the target as a simulator with another vocabulary reads it.
struct RetokenisedText {
  std::vector<int64_t> ids;
  // For each id the positions [first, second) of the target's tokens that share bytes with it; empty for BOS.
  std::vector<std::pair<int64_t, int64_t>> overlaps;
};
// `tokens` without those behind the end. Special tokens of the target are passed over, but for a first one, which
// becomes the simulator's BOS if it has one.
RetokenisedText retokenise(const Tokenizer& target, const Tokenizer& simulator, const std::vector<int64_t>& tokens);

class LanguageSimulator : public Simulator {
 public:
  // Throws Error for class tokens and remapped ids that the model does not have.
  LanguageSimulator(Model model, Tokenizer tokenizer, SimulatorLayout layout);
  // `tokenizer_folder`: where tokenizer.json is, if not in `folder` itself. Throws Error for a folder without
  // simulator.json whose vocabulary is not the published one's.
  static LanguageSimulator open(const fs::path& folder, const LoadOptions& options = {},
                                const fs::path& tokenizer_folder = {});
  // Weights in `dtype`, simulator.json with `extra` in it, and the tokenizer's files from `tokenizer_folder`.
  void save(const fs::path& folder, const fs::path& tokenizer_folder, at::ScalarType dtype, const Json& extra) const;

  // Whose tokens simulate() is given; without this call, its own. With every token of the target's vocabulary being the
  // simulator's token of the same id, ids go in as they are. Else the text is tokenised anew and a target token takes
  // the highest value of the simulator's tokens that share bytes with it (0 if none does). Returns whether the latter.
  bool set_target(const Tokenizer& target);
  bool retokenises() const { return target_.has_value(); }

  // Values 0..10 for tokens [C, T], BOS included (it is part of the text and, being read first, tells little). The
  // description's keys and values are computed once and shared; contexts are packed. Empty for a description of blanks,
  // and for one so long that the text would not fit behind it. Throws Error for logits that are not finite, and a text
  // that fits behind no description. Memory: keys and values of the prompt, activations of `tokens_per_pass` positions.
  std::optional<at::Tensor> simulate(const std::string& description, const at::Tensor& tokens) const override;

  // For training: the prompt's ids and a text's, remapped.
  std::vector<int64_t> prompt_ids(const std::string& description) const;
  RetokenisedText text_ids(const std::vector<int64_t>& tokens) const;
  // Logits of the classes [N, 11] float32 at residual states [N, D] that leave the last layer. Differentiable.
  at::Tensor class_logits(const at::Tensor& residual) const;

  Model model;
  Tokenizer tokenizer;
  SimulatorLayout layout;
  at::ScalarType compute = at::kFloat;  // of matrix products (model/forward.h)
  int64_t tokens_per_pass = 4096;

 private:
  std::vector<int64_t> remapped(std::vector<int64_t> ids) const;
  std::optional<Tokenizer> target_;
};

}  // namespace introspect
