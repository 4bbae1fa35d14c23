// Llama 2, 3, 3.1, SmolLM2, TinyLlama; Mistral; Qwen 2, whose projections have biases; Qwen 3 and Gemma 2, whose
// checkpoints have two more norms.
#include "model/families.h"

#include <fmt/format.h>

namespace introspect {

std::vector<NamedWeight> llama_weights(Model& model) {
  const ModelConfig& c = model.config;
  std::vector<NamedWeight> weights;
  weights.push_back({"model.embed_tokens.weight", {c.vocab_size, c.d_model}, &model.embedding});
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    Block& block = model.blocks[layer];
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    weights.push_back({prefix + "input_layernorm.weight", {c.d_model}, &block.attention_norm});
    add_linear(weights, attention + "q_proj", block.query, c.heads * c.head_dim, c.d_model, c.attention_bias);
    add_linear(weights, attention + "k_proj", block.key, c.kv_heads * c.head_dim, c.d_model, c.attention_bias);
    add_linear(weights, attention + "v_proj", block.value, c.kv_heads * c.head_dim, c.d_model, c.attention_bias);
    add_linear(weights, attention + "o_proj", block.output, c.d_model, c.heads * c.head_dim, c.attention_output_bias);
    if (c.query_key_norm) {
      weights.push_back({attention + "q_norm.weight", {c.head_dim}, &block.query_norm});
      weights.push_back({attention + "k_norm.weight", {c.head_dim}, &block.key_norm});
    }
    if (c.post_norms) {  // then "post_attention" is meant literally, and the other norms have names of their own
      weights.push_back({prefix + "post_attention_layernorm.weight", {c.d_model}, &block.attention_post_norm});
      weights.push_back({prefix + "pre_feedforward_layernorm.weight", {c.d_model}, &block.mlp_norm});
      weights.push_back({prefix + "post_feedforward_layernorm.weight", {c.d_model}, &block.mlp_post_norm});
    } else {
      weights.push_back({prefix + "post_attention_layernorm.weight", {c.d_model}, &block.mlp_norm});
    }
    add_linear(weights, mlp + "gate_proj", block.gate, c.d_mlp, c.d_model, c.mlp_bias);
    add_linear(weights, mlp + "up_proj", block.up, c.d_mlp, c.d_model, c.mlp_bias);
    add_linear(weights, mlp + "down_proj", block.down, c.d_model, c.d_mlp, c.mlp_bias);
  }
  weights.push_back({"model.norm.weight", {c.d_model}, &model.final_norm});
  if (!c.tied_embeddings) weights.push_back({"lm_head.weight", {c.vocab_size, c.d_model}, &model.head});
  return weights;
}

std::vector<NamedLinear> llama_linears(Model& model) {
  std::vector<NamedLinear> linears;
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    Block& block = model.blocks[layer];
    const std::string attention = fmt::format("model.layers.{}.self_attn.", layer);
    const std::string mlp = fmt::format("model.layers.{}.mlp.", layer);
    for (const auto& [module, linear] : {std::pair{"q_proj", &block.query},
                                         {"k_proj", &block.key},
                                         {"v_proj", &block.value},
                                         {"o_proj", &block.output}}) {
      linears.push_back({module, attention + module, linear});
    }
    for (const auto& [module, linear] :
         {std::pair{"gate_proj", &block.gate}, {"up_proj", &block.up}, {"down_proj", &block.down}}) {
      linears.push_back({module, mlp + module, linear});
    }
  }
  return linears;
}

}  // namespace introspect
