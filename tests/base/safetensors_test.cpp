#include "base/safetensors.h"

#include "base/json.h"
#include "base/temporary_folder.h"

#include <ATen/Functions.h>

namespace introspect {
namespace {

std::string with_length(const std::string& header, const std::string& data = "") {
  uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

// What opening a file of these bytes says.
std::string complaint(const std::string& bytes) {
  TemporaryFolder folder;
  const fs::path path = folder.write("bad.safetensors", bytes);
  const std::string text = error_of([&] { Safetensors file(path); });
  EXPECT_TRUE(holds(text, path.string()));
  return text;
}

std::string complaint(const std::string& header, const std::string& data) {
  return complaint(with_length(header, data));
}

const std::string kSixteen(16, 'x');

TEST(Safetensors, ReadsWhatTheReferenceImplementationWrites) {
  TemporaryFolder folder;
  const float values[] = {1.5f, -2.0f, 0.25f, 1e-20f, 7, 8};
  const std::string data(reinterpret_cast<const char*>(values), sizeof values);
  const Safetensors file(folder.write(
      "a.safetensors",
      with_length(R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}  )",
                  data)));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_TRUE(file.contains("w"));
  EXPECT_FALSE(file.contains("v"));
  EXPECT_EQ(file.tensors().at("w").bytes, 24u);
  const at::Tensor tensor = file.get("w");
  EXPECT_EQ(tensor.sizes(), (at::IntArrayRef{2, 3}));
  EXPECT_EQ(tensor[0][1].item<float>(), -2.0f);
  EXPECT_EQ(tensor[0][2].item<float>(), 0.25f);
  EXPECT_EQ(tensor[1][0].item<float>(), 1e-20f);
  EXPECT_TRUE(holds(error_of([&] { file.get("v"); }), "no tensor 'v'"));
}

TEST(Safetensors, TensorsOutliveTheFileObject) {
  TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {{"w", at::arange(1000)}});
  at::Tensor tensor;
  { tensor = Safetensors(folder / "a.safetensors").get("w"); }
  fs::remove(folder / "a.safetensors");
  EXPECT_EQ(tensor.sum().item<int64_t>(), 499500);
}

TEST(Safetensors, EveryTypeComesBackAsItWas) {
  TemporaryFolder folder;
  const at::Tensor numbers = at::arange(-8, 7, 0.5, at::kDouble).reshape({2, 3, 5});
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto type :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kBool}) {
    tensors.emplace_back(c10::toString(type), numbers.to(type));
  }
  tensors.emplace_back("Byte", numbers.abs().to(at::kByte));
  tensors.emplace_back("scalar", at::scalar_tensor(4.5));
  tensors.emplace_back("empty", at::empty({3, 0, 2}));
  tensors.emplace_back("transposed", numbers.transpose(0, 2));
  tensors.emplace_back("after an odd byte", numbers.to(at::kFloat));
  write_safetensors(folder / "a.safetensors", tensors, {{"note", "é \"quoted\""}});
  const Safetensors file(folder / "a.safetensors");
  EXPECT_EQ(file.metadata().at("note"), "é \"quoted\"");
  EXPECT_EQ(file.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor back = file.get(name);
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(back.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(at::equal(back, tensor)) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(back.data_ptr()) % back.element_size(), 0u) << name;
  }
  EXPECT_FALSE(fs::exists(folder / "a.safetensors.tmp"));
}

TEST(Safetensors, DataBeginsAtAMultipleOfEight) {
  TemporaryFolder folder;
  for (const std::string name : {"a", "ab", "abc", "abcd", "abcde"}) {
    write_safetensors(folder / "a.safetensors", {{name, at::ones({2})}});
    EXPECT_EQ(Safetensors(folder / "a.safetensors").tensors().at(name).offset % 8, 0u) << name;
  }
}

TEST(Safetensors, UnalignedTensorsAreCopied) {
  TemporaryFolder folder;
  const float values[] = {3, 4};
  std::string data = "b";
  data.append(reinterpret_cast<const char*>(values), sizeof values);
  const Safetensors file(
      folder.write("a.safetensors", with_length(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                                R"("w":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})",
                                                data)));
  const at::Tensor tensor = file.get("w");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % 4, 0u);
  EXPECT_EQ(tensor[0].item<float>(), 3);
  EXPECT_EQ(tensor[1].item<float>(), 4);
  EXPECT_EQ(file.get("b")[0].item<int>(), 'b');
}

TEST(Safetensors, AnEmptyFileOfNoTensorsIsFine) {
  TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {});
  EXPECT_TRUE(Safetensors(folder / "a.safetensors").tensors().empty());
}

