// SAEs of the published sizes, with random weights: how long loading and encoding take and how much memory.
//   bench_sae_size write FOLDER              131,072 x 4,096 as Llama Scope has it (bf16, 2.1 GB) and
//                                            16,384 x 3,584 as Gemma Scope has it (.npz, 0.47 GB)
//   bench_sae_size read FOLDER [--threads N] loads each and encodes 64 positions; a process of its own, so that its
//                                            memory is that of reading
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "base/safetensors.h"
#include "common.h"
#include "sae/saved_sae.h"

#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

constexpr const char* kLlama = "Llama3_1-8B-Base-L19R-32x";
constexpr const char* kGemma = "gemma-scope-9b-pt-res/layer_20/width_16k/average_l0_71";

// Rows of norm about 1. Slices of a million numbers, so that a bf16 tensor is never in memory as float32.
at::Tensor random_rows(int64_t rows, int64_t width, at::ScalarType dtype) {
  Random random(1, "bench sae");
  at::Tensor block = at::empty({std::max<int64_t>(1, (int64_t{1} << 20) / width), width});
  for (int64_t i = 0; i < block.numel(); ++i) block.data_ptr<float>()[i] = static_cast<float>(random.normal());
  block.div_(std::sqrt(static_cast<double>(width)));
  at::Tensor result = at::empty({rows, width}, dtype);
  for (int64_t begin = 0; begin < rows; begin += block.size(0)) {
    // other numbers in every slice, without drawing half a billion
    const int64_t count = std::min(block.size(0), rows - begin);
    const auto shift = static_cast<int64_t>(random.below(static_cast<uint64_t>(width)));
    result.narrow(0, begin, count).copy_(block.roll(shift, 1).narrow(0, 0, count) * (random.below(2) ? 1 : -1));
  }
  return result;
}

void write_llama_scope(const fs::path& folder) {
  constexpr int64_t kLatents = 131072, kWidth = 4096;
  fs::create_directories(folder / "checkpoints");
  write_json(folder / "hyperparams.json", {{"d_model", kWidth},
                                           {"d_sae", kLatents},
                                           {"hook_point_in", "blocks.19.hook_resid_post"},
                                           {"act_fn", "jumprelu"},
                                           {"jump_relu_threshold", 0.484375},
                                           {"norm_activation", "dataset-wise"},
                                           {"dataset_average_activation_norm", {{"in", 17.125}, {"out", 17.125}}},
                                           {"apply_decoder_bias_to_pre_encoder", false},
                                           {"sparsity_include_decoder_norm", true}});
  const at::Tensor encoder = random_rows(kLatents, kWidth, at::kBFloat16);
  write_safetensors(folder / "checkpoints" / "final.safetensors",
                    {{"encoder.weight", encoder},
                     {"encoder.bias", at::zeros({kLatents}, at::kBFloat16)},
                     {"decoder.weight", encoder.t().contiguous()},
                     {"decoder.bias", at::zeros({kWidth}, at::kBFloat16)}});
}

// A zip archive of stored .npy files, as numpy.savez writes it. The checksum of an entry stands in front of it, so the
// bytes are gone through twice.
void write_npz(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  uint32_t table[256];
  for (uint32_t i = 0; i < 256; ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0u);
  }
  const auto number = [](uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  AtomicFile file(path);
  std::string directory;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    for (const int64_t extent : tensor.sizes()) header += fmt::format("{}, ", extent);
    header += "), }\n";
    const std::string head = std::string("\x93NUMPY\x01\0", 8) + number(header.size(), 2) + header;
    const std::string_view data(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
    uint32_t crc = ~uint32_t{0};
    for (const std::string_view part : {std::string_view(head), data}) {
      for (const char c : part) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 255];
    }
    const std::string entry = name + ".npy";
    const std::string common = number(20, 2) + number(0, 4) + number(0x21 << 16, 4) + number(~crc, 4) +
                               number(head.size() + data.size(), 4) + number(head.size() + data.size(), 4) +
                               number(entry.size(), 2) + number(0, 2);
    directory += "PK\x01\x02" + number(20, 2) + common + number(0, 10) + number(offset, 4) + entry;
    file.write("PK\x03\x04" + common + entry + head);
    file.write(data);
    offset += 4 + common.size() + entry.size() + head.size() + data.size();
  }
  file.write(directory + "PK\x05\x06" + number(0, 4) + number(tensors.size(), 2) + number(tensors.size(), 2) +
             number(directory.size(), 4) + number(offset, 4) + number(0, 2));
  file.commit();
}

