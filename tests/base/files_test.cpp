#include "base/files.h"

#include "base/sha256.h"
#include "base/temporary_folder.h"

#include <sys/stat.h>
#include <unistd.h>

namespace introspect {
namespace {

TEST(ReadText, ReadsBytesAndNamesFaults) {
  TemporaryFolder folder;
  const std::string bytes("a\0b\r\n\xff", 6);
  EXPECT_EQ(read_text(folder.write("a", bytes)), bytes);
  EXPECT_EQ(read_text(folder.write("empty", "")), "");
  EXPECT_FALSE(read_text("/proc/self/status").empty());  // says that its size is 0
  const std::string text = error_of([&] { read_text(folder / "none"); });
  EXPECT_TRUE(holds(text, "[files] cannot open: No such file or directory (" + (folder / "none").string() + ")"));
  EXPECT_TRUE(holds(error_of([&] { read_text(folder.path()); }), "Is a directory"));
}

TEST(AtomicFile, AppearsWithCommit) {
  TemporaryFolder folder;
  {
    AtomicFile file(folder / "a");
    file.write("one ");
    file.write("two");
    EXPECT_FALSE(fs::exists(folder / "a"));
    file.commit();
    EXPECT_EQ(read_text(folder / "a"), "one two");
    EXPECT_TRUE(holds(error_of([&] { file.commit(); }), "committed twice"));
    EXPECT_TRUE(holds(error_of([&] { file.write("x"); }), "write after commit"));
  }
  EXPECT_EQ(read_text(folder / "a"), "one two");
  EXPECT_FALSE(fs::exists(folder / "a.tmp"));
}

TEST(AtomicFile, WithoutCommitTheOldFileStays) {
  TemporaryFolder folder;
  write_text(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new");
  }
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_FALSE(fs::exists(folder / "a.tmp"));
}

// /dev/full takes every write with "no space left": the temporary's name is made a link to it.
TEST(AtomicFile, AFullDiskLeavesNothing) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "this machine has no /dev/full";
  TemporaryFolder folder;
  fs::create_symlink("/dev/full", folder / "a.tmp");
  const std::string text = error_of([&] { write_text(folder / "a", "x"); });
  EXPECT_TRUE(holds(text, "cannot write: No space left on device"));
  EXPECT_TRUE(holds(text, "hint: the disk is full"));
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(AtomicFile, NamesFaultsOfFolders) {
  TemporaryFolder folder;
  EXPECT_TRUE(holds(error_of([&] { write_text(folder / "none/a", "x"); }), "cannot create: No such file or directory"));
  fs::create_directory(folder / "taken");
  EXPECT_TRUE(holds(error_of([&] { write_text(folder / "taken", "x"); }), "cannot rename the temporary"));
  EXPECT_FALSE(fs::exists(folder / "taken.tmp"));
}

TEST(Sha256, KnownVectors) {  // FIPS 180-4 and NIST's examples
  EXPECT_EQ(sha256_text(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_text(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesMakeNoDifference) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += static_cast<char>(i * 7);
  const std::string whole = sha256_text(text);
  for (const size_t piece : {1, 3, 55, 56, 63, 64, 65, 127}) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += piece) hash.add(text.data() + at, std::min(piece, text.size() - at));
    EXPECT_EQ(hash.finish(), whole) << piece;
  }
}

TEST(Sha256, OfFiles) {
  TemporaryFolder folder;
  const std::string large(3'000'001, 'q');
  EXPECT_EQ(sha256_file(folder.write("a", large)), sha256_text(large));
  EXPECT_EQ(fingerprint_file(folder / "a"), sha256_text(large));
  EXPECT_TRUE(holds(error_of([&] { sha256_file(folder / "none"); }), "No such file"));
  EXPECT_TRUE(holds(error_of([&] { fingerprint_file(folder / "none"); }), "No such file"));
}

TEST(Fingerprint, SeesChangesOfLargeFiles) {
  TemporaryFolder folder;
  const fs::path path = folder.write("large", "");
  fs::resize_file(path, 70'000'000);  // a hole on disk: no space is used
  const std::string first = fingerprint_file(path);
  EXPECT_TRUE(first.starts_with("sampled:"));
  EXPECT_EQ(first.size(), 8 + 64u);
  fs::last_write_time(path, fs::file_time_type::clock::now());
  EXPECT_EQ(fingerprint_file(path), first);
  const auto with_change_at = [&](int64_t position, size_t count) {
    const std::string change(count, 'x'), zeros(count, '\0');
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(position).write(change.data(), static_cast<int64_t>(count)).flush();
    const std::string result = fingerprint_file(path);
    file.seekp(position).write(zeros.data(), static_cast<int64_t>(count)).flush();
    return result;
  };
  EXPECT_NE(with_change_at(1000, 1), first);
  EXPECT_NE(with_change_at(69'999'999, 1), first);
  EXPECT_NE(with_change_at(30'000'001, (1 << 20) + 4096), first);
  EXPECT_EQ(fingerprint_file(path), first);
  fs::resize_file(path, 70'000'001);
  EXPECT_NE(fingerprint_file(path), first);
}

TEST(Sha256, OfFolders) {
  TemporaryFolder folder;
  folder.write("in/b/c", "1");
  folder.write("in/a", "2");
  const std::string first = sha256_folder(folder / "in");
  folder.write("in/run.json", "{}");
  folder.write("in/b/run.json", "{}");
  folder.write("in/b/d.tmp", "x");
  folder.write("in/.cache/times", "x");
  EXPECT_EQ(sha256_folder(folder / "in"), first);
  fs::rename(folder / "in", folder / "moved");
  EXPECT_EQ(sha256_folder(folder / "moved"), first);
  folder.write("moved/a", "3");
  EXPECT_NE(sha256_folder(folder / "moved"), first);
  folder.write("moved/a", "2");
  EXPECT_EQ(sha256_folder(folder / "moved"), first);
  fs::rename(folder / "moved/a", folder / "moved/b/a");
  EXPECT_NE(sha256_folder(folder / "moved"), first);
  EXPECT_TRUE(holds(error_of([&] { sha256_folder(folder / "none"); }), "cannot list"));
}

TEST(Sha256, FollowsLinksToFiles) {  // as in the cache of Hugging Face
  TemporaryFolder folder;
  folder.write("blobs/1", "weights");
  fs::create_directory(folder / "snapshot");
  fs::create_symlink(folder / "blobs/1", folder / "snapshot/model.safetensors");
  const std::string first = sha256_folder(folder / "snapshot");
  folder.write("blobs/1", "other weights");
  EXPECT_NE(sha256_folder(folder / "snapshot"), first);
}

}  // namespace
}  // namespace introspect
