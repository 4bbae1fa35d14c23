#include "sae/sae.h"

#include "base/error.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <fmt/format.h>

namespace introspect {

namespace {

constexpr std::pair<SaeKind, const char*> kKindNames[] = {{SaeKind::standard, "standard"},
                                                          {SaeKind::topk, "topk"},
                                                          {SaeKind::batchtopk, "batchtopk"},
                                                          {SaeKind::jumprelu, "jumprelu"},
                                                          {SaeKind::gated, "gated"}};

constexpr double kLayerNormEpsilon = 1e-5;

struct Moments {
  at::Tensor mean, deviation;  // [N, 1]
};

// As SAELens has it: the deviation is the unbiased one, and the epsilon is added going in alone.
Moments moments(const at::Tensor& x) {
  return {x.mean(1, /*keepdim=*/true), x.std(1, /*unbiased=*/true, /*keepdim=*/true)};
}

// What the encoder's rows are multiplied with.
at::Tensor encoder_input(const Sae& sae, const at::Tensor& x) {
  if (x.dim() != 2 || x.size(1) != sae.width()) {
    fail("sae", fmt::format("residual stream: got {} numbers a position, expected {}", x.dim() == 2 ? x.size(1) : -1,
                            sae.width()));
  }
  at::Tensor input = x.to(at::kFloat);
  if (sae.layer_norm) {
    const auto [mean, deviation] = moments(input);
    input = (input - mean) / (deviation + kLayerNormEpsilon);
  }
  if (sae.input_scale != 1) input = input * sae.input_scale;
  if (sae.subtract_decoder_bias) input = input - sae.decoder_bias;
  return input;
}

// Rows of a tensor a latent, or all of them.
at::Tensor rows(const at::Tensor& tensor, const at::Tensor& latents) {
  return latents.defined() && tensor.defined() ? tensor.index_select(0, latents) : tensor;
}

// Activations of the latents given (undefined: all), for kinds in which latents do not compete.
at::Tensor independent(const Sae& sae, const at::Tensor& input, const at::Tensor& latents) {
  const at::Tensor products = at::matmul(input, rows(sae.encoder, latents).t());
  const at::Tensor bias = rows(sae.encoder_bias, latents);
  if (sae.kind == SaeKind::gated) {
    const at::Tensor open = products + rows(sae.gate_bias, latents) > 0;
    return at::relu(products * rows(sae.magnitude, latents).exp() + bias) * open;
  }
  const at::Tensor pre = products + bias;
  if (sae.kind == SaeKind::jumprelu || sae.kind == SaeKind::batchtopk) {
    return at::relu(pre) * (pre > rows(sae.threshold, latents));
  }
  return at::relu(pre);
}

}  // namespace

std::string sae_kind_name(SaeKind kind) {
  for (const auto& [each, name] : kKindNames) {
    if (each == kind) return name;
  }
  fail("sae", "a kind without a name");
}

SaeKind parse_sae_kind(const std::string& name) {
  for (const auto& [kind, each] : kKindNames) {
    if (name == each) return kind;
  }
  fail("sae", fmt::format("architecture: got \"{}\", expected standard, topk, batchtopk, jumprelu or gated", name));
}

at::Tensor encode(const Sae& sae, const at::Tensor& x) {
  const at::Tensor activations = independent(sae, encoder_input(sae, x), {});
  if (sae.kind != SaeKind::topk || sae.k >= sae.latents()) return activations;
  const auto [values, places] = activations.topk(sae.k, 1);
  return at::zeros_like(activations).scatter_(1, places, values);
}

Preactivations preactivations(const Sae& sae, const at::Tensor& x) {
  const at::Tensor products = at::matmul(encoder_input(sae, x), sae.encoder.t());
  if (sae.kind == SaeKind::gated) {
    return {products + sae.gate_bias, products * sae.magnitude.exp() + sae.encoder_bias};
  }
  const at::Tensor pre = products + sae.encoder_bias;
  return {pre, pre};
}

at::Tensor encode_latents(const Sae& sae, const at::Tensor& x, const at::Tensor& latents) {
  if (sae.kind == SaeKind::topk) return encode(sae, x).index_select(1, latents);
  return independent(sae, encoder_input(sae, x), latents);
}

at::Tensor decode(const Sae& sae, const at::Tensor& activations, const at::Tensor& x) {
  at::Tensor output = at::matmul(activations, sae.decoder) + sae.decoder_bias;
  if (sae.input_scale != 1) output = output / sae.input_scale;
  if (sae.layer_norm) {
    const auto [mean, deviation] = moments(x.to(at::kFloat));
    output = output * deviation + mean;
  }
  return output;
}

}  // namespace introspect