TEST(Safetensors, TypesThatLibtorchLacksAreNamed) {
  TemporaryFolder folder;
  for (const auto& [type, bytes] : {std::pair<std::string, int>{"U16", 2}, {"U32", 4}, {"U64", 8}}) {
    const Safetensors file(folder.write(
        "a.safetensors", with_length("{\"w\":{\"dtype\":\"" + type + "\",\"shape\":[2],\"data_offsets\":[0," +
                                         std::to_string(2 * bytes) + "]}}",
                                     std::string(2 * bytes, '\1'))));
    EXPECT_TRUE(holds(error_of([&] { file.get("w"); }), "tensor 'w': this libtorch has no type for " + type));
  }
}

TEST(Safetensors, RefusesBadHeaders) {
  EXPECT_TRUE(holds(complaint(""), "shorter than 8 bytes"));
  EXPECT_TRUE(holds(complaint("1234567"), "shorter than 8 bytes"));
  EXPECT_TRUE(holds(complaint(std::string(8, '\xff')), "expected at most 100000000"));
  EXPECT_TRUE(holds(complaint(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8)), "expected at most 100000000"));
  EXPECT_TRUE(holds(complaint(with_length("{}").substr(0, 9)), "the file ends 1 bytes after"));
  EXPECT_TRUE(holds(complaint("version https://git-lfs.github.com/spec/v1"), "Git LFS pointer"));
  EXPECT_TRUE(holds(complaint("", ""), "parse error"));
  EXPECT_TRUE(holds(complaint("{", ""), "parse error"));
  EXPECT_TRUE(holds(complaint("{} x", ""), "parse error"));
  EXPECT_TRUE(holds(complaint("[]", ""), "expected a JSON object"));
  EXPECT_TRUE(holds(complaint("null", ""), "expected a JSON object"));
  EXPECT_TRUE(holds(complaint(std::string(200'000, '['), ""), "nested deeper"));
  EXPECT_TRUE(holds(complaint(R"({"__metadata__":{"a":1}})", ""), "__metadata__ 'a': got 1, expected a string"));
  EXPECT_TRUE(holds(complaint(R"({"__metadata__":[]})", ""), "__metadata__: got []"));
}

TEST(Safetensors, RefusesBadFields) {
  const auto tensor = [](const std::string& fields) { return complaint(R"({"w":{)" + fields + "}}", kSixteen); };
  EXPECT_TRUE(holds(complaint(R"({"w":[]})", kSixteen), "tensor 'w': got [], expected an object"));
  EXPECT_TRUE(holds(tensor(R"("shape":[4],"data_offsets":[0,16])"), "'dtype' is missing"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","data_offsets":[0,16])"), "'shape' is missing"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4])"), "'data_offsets' is missing"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F33","shape":[4],"data_offsets":[0,16])"), "unknown dtype \"F33\""));
  EXPECT_TRUE(holds(tensor(R"("dtype":4,"shape":[4],"data_offsets":[0,16])"), "unknown dtype 4"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":4,"data_offsets":[0,16])"), "got shape 4"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])"), "got extent -4"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4.0],"data_offsets":[0,16])"), "got extent 4.0"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":["4"],"data_offsets":[0,16])"), "got extent \"4\""));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16])"), "got extent"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16])"), "overflows"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0])"), "overflows"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0])"), "expected [begin, end]"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[-1,15])"), "expected [begin, end]"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,1.6e1])"), "expected [begin, end]"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4],"data_offsets":{"a":0})"), "expected [begin, end]"));
}

