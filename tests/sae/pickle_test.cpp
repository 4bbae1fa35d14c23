// Pickles that Python wrote (tests/sae/data/README.md), and hostile ones.
#include "sae/pickle.h"

#include "base/temporary_folder.h"
#include "sae/npz_files.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

const fs::path kData = fs::path(INTROSPECT_SOURCE_DIR) / "tests/sae/data";

TEST(Pickle, ReadsWhatTorchSaved) {
  const at::Tensor expected = at::arange(12, at::kFloat).reshape({3, 4}) * 0.5;
  const Pickle plain(kData / "vectors.pt");
  ASSERT_EQ(plain.root().kind, PickleValue::tensor);
  EXPECT_TRUE(plain.root().array.equal(expected));

  const Pickle mixed(kData / "mixed.pt");
  const PickleValue& root = mixed.root();
  ASSERT_EQ(root.kind, PickleValue::dict);
  EXPECT_TRUE(root.find("half")->array.equal(expected.to(at::kHalf)));
  EXPECT_TRUE(root.find("brain")->array.equal(expected.to(at::kBFloat16)));
  EXPECT_TRUE(root.find("long")->array.equal(at::tensor({int64_t{1}, int64_t{-2}})));
  EXPECT_TRUE(root.find("turned")->array.equal(expected.t()));
  EXPECT_TRUE(root.find("row")->array.equal(expected.slice(0, 1).slice(1, 1, 3)));
  EXPECT_TRUE(root.find("shared")->items.at(1)->array.equal(expected));
  EXPECT_EQ(root.find("name")->characters, "\u00e9");
  EXPECT_EQ(root.find("flag")->number, 1);
  EXPECT_EQ(root.find("number")->number, -3);
  EXPECT_EQ(root.find("real")->value, 2.5);
  EXPECT_EQ(root.find("none")->kind, PickleValue::none);
  EXPECT_EQ(root.find("ordered")->find("a")->number, 1);
  EXPECT_TRUE(root.find("parameter")->array.equal(at::ones({2})));
  EXPECT_EQ(root.find("empty")->array.sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(root.find("scalar")->array.item<float>(), 7);
  EXPECT_EQ(root.find("absent"), nullptr);
}

TEST(Pickle, ReadsArraysAndLabelsOfEveryProtocol) {
  const at::Tensor expected = at::arange(20, at::kFloat).reshape({4, 5});
  for (const char* name : {"array_protocol2", "array_protocol4", "array_protocol5", "array_fortran"}) {
    const Pickle file(kData / (std::string(name) + ".pkl"));
    ASSERT_EQ(file.root().kind, PickleValue::tensor) << name;
    EXPECT_TRUE(file.root().array.equal(expected)) << name;
  }
  for (const int protocol : {2, 3, 4, 5}) {
    const Pickle file(kData / fmt::format("labels_protocol{}.pkl", protocol));
    ASSERT_EQ(file.root().items.size(), 3u);
    const PickleValue& second = *file.root().items[1];
    EXPECT_EQ(second.items[0]->items[1]->number, 2) << protocol;
    EXPECT_EQ(second.items[1]->find("all_labels")->items[0]->characters, "numbers");
    EXPECT_EQ(second.items[1]->find("all_label_scores")->find("numbers")->value, 0.75);
  }
  const Pickle plain(kData / "plain.pkl");
  EXPECT_EQ(plain.root().find("big")->number, int64_t{1} << 40);
  EXPECT_EQ(plain.root().find("negative")->number, -1);
  EXPECT_EQ(plain.root().find("large")->number, 300);
  EXPECT_EQ(plain.root().find("t")->items.size(), 4u);
  EXPECT_EQ(plain.root().find("s")->items.size(), 2u);
  EXPECT_EQ(plain.root().find("b")->characters, "xyz");
  EXPECT_EQ(plain.root().find("long")->characters.size(), 300u);
}

TEST(Pickle, RunsNoCode) {
  EXPECT_TRUE(holds(error_of([] { Pickle(kData / "code.pkl"); }), "posix.system, which is no plain data"));
  EXPECT_TRUE(holds(error_of([] { Pickle(kData / "array_of_objects.pkl"); }), "numpy's type 'O8'"));
  EXPECT_TRUE(holds(error_of([] { Pickle(kData / "legacy.pt"); }), "before version 1.6"));
}

TEST(Pickle, RefusesBrokenBytes) {
  const auto refusal = [](const std::string& bytes) { return error_of([&] { Pickle(bytes, "test", {}); }); };
  EXPECT_TRUE(holds(refusal(""), "expected 1"));
  EXPECT_TRUE(holds(refusal("\x80\x01"), "protocol 1"));
  EXPECT_TRUE(holds(refusal("\x80\x02."), "does not end with one value"));
  EXPECT_TRUE(holds(refusal("(."), "does not end with one value"));
  EXPECT_TRUE(holds(refusal("a"), "nothing is left"));
  EXPECT_TRUE(holds(refusal("e"), "no mark"));
  EXPECT_TRUE(holds(refusal("NNa"), "no container"));
  EXPECT_TRUE(holds(refusal("(NR"), "nothing is left"));
  EXPECT_TRUE(holds(refusal("h\x05"), "no memo"));
  EXPECT_TRUE(holds(refusal(std::string("Nr\xff\xff\xff\x7f", 6)), "a memo of number"));
  EXPECT_TRUE(holds(refusal(std::string("X\xff\xff\xff\x7f", 5)), "bytes are left"));
  EXPECT_TRUE(holds(refusal(std::string("X\1\0\0\0\xff.", 7)), "no UTF-8"));
  EXPECT_TRUE(holds(refusal("i"), "operation 0x69"));
  EXPECT_TRUE(holds(refusal("NQ"), "no storage"));
  EXPECT_TRUE(holds(refusal("cbuiltins\neval\n."), "builtins.eval"));
}

// A tensor of more numbers than its storage has, by sizes, by strides, and by a storage that is not there.
TEST(Pickle, RefusesTensorsThatReachOverTheirStorage) {
  const auto tensor = [](uint8_t size, uint8_t stride, uint8_t count, const std::string& key) {
    const auto number = [](uint8_t value) { return std::string("K") + static_cast<char>(value); };
    const auto text = [](const std::string& value) { return "X" + little_endian(value.size(), 4) + value; };
    return "\x80\x02" + std::string("ctorch._utils\n_rebuild_tensor_v2\n((") + text("storage") +
           "ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + "tQ" + number(0) + number(size) +
           "\x85" + number(stride) + "\x85" + "\x89" + "Nt" + "R.";
  };
  const TemporaryFolder folder;
  const std::string numbers(16, '\0');
  const auto open = [&](const std::string& bytes) {
    const fs::path path =
        folder.write("a.pt", zip_of({{"archive/data.pkl", bytes, -1, -1, 0}, {"archive/data/0", numbers, -1, -1, 0}}));
    return Pickle(path).root().array.sizes().vec();
  };
  EXPECT_EQ(open(tensor(4, 1, 4, "0")), (std::vector<int64_t>{4}));
  EXPECT_EQ(open(tensor(2, 3, 4, "0")), (std::vector<int64_t>{2}));
  EXPECT_TRUE(holds(error_of([&] { open(tensor(5, 1, 4, "0")); }), "broken shape"));
  EXPECT_TRUE(holds(error_of([&] { open(tensor(5, 0, 4, "0")); }), "broken shape"));
  EXPECT_TRUE(holds(error_of([&] { open(tensor(3, 2, 4, "0")); }), "reaches over"));
  EXPECT_TRUE(holds(error_of([&] { open(tensor(4, 1, 5, "0")); }), "expected 5 numbers"));
  EXPECT_TRUE(holds(error_of([&] { open(tensor(4, 1, 4, "1")); }), "no storage '1'"));
}

}  // namespace
}  // namespace introspect
