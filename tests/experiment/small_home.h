// A home of tiny untrained models, facts and one recipe, which makes a whole run a matter of seconds.
#pragma once

#include "base/temporary_folder.h"
#include "train/small_world.h"

namespace introspect::world {

// Recipes/demo-quick-patching.toml, models (target, twin) and facts below `folder`.
inline void make_home(const TemporaryFolder& folder) {
  for (const auto& [name, seed] : {std::pair<const char*, uint64_t>{"target", 7}, {"twin", 8}}) {
    ModelConfig config = world::config(320, 3);
    config.tied_embeddings = false;  // else the next token is the last one again
    Model model = create_model(config, seed);
    c10::NoGradGuard guard;
    for (auto& [weight, tensor] : parameters(model)) {
      if (tensor.dim() == 2) tensor.mul_(weight.ends_with("embed_tokens.weight") ? 20 : 8);
      // it says words: bytes and special tokens are no answers
      if (weight == "lm_head.weight") {
        for (int64_t id = 0; id < config.vocab_size; ++id) {
          const std::string piece = world::tokenizer().piece(id);
          if (piece.size() < 3 || piece[0] != ' ' || world::tokenizer().is_special(id)) tensor[id].zero_();
        }
      }
    }
    world::write_model(folder / "models" / name, model);
  }
  world::write_facts(folder / "facts");
  folder.write("recipes/demo-quick-patching.toml", R"(# A demo of nothing.
kind = "patching"
title = "A title"
question = "A question?"
[target]
model = "../models/target"
[records]
path = "../facts"
[dataset]
blocks = 3
pairs_per_subject = 2
option_count = 3
only_correct = false
train_share = 0.5
prompts_per_chunk = 4
max_per_cell = 12
max_share = 1.0
[train]
steps = 10
batch = 4
learning_rate = 3e-3
compute = "fp32"
validate_every = 5
validation_examples = 8
checkpoint_every = 2
replay_share = 0.2
[train.explainer]
blank_in_brackets = true
templates = ["{s}{v}{e} at {layer} on {tokens}: {input}\n"]
[train.explainer.injection]
policy = "norm_matched"
[[train.replay_text]]
kind = "statements"
facts = "../facts"
[[explainer]]
name = "self"
model = "../models/target"
[[explainer]]
name = "twin"
model = "../models/twin"
[[variant]]
condition = "retrained_without_vector"
explainers = ["self"]
train = { vectors = "zero" }
[[variant]]
condition = "projected"
explainers = ["twin"]
train = { explainer = { injection = { projection = "least_squares" } } }
[search]
steps = 2
[[search.setting]]
name = "slow"
train = { learning_rate = 1e-4 }
[[search.setting]]
name = "fast"
train = { learning_rate = 3e-3 }
[projection]
tokens = 1500
[[projection.text]]
kind = "statements"
facts = "../facts"
[evaluate]
vectors = ["zero", "shuffled_in_cell"]
few_shot = 1
limit = 12
max_new_tokens = 8
)");
}

}  // namespace introspect::world