TEST(Safetensors, RefusesBadOffsets) {
  const auto tensor = [](const std::string& fields) { return complaint(R"({"w":{)" + fields + "}}", kSixteen); };
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,12])"),
                    "tensor 'w': offsets (0, 12), expected 16 bytes for F32 [4]"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[],"data_offsets":[0,16])"), "expected 4 bytes for F32 []"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[5],"data_offsets":[0,20])"), "outside the file's 16 data bytes"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[16,0])"), "outside"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[18446744073709551600,18446744073709551615])"),
                    "outside"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"), "4 bytes behind the last tensor"));
  EXPECT_TRUE(holds(tensor(R"("dtype":"F32","shape":[3],"data_offsets":[4,16])"), "there is a hole"));
  const std::string first = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":)";
  EXPECT_TRUE(holds(complaint(first + R"({"dtype":"F32","shape":[3],"data_offsets":[4,16]}})", kSixteen),
                    "tensor 'b': begins at data byte 4, expected 8: there is an overlap"));
  EXPECT_TRUE(holds(complaint(first + R"({"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", kSixteen), "a hole"));
  EXPECT_TRUE(holds(complaint(first + R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", kSixteen), "overlap"));
  EXPECT_TRUE(holds(complaint(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
                              R"("a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
                              kSixteen),
                    "key 'a' is given twice"));
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  TemporaryFolder folder;
  EXPECT_TRUE(holds(error_of([&] { Safetensors file(folder / "none"); }), "No such file"));
  EXPECT_TRUE(holds(error_of([&] { Safetensors file(folder.path()); }), "not a file"));
}

TEST(Safetensors, WritesNothingThatItCouldNotRead) {
  TemporaryFolder folder;
  const fs::path path = folder / "a.safetensors";
  const at::Tensor one = at::ones({1});
  EXPECT_TRUE(holds(error_of([&] { write_safetensors(path, {{"a", one}, {"a", one}}); }), "given twice"));
  EXPECT_TRUE(holds(error_of([&] { write_safetensors(path, {{"__metadata__", one}}); }), "keeps this name"));
  EXPECT_TRUE(holds(error_of([&] { write_safetensors(path, {{"a", at::Tensor()}}); }), "undefined"));
  EXPECT_TRUE(holds(error_of([&] {
                      write_safetensors(path, {{"a", one.to(at::kComplexFloat)}});
                    }),
                    "no type for ComplexFloat"));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

class CheckpointFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(folder / "model-1.safetensors", {{"a", at::ones({2})}, {"b", at::full({3}, 2.0)}});
    write_safetensors(folder / "model-2.safetensors", {{"c", at::full({4}, 3.0)}});
  }
  void write_index(const std::string& text) { folder.write("model.safetensors.index.json", text); }
  std::string error() {
    return error_of([&] { Checkpoint checkpoint(folder.path()); });
  }
  TemporaryFolder folder;
};

TEST_F(CheckpointFolder, ReadsShards) {
  write_index(R"({"weight_map":{"c":"model-2.safetensors","a":"model-1.safetensors","b":"model-1.safetensors"}})");
  const Checkpoint checkpoint(folder.path());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(checkpoint.bytes(), 36u);
  EXPECT_EQ(checkpoint.get("c").sum().item<float>(), 12);
  EXPECT_EQ(checkpoint.info("b").shape, std::vector<int64_t>{3});
  EXPECT_TRUE(checkpoint.contains("a"));
  EXPECT_FALSE(checkpoint.contains("d"));
  EXPECT_TRUE(holds(error_of([&] { checkpoint.get("d"); }), "no tensor 'd'"));
  EXPECT_TRUE(holds(error_of([&] { checkpoint.info("d"); }), "no tensor 'd'"));
}

TEST_F(CheckpointFolder, ReadsASingleFileAndAnAdapter) {
  write_safetensors(folder / "model.safetensors", {{"x", at::ones({1})}});
  write_safetensors(folder / "adapter_model.safetensors", {{"y", at::ones({1})}});
  EXPECT_EQ(Checkpoint(folder.path()).names(), std::vector<std::string>{"x"});
  EXPECT_EQ(Checkpoint(folder.path(), "adapter_model").names(), std::vector<std::string>{"y"});
}

TEST_F(CheckpointFolder, NamesWhatIsMissing) {
  EXPECT_TRUE(holds(error(), "found neither model.safetensors nor model.safetensors.index.json"));
  folder.write("pytorch_model.bin", "x");
  EXPECT_TRUE(holds(error(), "pickled"));
  write_index(R"({"weight_map":{"a":"model-1.safetensors","z":"model-9.safetensors"}})");
  EXPECT_TRUE(holds(error(), "tensor 'z': shard model-9.safetensors is missing"));
  write_index(R"({"weight_map":{"a":"model-2.safetensors"}})");
  EXPECT_TRUE(holds(error(), "tensor 'a': the index names shard model-2.safetensors, which does not hold it"));
}

TEST_F(CheckpointFolder, RefusesBadIndexes) {
  write_index("{");
  EXPECT_TRUE(holds(error(), "parse error"));
  write_index("[]");
  EXPECT_TRUE(holds(error(), "no object 'weight_map'"));
  write_index(R"({"weight_map":[]})");
  EXPECT_TRUE(holds(error(), "no object 'weight_map'"));
  write_index(R"({"weight_map":{}})");
  EXPECT_TRUE(holds(error(), "'weight_map' is empty"));
  write_index(R"({"weight_map":{"a":3}})");
  EXPECT_TRUE(holds(error(), "tensor 'a': got shard 3"));
  write_index(R"({"weight_map":{"a":"../model-1.safetensors"}})");
  EXPECT_TRUE(holds(error(), "expected the name of a file of the folder"));
}

}  // namespace
}  // namespace introspect
