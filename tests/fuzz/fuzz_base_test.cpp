// The readers of src/base under mutated input.
#include "base/json.h"
#include "base/safetensors.h"
#include "fuzz/fuzz.h"

#include <filesystem>
#include <stdexcept>
#include <unistd.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace introspect {
namespace {

void expect_clean(const FuzzResult& result, size_t seeds) {
  EXPECT_EQ(result.failure, "");
  // The seeds are good files, and not all mutations leave them good: else the fuzzer tests nothing.
  EXPECT_GE(result.accepted, static_cast<int64_t>(seeds));
  if (result.runs > static_cast<int64_t>(10 * seeds)) {
    EXPECT_LT(result.accepted, result.runs);
  }
  ::testing::Test::RecordProperty("runs", std::to_string(result.runs));
  ::testing::Test::RecordProperty("accepted", std::to_string(result.accepted));
}

std::string with_length(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof length);
  return text.append(header).append(data);
}

// Opens the bytes as a file and touches every byte of every tensor.
class SafetensorsReader {
 public:
  ~SafetensorsReader() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  void operator()(std::string_view bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<int64_t>(bytes.size()));
    const Safetensors file(path_);
    for (const auto& [name, info] : file.tensors()) {
      if (info.dtype[0] == 'U' && info.dtype != "U8") continue;  // refused by get()
      if (info.dtype.starts_with("F8")) continue;
      const at::Tensor tensor = file.get(name);
      if (tensor.sizes() != at::IntArrayRef(info.shape)) throw std::logic_error("another shape: " + name);
      if (tensor.nbytes() != info.bytes) throw std::logic_error("another size: " + name);
      size_t sum = 0;
      for (size_t i = 0; i < tensor.nbytes(); ++i) sum += static_cast<const unsigned char*>(tensor.data_ptr())[i];
      if (sum > 255 * info.bytes) throw std::logic_error("cannot be: the sum only keeps the loop alive");
    }
  }

 private:
  // Each process has its own: tests run side by side.
  fs::path path_ = fs::temp_directory_path() / ("introspect_fuzz_" + std::to_string(::getpid()) + ".safetensors");
};

const std::vector<std::string> kHeaders = {
    R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"BF16","shape":[20],"data_offsets":[24,64]}})",
    R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"I64","shape":[],"data_offsets":[1,9]},)"
    R"("c":{"dtype":"F16","shape":[0,7],"data_offsets":[9,9]},"d":{"dtype":"BOOL","shape":[55],"data_offsets":[9,64]}})",
    R"({"x":{"dtype":"F8_E4M3","shape":[8,8],"data_offsets":[0,64]}})"};

TEST(FuzzBase, SafetensorsFile) {
  std::vector<std::string> seeds;
  for (const std::string& header : kHeaders) seeds.push_back(with_length(header, std::string(64, '\1')));
  const SafetensorsReader reader;
  expect_clean(run_fuzzer("safetensors", seeds, fuzz_seconds(), std::cref(reader)), seeds.size());
}

// The same with a right length in front: mutations reach the checks behind it more often.
TEST(FuzzBase, SafetensorsHeader) {
  const SafetensorsReader reader;
  const auto read = [&](std::string_view header) { reader(with_length(header, std::string(64, '\1'))); };
  expect_clean(run_fuzzer("safetensors_header", kHeaders, fuzz_seconds(), read), kHeaders.size());
}

// Our builder against nlohmann's own, and what is written against what is read.
TEST(FuzzBase, Json) {
  const std::vector<std::string> seeds = {
      R"({"model_type":"gpt2","n_layer":12,"rope":{"factor":8.0,"low":[1,-2,3.5e-7]},"tie":true,"x":null,"n_layer":3})",
      R"([{"text":"a \"b\" \u00e9 \ud83d\ude00\n"},[],{},[[[[1]]]],"é",18446744073709551615,-9223372036854775808])",
      R"({"model":{"vocab":{"Ġthe":1,"<|endoftext|>":50256},"merges":["Ġ t","h e",["a","b"]]}})"};
  const auto read = [](std::string_view text) {
    const Json expected = Json::parse(text.begin(), text.end(), nullptr, false);
    try {
      const Json value = parse_json(text, "fuzz");
      if (value != expected) throw std::logic_error("nlohmann's parser reads something else");
      if (parse_json(value.dump(), "fuzz") != value) throw std::logic_error("comes back as something else");
    } catch (const Error&) {
      if (!expected.is_discarded()) throw std::logic_error("nlohmann's parser takes it");
      throw;
    }
  };
  expect_clean(run_fuzzer("json", seeds, fuzz_seconds(), read), seeds.size());
}

TEST(FuzzBase, Toml) {
  const std::vector<std::string> seeds = {
      "title = \"x\"\nrate = 5e-5\nseed = 1_000\nflag = true\nday = 2024-05-01T10:00:00Z\n[target]\npath = 'a\\b'\n"
      "layers = [1, 2, [3.5, \"é\"]]\n[[step]]\nname = \"train\"\n[[step]]\nname = \"\"\"\nmore\n\"\"\"\n",
      "a.b.c = 0xff\n\"quoted key\" = {x = 1, y = inf}\n# comment\n[a.d]\ne = nan\nt = 07:32:00.5\nz = -0o17\n"};
  const auto read = [](std::string_view text) { parse_toml(text, "fuzz").dump(); };
  expect_clean(run_fuzzer("toml", seeds, fuzz_seconds(), read), seeds.size());
}

// The fuzzer itself must be able to fail.
TEST(FuzzBase, FindsAPlantedFault) {
  const fs::path working_folder = fs::current_path();
  fs::current_path(fs::temp_directory_path());
  const std::string name = "planted_" + std::to_string(::getpid());
  const auto read = [](std::string_view text) {
    if (text.find("\\ud800") != std::string_view::npos) throw std::runtime_error("surrogate");
    fail("fuzz", "refused");
  };
  const FuzzResult result = run_fuzzer(name, {"{\"a\":1}", "[2]"}, 20, read);
  const fs::path input = "fuzz_" + name + "_failure.bin";
  EXPECT_NE(result.failure.find("threw surrogate"), std::string::npos) << result.failure;
  EXPECT_EQ(result.accepted, 0);
  EXPECT_TRUE(fs::exists(input));
  fs::remove(input);
  fs::current_path(working_folder);
}

}  // namespace
}  // namespace introspect
