#include "parquet/codecs.h"

#include "base/error.h"
#include "parquet/bytes.h"
#include "parquet/metadata.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

namespace introspect::parquet {

namespace {

constexpr uint64_t kLargestPage = uint64_t{1} << 30;  // writers make pages of about a megabyte
constexpr size_t kStep = size_t{1} << 20;
constexpr uint64_t kSnappyRatio = 32;  // a copy of 64 bytes takes at least 2 or 3

[[noreturn]] void refuse_page(const std::string& codec, const std::string& message, const std::string& label) {
  refuse(fmt::format("a page that {} cannot read: {}", codec, message), label);
}

std::string with_snappy(std::string_view stored, uint64_t bytes, const std::string& label) {
  size_t size = 0;
  if (snappy_uncompressed_length(stored.data(), stored.size(), &size) != SNAPPY_OK || size != bytes ||
      bytes / kSnappyRatio > stored.size()) {
    refuse_page("SNAPPY", fmt::format("its size does not agree with the {} bytes of its header", bytes), label);
  }
  std::string out(bytes, '\0');
  if (snappy_uncompress(stored.data(), stored.size(), out.data(), &size) != SNAPPY_OK || size != bytes) {
    refuse_page("SNAPPY", "broken bytes", label);
  }
  return out;
}

std::string with_gzip(std::string_view stored, uint64_t bytes, const std::string& label) {
  z_stream stream = {};
  constexpr int kAnyHeader = 15 + 32;  // gzip's or zlib's
  if (inflateInit2(&stream, kAnyHeader) != Z_OK) refuse_page("GZIP", "no memory", label);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, &inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stored.data()));
  stream.avail_in = static_cast<uInt>(stored.size());
  std::string out;
  for (int state = Z_OK; state != Z_STREAM_END || stream.avail_in > 0;) {
    if (state == Z_STREAM_END && inflateReset(&stream) != Z_OK) refuse_page("GZIP", "broken bytes", label);
    const size_t had = out.size();
    out.resize(std::min<uint64_t>(bytes, had + kStep) + 1);  // one more shows a page that is too long
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + had);
    stream.avail_out = static_cast<uInt>(out.size() - had);
    state = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
    if (state != Z_OK && state != Z_STREAM_END) refuse_page("GZIP", "broken bytes", label);
    if (out.size() > bytes) break;
    if (state == Z_OK && out.size() == had && stream.avail_in == 0) refuse_page("GZIP", "it ends too early", label);
  }
  return out;
}

std::string with_zstd(std::string_view stored, uint64_t bytes, const std::string& label) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(), &ZSTD_freeDStream);
  if (!stream) refuse_page("ZSTD", "no memory", label);
  ZSTD_inBuffer in{stored.data(), stored.size(), 0};
  std::string out;
  for (size_t state = 1; in.pos < in.size || state != 0;) {
    const size_t had = out.size();
    out.resize(std::min<uint64_t>(bytes, had + kStep) + 1);
    ZSTD_outBuffer to{out.data() + had, out.size() - had, 0};
    const size_t before = in.pos;
    state = ZSTD_decompressStream(stream.get(), &to, &in);
    out.resize(had + to.pos);
    if (ZSTD_isError(state)) refuse_page("ZSTD", ZSTD_getErrorName(state), label);
    if (out.size() > bytes) break;
    if (to.pos == 0 && in.pos == before) refuse_page("ZSTD", "it ends too early", label);
  }
  return out;
}

}  // namespace

std::string decompress(int64_t codec, std::string_view stored, uint64_t bytes, const std::string& label) {
  if (bytes > kLargestPage) refuse(fmt::format("a page of {} bytes, expected at most {}", bytes, kLargestPage), label);
  std::string out;
  switch (static_cast<Codec>(codec)) {
    case Codec::uncompressed:
      out = stored;
      break;
    case Codec::snappy:
      out = with_snappy(stored, bytes, label);
      break;
    case Codec::gzip:
      if (bytes > 0 || !stored.empty()) out = with_gzip(stored, bytes, label);
      break;
    case Codec::zstd:
      if (bytes > 0 || !stored.empty()) out = with_zstd(stored, bytes, label);
      break;
    default:
      fail("parquet",
           fmt::format("codec {}, expected UNCOMPRESSED, SNAPPY, GZIP or ZSTD ({})", codec_name(codec), label),
           "write the file again in Python: pyarrow.parquet.write_table(pyarrow.parquet.read_table(A), B)");
  }
  if (out.size() != bytes) refuse(fmt::format("a page of {} bytes, its header says {}", out.size(), bytes), label);
  return out;
}

uint32_t checksum(std::string_view bytes) {
  uLong crc = crc32(0, nullptr, 0);
  while (!bytes.empty()) {
    const auto count = static_cast<uInt>(std::min<size_t>(bytes.size(), std::numeric_limits<uInt>::max()));
    crc = crc32(crc, reinterpret_cast<const Bytef*>(bytes.data()), count);
    bytes.remove_prefix(count);
  }
  return static_cast<uint32_t>(crc);
}

}  // namespace introspect::parquet
