// The codecs of Parquet's pages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace introspect::parquet {

// `stored` without its codec: `bytes` bytes, or an Error. UNCOMPRESSED, SNAPPY, GZIP and ZSTD. Takes memory only as
// bytes come out, so that a small file cannot ask for much.
std::string decompress(int64_t codec, std::string_view stored, uint64_t bytes, const std::string& label);

// CRC-32 as gzip has it.
uint32_t checksum(std::string_view bytes);

}  // namespace introspect::parquet
