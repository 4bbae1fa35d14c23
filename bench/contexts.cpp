// How fast contexts are collected, side by side with the plain forward pass of the same pieces: of all layers with the
// head, and of the layers that the SAEs need.
//   bench_contexts [--model FOLDER] [--sae FOLDER]... [--text FILE] [--tokens N] [--latents N] [--kind topk|jumprelu]
//                  [--threads N]
// Without a model: a random one of the bundled shape, on random tokens. Without SAEs: two random ones, in the middle
// and behind the last layer, with about 32 active latents a token.
#include "base/random.h"
#include "common.h"
#include "feature/collect_contexts.h"
#include "model/forward.h"
#include "sae/saved_sae.h"
#include "text/bpe_train.h"

#include <cstring>
#include <string>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

namespace introspect {
namespace {

struct Arguments {
  std::string model, text, kind = "topk";
  std::vector<std::string> saes;
  int64_t tokens = 200'000, latents = 2048;
};

Tokenizer any_tokenizer() {
  BpeTrainSettings settings;
  settings.special_tokens = {"<|begin|>"};
  settings.bos_token = "<|begin|>";
  BpeTrainer trainer(settings);
  trainer.add("the cat");
  trainer.train();
  return Tokenizer::from_json(trainer.tokenizer_json(), trainer.config_json());
}

at::Tensor normal(at::IntArrayRef shape, const std::string& name) {
  Random random(1, name);
  at::Tensor tensor = at::empty(shape);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<float>()[i] = static_cast<float>(random.normal());
  return tensor;
}

std::vector<Piece> read_pieces(const Arguments& given, const Model& model, const Tokenizer& tokenizer) {
  constexpr int64_t length = 64;
  std::vector<Piece> pieces;
  int64_t tokens = 0;
  if (given.text.empty()) {
    Random random(1, "bench");
    for (; tokens < given.tokens; tokens += length) {
      std::vector<int32_t> piece(length);
      for (int32_t& token : piece) {
        token = static_cast<int32_t>(random.below(static_cast<uint64_t>(model.config.vocab_size)));
      }
      pieces.push_back(make_piece(std::move(piece)));
    }
    return pieces;
  }
  const auto text = file_pieces({given.text}, tokenizer, length);
  const double start = now();
  while (tokens < given.tokens) {
    std::optional<Piece> piece = text->next();
    if (!piece) break;
    tokens += std::ssize(piece->tokens);
    pieces.push_back(std::move(*piece));
  }
  fmt::print("reading and cutting the text: {:.0f} tokens/s\n", static_cast<double>(tokens) / (now() - start));
  return pieces;
}

// Random encoders; for jumprelu a threshold above which 32 of the latents lie on the pieces.
std::vector<Sae> random_saes(const Arguments& given, const Model& model, const std::vector<Piece>& pieces) {
  std::vector<Sae> saes;
  const ModelConfig& c = model.config;
  for (const int64_t layer : {c.layers / 2 - 1, c.layers - 1}) {
    Sae sae;
    sae.kind = parse_sae_kind(given.kind);
    sae.k = 32;
    sae.encoder = normal({given.latents, c.d_model}, fmt::format("encoder {}", layer));
    sae.encoder_bias = at::zeros({given.latents});
    sae.decoder = sae.encoder;
    sae.decoder_bias = at::zeros({c.d_model});
    sae.threshold = at::zeros({given.latents});
    sae.place = {PlaceKind::resid_post, layer};
    std::vector<std::vector<int64_t>> some;
    for (size_t i = 0; i < std::min<size_t>(16, pieces.size()); ++i) {
      some.emplace_back(pieces[i].tokens.begin(), pieces[i].tokens.end());
    }
    Taps taps{Tap::capture(sae.place)};
    ForwardOptions options;
    options.taps = &taps;
    forward(model, pack(some), options);
    const at::Tensor pre = preactivations(sae, taps[0].captured).gate;
    sae.threshold = std::get<0>(pre.kthvalue(pre.size(0) - pre.size(0) * 32 / given.latents, 0)).clamp_min(0);
    saes.push_back(std::move(sae));
  }
  return saes;
}

void run(const Arguments& given) {
  c10::NoGradGuard no_gradients;
  const Model model = given.model.empty() ? create_model(bundled_shape(), 1) : load_model(given.model);
  const Tokenizer tokenizer = given.model.empty() ? any_tokenizer() : Tokenizer::open(given.model);
  const std::vector<Piece> pieces = read_pieces(given, model, tokenizer);
  std::vector<Sae> saes;
  for (const std::string& folder : given.saes) saes.push_back(load_sae(folder));
  if (saes.empty()) saes = random_saes(given, model, pieces);
  std::vector<std::pair<int64_t, int64_t>> sizes;
  int64_t last_layer = 0, firings = 0;
  for (const Sae& sae : saes) {
    sizes.emplace_back(sae.place.layer, sae.latents());
    last_layer = std::max(last_layer, sae.place.layer + 1);
    fmt::print("SAE after layer {}: {} latents, {}\n", sae.place.layer, sae.latents(), sae_kind_name(sae.kind));
  }

  // Passes in turn, so that what else the machine does slows all alike.
  constexpr size_t pass = 64;
  ContextSet set(ContextSettings{}, sizes);
  double full = 0, same_layers = 0, contexts = 0, kept = 0;
  int64_t tokens = 0;
  const auto report = [&](const std::string& name) {
    const double n = static_cast<double>(tokens);
    fmt::print("{}: {} tokens\n", name, tokens);
    fmt::print("  forward, all {} layers and the head  {:>9.0f} tokens/s\n", model.config.layers, n / full);
    fmt::print("  forward, the first {} layers         {:>9.0f} tokens/s\n", last_layer, n / same_layers);
    fmt::print(
        "  contexts                            {:>9.0f} tokens/s: {:.0f}% of the full forward, {:.0f}% of its "
        "layers ({:.0f}% of the time to keep pieces)\n",
        n / contexts, 100 * full / contexts, 100 * same_layers / contexts, 100 * kept / contexts);
  };
  const size_t rounds = pieces.size() / pass;
  for (size_t round = 0; round < rounds; ++round) {
    const std::vector<Piece> group(pieces.begin() + static_cast<int64_t>(round * pass),
                                   pieces.begin() + static_cast<int64_t>((round + 1) * pass));
    std::vector<std::vector<int64_t>> sequences;
    for (const Piece& piece : group) sequences.emplace_back(piece.tokens.begin(), piece.tokens.end());
    const Packed packed = pack(sequences);
    ForwardOptions plain, fewer;
    fewer.want_logits = false;
    fewer.last_layer = last_layer;
    if (round == 0) forward(model, packed, plain);  // warm
    double start = now();
    forward(model, packed, plain);
    full += now() - start;
    start = now();
    forward(model, packed, fewer);
    same_layers += now() - start;
    start = now();
    run_pieces(model, tokenizer, saes, group,
               [&](const Piece& piece, const std::vector<PieceFirings>& found, int64_t counted) {
                 const double begin = now();
                 set.add(piece, found, counted);
                 for (const PieceFirings& each : found) firings += std::ssize(each.firings);
                 kept += now() - begin;
               });
    contexts += now() - start;
    tokens += packed.size();
    if (round + 1 == std::max<size_t>(1, rounds / 4)) {
      report("the first quarter, in which most is new");
      full = same_layers = contexts = kept = 0;
      tokens = 0;
    }
  }
  report("the rest");
  fmt::print("{:.1f} active latents a token and SAE\n",
             static_cast<double>(firings) / static_cast<double>(set.positions * std::ssize(saes)));
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  introspect::Arguments given;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--model") {
      given.model = value;
    } else if (name == "--sae") {
      given.saes.push_back(value);
    } else if (name == "--text") {
      given.text = value;
    } else if (name == "--tokens") {
      given.tokens = std::stoll(value);
    } else if (name == "--latents") {
      given.latents = std::stoll(value);
    } else if (name == "--kind") {
      given.kind = value;
    } else if (name == "--threads") {
      at::set_num_threads(std::stoi(value));
    } else {
      fmt::print(
          "usage: bench_contexts [--model FOLDER] [--sae FOLDER]... [--text FILE] [--tokens N] [--latents N] "
          "[--kind topk|jumprelu] [--threads N]\n");
      return 2;
    }
  }
  introspect::run(given);
}
