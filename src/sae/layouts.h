// One function a published layout, and what they share. For load_sae (saved_sae.h).
#pragma once

#include "base/json.h"
#include "sae/sae.h"
#include "sae/saved_tensors.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace introspect {

Sae load_saelens(const fs::path& folder);
Sae load_llama_scope(const fs::path& folder);
Sae load_gemma_scope(const fs::path& params);
Sae load_sparsify(const fs::path& folder);

// A hook's name as a Place. Of the names that Place does not have, "blocks.{i}.hook_in" and "hook_out" (newer
// TransformerLens) are resid_pre and resid_post; others (an attention head's output, a norm's) are an Error.
Place parse_hook(const std::string& name, std::string_view label);

// Error if `key` of the configuration is there and says something else than the tensors' shape does.
void expect_size(const Json& config, const std::string& key, int64_t size, std::string_view label);
// Error unless 1 <= k <= latents.
void check_k(int64_t k, int64_t latents, std::string_view label);

// Makes every decoder row's norm 1 and gives the norm to the encoder, so that activations are measured in it.
void fold_decoder_norm(Sae& sae);

}  // namespace introspect
