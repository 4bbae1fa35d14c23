// Where this implementation and another part: expected values of some prompts are compared place by place, from the
// embedding to the logits.
#pragma once

#include "model/model.h"

#include <string>
#include <vector>

namespace introspect {

struct VerifyTolerance {
  double residual = 1e-4;         // on the residual stream, absolute
  double log_probability = 2e-4;  // on log-probabilities, absolute
};

struct VerifyRecord {
  std::string name;   // "prompt 4", "patched block1", "continuous insert", "adapter, prompt 2"
  std::string place;  // "blocks.2.hook_resid_post", "logits"
  double difference = 0, tolerance = 0;
  bool ok = false;
};

struct VerifyReport {
  std::vector<VerifyRecord> records;  // from the embedding to the logits, then changed runs
  std::vector<std::string> ignored;   // tensors of the expected file that nothing was made of

  bool ok() const;
  // The first record outside its tolerance, or null.
  const VerifyRecord* first_difference() const;
};

// `expected` is a safetensors file, `prompts` a JSON file that describes its cases; all but one of these may be absent:
//   logits.<i> [length, vocab]      of prompts[i].tokens
//   resid.<i>.<k> [length, d]       k = 0: input of block 0; k > 0: output of block k - 1
//   patched.<case>.logits           "patch": {prompt, position, cases: {<case>: [blocks]}, vectors: {<block>:
//   <tensor>}}:
//                                   the blocks' outputs at the position are replaced by the tensors
//   cont.<replace|insert>.logits    "continuous": {prompt, position, vector: <tensor>, cases}: the vector is the
//                                   embedding at the position, in place of the token's or pushed in front of it
//   lora.logits.<i>                 with an adapter on the model
// Throws Error for a tensor of another shape than the model's, and for cases that the prompts do not describe.
VerifyReport verify_model(const Model& model, const fs::path& expected, const fs::path& prompts,
                          const VerifyTolerance& tolerance = {});

}  // namespace introspect
