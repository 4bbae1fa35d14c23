#include "base/sha256.h"

#include "base/error.h"
#include "base/files.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr uint64_t kSampledFrom = 64'000'000;
constexpr uint64_t kPiece = 1 << 20;
constexpr uint64_t kSample = 4096;

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

}  // namespace

void Sha256::digest_block(const uint8_t* block) {
  uint32_t word[64];
  for (int i = 0; i < 16; ++i) {
    word[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
              uint32_t{block[4 * i + 3]};
  }
  for (int i = 16; i < 64; ++i) {
    const uint32_t first = std::rotr(word[i - 15], 7) ^ std::rotr(word[i - 15], 18) ^ word[i - 15] >> 3;
    const uint32_t second = std::rotr(word[i - 2], 17) ^ std::rotr(word[i - 2], 19) ^ word[i - 2] >> 10;
    word[i] = word[i - 16] + first + word[i - 7] + second;
  }
  uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3];
  uint32_t e = state_[4], f = state_[5], g = state_[6], h = state_[7];
  for (int i = 0; i < 64; ++i) {
    const uint32_t choice = (e & f) ^ (~e & g);
    const uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    const uint32_t one = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + choice + kRound[i] + word[i];
    const uint32_t two = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + majority;
    h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
  }
  const uint32_t sum[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state_[i] += sum[i];
}

void Sha256::add(const void* bytes, size_t count) {
  const auto* next = static_cast<const uint8_t*>(bytes);
  total_ += count;
  if (pending_count_ > 0) {
    const size_t taken = std::min(count, sizeof pending_ - pending_count_);
    if (taken > 0) std::memcpy(pending_ + pending_count_, next, taken);
    pending_count_ += taken, next += taken, count -= taken;
    if (pending_count_ < sizeof pending_) return;
    digest_block(pending_);
    pending_count_ = 0;
  }
  for (; count >= 64; next += 64, count -= 64) digest_block(next);
  if (count > 0) std::memcpy(pending_, next, count);
  pending_count_ = count;
}

std::string Sha256::finish() {
  const uint64_t bits = total_ * 8;
  const uint8_t one = 0x80, zero = 0;
  add(&one, 1);
  while (pending_count_ != 56) add(&zero, 1);
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  add(length, sizeof length);
  std::string text;
  for (const uint32_t word : state_) text += fmt::format("{:08x}", word);
  return text;
}

std::string sha256_text(std::string_view text) {
  Sha256 hash;
  hash.add(text.data(), text.size());
  return hash.finish();
}

namespace {

// Feeds up to `count` bytes from `offset` on; returns how many there were.
uint64_t add_range(Sha256& hash, int descriptor, uint64_t offset, uint64_t count, const fs::path& path) {
  std::vector<char> buffer(std::min<uint64_t>(count, kPiece));
  uint64_t done = 0;
  while (done < count) {
    const ssize_t read = ::pread(descriptor, buffer.data(), std::min<uint64_t>(count - done, buffer.size()),
                                 static_cast<off_t>(offset + done));
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) fail("files", fmt::format("cannot hash: {} ({})", std::strerror(errno), path.string()));
    if (read == 0) break;
    hash.add(buffer.data(), static_cast<size_t>(read));
    done += static_cast<uint64_t>(read);
  }
  return done;
}

// An open file that closes itself.
struct Reading {
  explicit Reading(const fs::path& path) : descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor < 0) fail("files", fmt::format("cannot open: {} ({})", std::strerror(errno), path.string()));
  }
  ~Reading() { ::close(descriptor); }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  int descriptor;
};

}  // namespace

std::string sha256_file(const fs::path& path) {
  const Reading file(path);
  Sha256 hash;
  add_range(hash, file.descriptor, 0, UINT64_MAX, path);
  return hash.finish();
}

std::string fingerprint_file(const fs::path& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) fail("files", fmt::format("cannot hash: {} ({})", error.message(), path.string()));
  if (size <= kSampledFrom) return sha256_file(path);
  const Reading file(path);
  Sha256 hash;
  const std::string size_text = std::to_string(size) + "\n";
  hash.add(size_text.data(), size_text.size());
  add_range(hash, file.descriptor, 0, kPiece, path);
  for (uint64_t at = kPiece; at < size - kPiece; at += kPiece) add_range(hash, file.descriptor, at, kSample, path);
  add_range(hash, file.descriptor, size - kPiece, kPiece, path);
  return "sampled:" + hash.finish();
}

std::string sha256_folder(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    const std::string name = entry->path().filename().string();
    if (name.starts_with(".")) {
      if (entry->is_directory(ignored)) entry.disable_recursion_pending();
      continue;
    }
    // Model folders of the Hugging Face cache consist of links to files: links to files count as files.
    if (!entry->is_regular_file(ignored) || name == "run.json" || name.ends_with(".tmp")) continue;
    names.push_back(entry->path().lexically_relative(folder).generic_string());
  }
  if (error) fail("files", fmt::format("cannot list: {} ({})", error.message(), folder.string()));
  std::sort(names.begin(), names.end());
  Sha256 hash;
  for (const std::string& name : names) {
    // The terminating zero keeps ("ab", ...) and ("a", "b...") apart.
    hash.add(name.c_str(), name.size() + 1);
    const std::string fingerprint = fingerprint_file(folder / name);
    hash.add(fingerprint.data(), fingerprint.size());
  }
  return hash.finish();
}

}  // namespace introspect