void write_gemma_scope(const fs::path& folder) {
  constexpr int64_t kLatents = 16384, kWidth = 3584;
  fs::create_directories(folder);
  const at::Tensor decoder = random_rows(kLatents, kWidth, at::kFloat);
  write_npz(folder / "params.npz", {{"W_enc", decoder.t().contiguous()},
                                    {"b_enc", at::zeros({kLatents})},
                                    {"W_dec", decoder},
                                    {"b_dec", at::zeros({kWidth})},
                                    {"threshold", at::full({kLatents}, 2.5)}});
}

// A line of /proc/self/status in GB: VmHWM is the most this process held, RssAnon what it holds of its own now (mapped
// files, which the kernel may drop, are in the first and not in the second).
double gigabytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) * 1024 / 1e9;
  }
  return 0;
}

double seconds(const std::function<void()>& work) {
  const double start = now();
  work();
  return now() - start;
}

void read(const fs::path& folder) {
  c10::NoGradGuard no_gradients;
  constexpr int64_t kPositions = 64;
  fmt::print("{} threads\n", at::get_num_threads());
  for (const char* name : {kGemma, kLlama}) {  // the smaller first: the peak is of all so far
    if (!fs::exists(folder / name)) continue;
    const double before = gigabytes("RssAnon");
    Sae sae;
    const double load = seconds([&] { sae = load_sae(folder / name); });
    const double weights = 8.0 * static_cast<double>(sae.latents() * sae.width()) / 1e9;
    const double held = gigabytes("RssAnon") - before;
    const at::Tensor x = random_rows(kPositions, sae.width(), at::kFloat) * 100;
    at::Tensor activations, output;
    const double first = seconds([&] { activations = encode(sae, x); });
    const double encoding = seconds([&] { activations = encode(sae, x); });
    const double decoding = seconds([&] { output = decode(sae, activations, x); });
    fmt::print("{}: {} x {}, {}\n", sae.layout, sae.latents(), sae.width(), sae_kind_name(sae.kind));
    fmt::print("  loaded in {:.1f} s; weights as float32 {:.2f} GB, memory taken {:.2f} GB\n", load, weights, held);
    fmt::print(
        "  {} positions: encoded in {:.2f} s (the first time {:.2f} s), decoded in {:.2f} s; {:.0f} active each\n",
        kPositions, encoding, first, decoding,
        static_cast<double>(activations.gt(0).sum().item<int64_t>()) / kPositions);
    fmt::print("  peak {:.2f} GB with the mapped file, own memory now {:.2f} GB\n", gigabytes("VmHWM"),
               gigabytes("RssAnon"));
  }
}

}  // namespace
}  // namespace introspect

int main(int argc, char** argv) {
  using namespace introspect;
  const std::string action = argc > 2 ? argv[1] : "";
  if (argc > 4 && !std::strcmp(argv[3], "--threads")) at::set_num_threads(std::stoi(argv[4]));
  try {
    if (action == "write") {
      write_llama_scope(fs::path(argv[2]) / kLlama);
      write_gemma_scope(fs::path(argv[2]) / kGemma);
      return 0;
    }
    if (action == "read") return read(argv[2]), 0;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  fmt::print("usage: bench_sae_size write|read FOLDER [--threads N]\n");
  return 2;
}
