#include "sae/npz.h"

#include "base/temporary_folder.h"
#include "sae/npz_files.h"

#include <cstdint>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace introspect {
namespace {

template <class Number>
std::string bytes_of(const std::vector<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

Npz open_one(const TemporaryFolder& folder, std::string_view npy) {
  return Npz(folder.write("one.npz", zip_of({{"a.npy", std::string(npy), -1, -1, 0}})));
}

std::string error_of_npy(std::string_view npy) {
  return error_of([&] { parse_npy_header(npy, "label"); });
}
std::string error_of_header(const std::string& header) {
  return error_of_npy(npy_file(header, ""));
}

TEST(Npz, ReadsEveryTypeAndVersion) {
  const TemporaryFolder folder;
  const std::vector<float> floats = {1.5f, -2, 0.25f, 3, 4, -0.5f};
  for (const int version : {1, 2, 3}) {
    const at::Tensor read = open_one(folder, npy_file(npy_header("<f4", {2, 3}), bytes_of(floats), version)).get("a");
    EXPECT_TRUE(at::equal(read, at::tensor(floats).reshape({2, 3}))) << version;
  }
  const auto get = [&](const char* type, const std::string& data) {
    return open_one(folder, npy_file(npy_header(type, {2}), data)).get("a");
  };
  EXPECT_TRUE(at::equal(get("<f8", bytes_of<double>({1e300, -2})), at::tensor({1e300, -2.0}, at::kDouble)));
  EXPECT_TRUE(at::equal(get("<f2", bytes_of<uint16_t>({0x3C00, 0xC100})), at::tensor({1.0, -2.5}).to(at::kHalf)));
  EXPECT_TRUE(at::equal(get("<i4", bytes_of<int32_t>({-7, 1 << 30})), at::tensor({-7, 1 << 30}, at::kInt)));
  EXPECT_TRUE(at::equal(get("<i8", bytes_of<int64_t>({-7, int64_t{1} << 60})),
                        at::tensor(std::vector<int64_t>{-7, int64_t{1} << 60}, at::kLong)));
}

TEST(Npz, FortranOrderIsTheSameArray) {
  const TemporaryFolder folder;
  const at::Tensor numbers = at::arange(6, at::kFloat).reshape({2, 3});
  const Npz file = open_one(folder, npy_of(numbers, /*fortran_order=*/true));
  EXPECT_TRUE(file.arrays().at("a").fortran_order);
  EXPECT_TRUE(at::equal(file.get("a"), numbers));
  // of three dimensions: the first index runs fastest
  std::vector<float> data;
  for (int k = 0; k < 4; ++k) {
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 2; ++i) data.push_back(static_cast<float>(100 * i + 10 * j + k));
    }
  }
  const at::Tensor cube = open_one(folder, npy_file(npy_header("<f4", {2, 3, 4}, true), bytes_of(data))).get("a");
  EXPECT_EQ(cube.sizes().vec(), (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(cube[1][2][3].item<float>(), 123);
  EXPECT_EQ(cube[0][1][2].item<float>(), 12);
}

TEST(Npz, NumbersEmptyArraysAndSeveralEntries) {
  const TemporaryFolder folder;
  const std::string number = npy_file(npy_header("<f4", {}), bytes_of<float>({7}));
  const std::string empty = npy_file(npy_header("<f4", {0, 5}), "");
  const Npz file(folder.write("x.npz", zip_of({{"n.npy", number, -1, -1, 0}, {"e.npy", empty, -1, -1, 0}})));
  EXPECT_EQ(file.arrays().size(), 2u);
  EXPECT_EQ(file.get("n").item<float>(), 7);
  EXPECT_EQ(file.get("e").sizes().vec(), (std::vector<int64_t>{0, 5}));
  EXPECT_TRUE(holds(error_of([&] { file.get("absent"); }), "array 'absent': not there"));
}

// As numpy.savez_compressed writes it: deflated, with the sizes in 64 bits.
TEST(Npz, ReadsDeflatedEntries) {
  const std::string hex =
      "504b03042d0000000800000021008e973ad1ffffffffffffffff05001400612e6e707901001000e00900000000000074000000000000"
      "009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416"
      "a402f91a463a0ac606069a3a0ab50a64022e060685030c0c07f633303080b03d900dc40a0e0c0c090ea372a372a372a372a372a372a3"
      "72a372a372a4cb0100504b01022d032d0000000800000021008e973ad174000000e00900000500000000000000000000008001000000"
      "00612e6e7079504b0506000000000100010033000000ab0000000000";
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  const TemporaryFolder folder;
  const at::Tensor read = Npz(folder.write("deflated.npz", bytes)).get("a");
  ASSERT_EQ(read.sizes().vec(), (std::vector<int64_t>{2, 300}));
  for (int64_t i = 0; i < 600; ++i) EXPECT_EQ(read.data_ptr<float>()[i], static_cast<float>(i % 7) - 2.5f);
}

TEST(Npz, HostileHeadersAreRefused) {
  EXPECT_TRUE(holds(error_of_npy(""), "does not begin with"));
  EXPECT_TRUE(holds(error_of_npy("\x93NUMPY"), "does not begin with"));
  EXPECT_TRUE(holds(error_of_npy(npy_file("", "", 4)), "version 4.0"));
  EXPECT_TRUE(holds(error_of_npy(npy_file("", "", 2).substr(0, 11)), "ends within its length"));
  EXPECT_TRUE(holds(error_of_npy(npy_file(std::string(70000, ' '), "", 2)), "expected at most 65536"));
  const std::string good = npy_file(npy_header("<f4", {2}), "");
  EXPECT_TRUE(holds(error_of_npy(good.substr(0, good.size() - 5)), "but the file ends"));
  EXPECT_TRUE(holds(error_of_header(""), "'{' expected"));
  EXPECT_TRUE(holds(error_of_header("{'descr': '<f4', 'fortran_order': False}"), "is missing"));
  EXPECT_TRUE(holds(error_of_header("{'descr': '<f4', 'descr': '<f4'}"), "twice or unknown"));
  EXPECT_TRUE(holds(error_of_header("{'other': 1}"), "twice or unknown"));
  EXPECT_TRUE(holds(error_of_header(npy_header("<f4", {2}) + "x"), "behind the closing"));
  EXPECT_TRUE(holds(error_of_header("{'descr': '<f4"), "does not end"));
  EXPECT_TRUE(holds(error_of_header("{'descr': '<f4', 'fortran_order': 1}"), "True or False"));
  EXPECT_TRUE(holds(error_of_header("{'shape': (2 3)}"), "a comma or )"));
  EXPECT_TRUE(holds(error_of_header("{'shape': (-2,)}"), "integers of at least 0"));
  EXPECT_TRUE(holds(error_of_header("{'shape': (99999999999999999999,)}"), "integers of at least 0"));
  EXPECT_TRUE(holds(error_of_header("{'shape': ("), "integers of at least 0"));
  EXPECT_TRUE(holds(error_of_header(npy_header("<f4", std::vector<int64_t>(33, 1))), "more than 32 dimensions"));
  EXPECT_TRUE(holds(error_of_header(npy_header("<f4", {INT64_MAX / 2, 4})), "overflows"));
  EXPECT_TRUE(holds(error_of_header(npy_header("<f4", {0, INT64_MAX, 4})), "overflows"));
}

TEST(Npz, OtherTypesAreRefusedByName) {
  for (const char* type : {">f4", "|b1", "<U5", "<c8", "|V2", "<u2"}) {
    EXPECT_TRUE(holds(error_of_header(npy_header(type, {2})), fmt::format("type '{}'", type)));
  }
  EXPECT_TRUE(holds(error_of_header(npy_header("|O", {2})), "pickled Python objects"));
  EXPECT_TRUE(holds(error_of_header("{'descr': [('x', '<f4')]}"), "a record of several fields"));
}

TEST(Npz, HostileArchivesAreRefused) {
  const TemporaryFolder folder;
  const auto error = [&](const std::vector<ZipEntry>& entries) {
    return error_of([&] { Npz(folder.write("x.npz", zip_of(entries))).get("a"); });
  };
  const std::string good = npy_file(npy_header("<f4", {2}), bytes_of<float>({1, 2}));
  EXPECT_TRUE(holds(error({}), "got 0 arrays"));
  EXPECT_TRUE(holds(error({{"a.txt", good, -1, -1, 0}}), "end in .npy"));
  EXPECT_TRUE(holds(error({{"a.npy", good, -1, -1, 0}, {"a.npy", good, -1, -1, 0}}), "twice"));
  EXPECT_TRUE(holds(error({{"a.npy", good.substr(0, good.size() - 1), -1, -1, 0}}), "expected"));
  EXPECT_TRUE(holds(error({{"a.npy", good + "x", -1, -1, 0}}), "expected"));
  EXPECT_TRUE(holds(error({{"a.npy", good, -1, -1, 12}}), "compression method 12"));
  // sizes that are not true: of a stored entry, of one beyond the file's end, and of a deflated one
  EXPECT_TRUE(holds(error({{"a.npy", good, 4'000'000'000, -1, 0}}), "cannot hold"));
  EXPECT_TRUE(holds(error({{"a.npy", good, 4'000'000'000, 4'000'000'000, 0}}), "of a file of"));
  EXPECT_TRUE(holds(error({{"a.npy", good, 4'000'000'000, -1, 8}}), "cannot hold"));
  // an array larger than its entry
  EXPECT_TRUE(holds(error({{"a.npy", npy_file(npy_header("<f4", {1'000'000'000}), "1234"), -1, -1, 0}}), "expected"));
}

TEST(Npz, TruncatedAndDamagedFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string whole = npz_of({{"a", at::arange(50, at::kFloat)}, {"b", at::zeros({3, 4})}});
  for (size_t size = 0; size < whole.size(); size += 7) {
    const fs::path path = folder.write("x.npz", whole.substr(0, size));
    EXPECT_THROW(Npz(path).get("a"), Error) << size;
  }
  std::string damaged = whole;
  damaged[damaged.find("\x93NUMPY") + 120] ^= 4;  // within the numbers of "a"
  const Npz file(folder.write("damaged.npz", damaged));
  EXPECT_TRUE(holds(error_of([&] { file.get("a"); }), "broken"));
  EXPECT_TRUE(holds(error_of([&] { Npz(folder / "absent.npz"); }), "absent.npz"));
}

}  // namespace
}  // namespace introspect
