// The reader of .npz files under mutated input.
#include "base/files.h"
#include "fuzz/fuzz.h"
#include "sae/npz.h"
#include "sae/npz_files.h"
#include "sae/pickle.h"
#include "sae/zip_file.h"

#include <filesystem>
#include <stdexcept>
#include <unistd.h>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

void expect_clean(const FuzzResult& result, size_t seeds) {
  EXPECT_EQ(result.failure, "");
  EXPECT_GE(result.accepted, static_cast<int64_t>(seeds));
  if (result.runs > static_cast<int64_t>(10 * seeds)) {
    EXPECT_LT(result.accepted, result.runs);
  }
  ::testing::Test::RecordProperty("runs", std::to_string(result.runs));
  ::testing::Test::RecordProperty("accepted", std::to_string(result.accepted));
}

// Opens the bytes as a file and reads every array.
class NpzReader {
 public:
  ~NpzReader() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  void operator()(std::string_view bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<int64_t>(bytes.size()));
    const Npz file(path_);
    for (const auto& [name, header] : file.arrays()) {
      const at::Tensor tensor = file.get(name);
      if (tensor.sizes() != at::IntArrayRef(header.shape)) throw std::logic_error("another shape: " + name);
      if (tensor.nbytes() != header.data_bytes) throw std::logic_error("another size: " + name);
      if (tensor.numel() > 0) tensor.to(at::kDouble).sum().item<double>();
    }
  }

 private:
  fs::path path_ = fs::temp_directory_path() / ("introspect_fuzz_" + std::to_string(::getpid()) + ".npz");
};

const std::vector<std::string> kHeaders = {npy_header("<f4", {3, 4}), npy_header("<f8", {6}, true),
                                           npy_header("<i4", {2, 2, 3}, true), npy_header("<f2", {}),
                                           "{'shape': (0, 7), \"fortran_order\" : False,'descr':'<i8'}"};

TEST(FuzzSae, NpzFile) {
  const std::vector<std::string> seeds = {
      npz_of({{"W_enc", at::ones({2, 3})}, {"b", at::zeros({3})}}), npz_of({{"x", at::ones({4, 2})}}, true),
      zip_of({{"n.npy", npy_file(npy_header("<f8", {1}), "12345678", 3), -1, -1, 0}})};
  const NpzReader reader;
  expect_clean(run_fuzzer("npz", seeds, fuzz_seconds(), std::cref(reader)), seeds.size());
}

TEST(FuzzSae, NpyHeader) {
  const auto read = [](std::string_view header) {
    const NpyHeader parsed = parse_npy_header(npy_file(header, "", 2), "fuzz");
    if (parsed.shape.size() > 32) throw std::logic_error("more dimensions than numpy has");
    if (parsed.header_bytes != header.size() + 12) throw std::logic_error("another length of the header");
  };
  expect_clean(run_fuzzer("npy_header", kHeaders, fuzz_seconds(), read), kHeaders.size());
}

// With right sizes and checksum around a mutated .npy file: mutations reach the checks behind them.
TEST(FuzzSae, NpyInNpz) {
  std::vector<std::string> seeds;
  for (const std::string& header : kHeaders) {
    seeds.push_back(npy_file(header, std::string(parse_npy_header(npy_file(header, ""), "seed").data_bytes, '\1')));
  }
  const NpzReader reader;
  const auto read = [&](std::string_view npy) { reader(zip_of({{"a.npy", std::string(npy), -1, -1, 0}})); };
  expect_clean(run_fuzzer("npy_in_npz", seeds, fuzz_seconds(), read), seeds.size());
}

TEST(FuzzSae, Pickle) {
  const fs::path data = fs::path(INTROSPECT_SOURCE_DIR) / "tests/sae/data";
  std::vector<std::string> seeds;
  for (const char* name : {"labels_protocol2.pkl", "labels_protocol5.pkl", "array_protocol2.pkl", "array_protocol5.pkl",
                           "array_fortran.pkl", "plain.pkl"}) {
    seeds.push_back(read_text(data / name));
  }
  const auto read = [](std::string_view bytes) {
    const Pickle pickle(bytes, "fuzz", {});
    const at::Tensor& array = pickle.root().array;
    if (array.defined() && array.numel() > 0) array.to(at::kDouble).sum().item<double>();
  };
  expect_clean(run_fuzzer("pickle", seeds, fuzz_seconds(), read), seeds.size());
}

// The archive around a mutated program: tensors are made of storages.
TEST(FuzzSae, PickleOfTorch) {
  const ZipFile archive(fs::path(INTROSPECT_SOURCE_DIR) / "tests/sae/data/mixed.pt", "fuzz");
  const std::string folder = archive.entries().begin()->first.substr(0, archive.entries().begin()->first.find('/') + 1);
  const auto read = [&](std::string_view bytes) {
    const Pickle pickle(bytes, "fuzz", [&](const std::string& key) {
      if (!archive.entries().contains(folder + "data/" + key)) fail("fuzz", "no such storage");
      return archive.read(folder + "data/" + key);
    });
    for (const auto& entry : pickle.root().entries) {
      const at::Tensor& array = entry.second->array;
      if (array.defined() && array.numel() > 0) array.to(at::kDouble).sum().item<double>();
    }
  };
  expect_clean(run_fuzzer("pickle_of_torch", {archive.read(folder + "data.pkl")}, fuzz_seconds(), read), 1);
}

}  // namespace
}  // namespace introspect
