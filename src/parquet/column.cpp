#include "parquet/column.h"

#include "base/error.h"
#include "parquet/codecs.h"

#include <bit>

namespace introspect::parquet {

namespace {

constexpr int64_t kMostValues = int64_t{1} << 26;  // of a page

int width_of(int level) {
  return std::bit_width(static_cast<unsigned>(level));
}

}  // namespace

Column::Column(std::string_view file, const SchemaNode& leaf, const ColumnChunk& chunk, const std::string& label)
    : pages_(file.substr(static_cast<size_t>(chunk.begin), static_cast<size_t>(chunk.bytes))),
      leaf_(leaf),
      chunk_(chunk),
      label_(fmt::format("column '{}' of {}", chunk.path, label)),
      left_(chunk.values) {}

void Column::refuse_column(const std::string& message) const {
  refuse(message, label_);
}

int Column::repetition() {
  load();
  return repetition_;
}

int Column::definition() {
  load();
  return definition_;
}

Json Column::take() {
  load();
  loaded_ = false;
  --left_;
  --page_left_;
  if (definition_ < leaf_.definition) return nullptr;
  if (!values_) {
    values_ = open_values(leaf_, encoding_, values_bytes_, static_cast<uint64_t>(page_values_),
                          dictionary_ ? &*dictionary_ : nullptr, label_);
  }
  return values_->next();
}

void Column::load() {
  if (loaded_) return;
  if (left_ == 0) refuse_column(fmt::format("ends after its {} values, but its rows do not", chunk_.values));
  while (page_left_ == 0) next_page();
  repetition_ = repetitions_ ? static_cast<int>(repetitions_->next()) : 0;
  definition_ = definitions_ ? static_cast<int>(definitions_->next()) : 0;
  if (repetition_ > leaf_.repeats || definition_ > leaf_.definition) {
    refuse_column(fmt::format("levels {} and {}, expected at most {} and {}", repetition_, definition_, leaf_.repeats,
                              leaf_.definition));
  }
  loaded_ = true;
}

void Column::next_page() {
  if (pages_.empty()) refuse_column("its pages end before its values do");
  const PageHeader header = read_page_header(pages_, label_);
  pages_.remove_prefix(header.header_bytes);
  const auto size = static_cast<uint64_t>(header.stored_bytes);
  if (size > pages_.size()) refuse_column(fmt::format("a page of {} bytes, {} are left", size, pages_.size()));
  const std::string_view stored = pages_.substr(0, size);
  pages_.remove_prefix(size);
  if (header.crc >= 0 && checksum(stored) != static_cast<uint32_t>(header.crc)) {
    refuse_column("a page whose checksum does not agree");
  }
  switch (header.kind) {
    case PageHeader::dictionary:
      read_dictionary(header, stored);
      break;
    case PageHeader::data:
    case PageHeader::data_v2:
      read_data(header, stored);
      break;
    case PageHeader::index:
      break;
    default:
      refuse_column(fmt::format("a page of the unknown type {}", header.kind));
  }
}

void Column::read_dictionary(const PageHeader& header, std::string_view stored) {
  if (dictionary_) refuse_column("two dictionaries");
  const std::string page = decompress(chunk_.codec, stored, static_cast<uint64_t>(header.bytes), label_);
  // the smallest value that a dictionary can have is a text's length
  if (header.values < 0 || header.values > std::ssize(page) / 4) {
    refuse_column(fmt::format("a dictionary of {} values in {} bytes", header.values, page.size()));
  }
  if (header.encoding != static_cast<int64_t>(Encoding::plain) &&
      header.encoding != static_cast<int64_t>(Encoding::plain_dictionary)) {
    refuse_column("a dictionary in " + encoding_name(header.encoding));
  }
  dictionary_.emplace();
  const auto values = open_values(leaf_, static_cast<int64_t>(Encoding::plain), page,
                                  static_cast<uint64_t>(header.values), nullptr, label_);
  for (int64_t i = 0; i < header.values; ++i) dictionary_->push_back(values->next());
}

void Column::read_data(const PageHeader& header, std::string_view stored) {
  if (header.values < 0 || header.values > left_ || header.values > kMostValues) {
    refuse_column(fmt::format("a page of {} values where {} are left", header.values, left_));
  }
  const bool second = header.kind == PageHeader::data_v2;
  std::string_view levels;  // version 2 stores them in front, without the codec
  if (second) {
    const int64_t both = header.definition_bytes + header.repetition_bytes;
    if (header.definition_bytes < 0 || header.repetition_bytes < 0 || header.definition_bytes > header.stored_bytes ||
        header.repetition_bytes > header.stored_bytes || both > header.stored_bytes || both > header.bytes) {
      refuse_column("levels longer than their page");
    }
    levels = stored.substr(0, static_cast<size_t>(both));
    stored.remove_prefix(static_cast<size_t>(both));
  }
  const auto codec = second && !header.compressed ? static_cast<int64_t>(Codec::uncompressed) : chunk_.codec;
  page_ = decompress(codec, stored, static_cast<uint64_t>(header.bytes) - levels.size(), label_);
  if (second) page_.insert(0, levels);
  Bytes bytes(page_, label_);
  const auto open_levels = [&](int most, int64_t encoding, int64_t length) {
    std::optional<Runs> runs;
    if (second) {
      const std::string_view stretch = bytes.take(static_cast<uint64_t>(length));
      if (most > 0) runs.emplace(stretch, width_of(most), label_);
    } else if (most > 0) {
      if (encoding != static_cast<int64_t>(Encoding::rle)) {
        refuse_column(fmt::format("levels in {}, expected RLE", encoding_name(encoding)));
      }
      const auto size = bytes.number<uint32_t>();
      runs.emplace(bytes.take(size), width_of(most), label_);
    }
    return runs;
  };
  repetitions_ = open_levels(leaf_.repeats, header.repetition_encoding, header.repetition_bytes);
  definitions_ = open_levels(leaf_.definition, header.definition_encoding, header.definition_bytes);
  values_bytes_ = bytes.rest();
  values_.reset();
  page_left_ = page_values_ = header.values;
  encoding_ = header.encoding;
}

}  // namespace introspect::parquet
