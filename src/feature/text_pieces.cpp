#include "feature/text_pieces.h"

#include "base/error.h"
#include "train/corpus.h"

#include <algorithm>
#include <deque>
#include <fstream>

#include <fmt/format.h>

namespace introspect {

namespace {

constexpr int64_t shortest_piece = 4;
constexpr size_t chunk_bytes = 1 << 20;

// Cuts tokens into pieces as they come; finish() ends a file or document.
class Cutter {
 public:
  Cutter(std::optional<int64_t> begin, int64_t length) : begin_(begin), length_(length) {}

  void add(int64_t token) {
    if (waiting_.empty() && begin_) waiting_.push_back(static_cast<int32_t>(*begin_));
    waiting_.push_back(static_cast<int32_t>(token));
    if (std::ssize(waiting_) == length_) cut();
  }
  void finish() {
    if (waiting_.empty()) return;
    if (std::ssize(waiting_) >= std::min(shortest_piece, length_)) return cut();
    left_out_ += std::ssize(waiting_) - (begin_ ? 1 : 0);
    waiting_.clear();
  }
  std::optional<Piece> take() {
    if (pieces_.empty()) return std::nullopt;
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    return piece;
  }
  bool empty() const { return pieces_.empty(); }
  int64_t left_out() const { return left_out_; }

 private:
  void cut() {
    pieces_.push_back(make_piece(std::move(waiting_)));
    waiting_.clear();
  }
  std::optional<int64_t> begin_;
  int64_t length_, left_out_ = 0;
  std::vector<int32_t> waiting_;
  std::deque<Piece> pieces_;
};

class FilePieces : public TextPieces {
 public:
  FilePieces(const std::vector<fs::path>& files, const Tokenizer& tokenizer, int64_t length)
      : files_(files), tokenizer_(tokenizer), cutter_(tokenizer.bos(), length) {}

  std::optional<Piece> next() override {
    while (cutter_.empty() && read_more()) {
    }
    return cutter_.take();
  }
  int64_t left_out() const override { return cutter_.left_out(); }

 private:
  // Reads a chunk up to the end of its last line: where chunks end depends on the file alone.
  bool read_more() {
    if (!stream_.is_open()) {
      if (file_ == files_.size()) return false;
      stream_.open(files_[file_], std::ios::binary);
      if (!stream_ || fs::is_directory(files_[file_])) {
        fail("contexts", fmt::format("cannot read the text ({})", files_[file_].string()));
      }
    }
    const size_t had = rest_.size();
    rest_.resize(had + chunk_bytes);
    stream_.read(rest_.data() + had, static_cast<std::streamsize>(chunk_bytes));
    if (stream_.bad()) fail("contexts", fmt::format("cannot read on in the text ({})", files_[file_].string()));
    rest_.resize(had + static_cast<size_t>(stream_.gcount()));
    const bool end = stream_.eof();
    size_t cut = rest_.size();
    if (!end) {
      const size_t line = rest_.rfind('\n');
      if (line != std::string::npos) {
        cut = line + 1;
      } else {  // a text without lines: at least whole characters
        while (cut > 0 && (static_cast<unsigned char>(rest_[cut - 1]) & 0xC0) == 0x80) --cut;
        if (cut > 0 && static_cast<unsigned char>(rest_[cut - 1]) >= 0xC0) --cut;
        if (cut == 0) cut = rest_.size();
      }
    }
    for (const int64_t token : tokenizer_.encode_plain(rest_.substr(0, cut))) cutter_.add(token);
    rest_.erase(0, cut);
    if (end) {
      cutter_.finish();
      stream_.close();
      stream_.clear();
      ++file_;
    }
    return true;
  }

  std::vector<fs::path> files_;
  Tokenizer tokenizer_;
  Cutter cutter_;
  size_t file_ = 0;
  std::ifstream stream_;
  std::string rest_;  // of the line that the last chunk ended in
};

class MixturePieces : public TextPieces {
 public:
  MixturePieces(const Json& tables, const Tokenizer& tokenizer, int64_t length, int64_t context, const fs::path& base,
                uint64_t seed)
      : begin_(tokenizer.bos()),
        cutter_(begin_, length),
        // whole pieces, so that documents cut from files leave no rests
        mixture_(tables, tokenizer, std::max<int64_t>(1, (context - 1) / (length - 1)) * (length - 1) + 1, base, seed) {
  }

  std::optional<Piece> next() override {
    while (cutter_.empty()) {
      for (const Document& document : mixture_.next(1)) {
        // every document begins with BOS; every piece gets its own
        const bool begun = begin_ && !document.tokens.empty() && document.tokens.front() == *begin_;
        for (size_t i = begun ? 1 : 0; i < document.tokens.size(); ++i) cutter_.add(document.tokens[i]);
        cutter_.finish();
      }
    }
    return cutter_.take();
  }
  int64_t left_out() const override { return cutter_.left_out(); }

 private:
  std::optional<int64_t> begin_;
  Cutter cutter_;
  Mixture mixture_;
};

}  // namespace

std::unique_ptr<TextPieces> file_pieces(const std::vector<fs::path>& files, const Tokenizer& tokenizer,
                                        int64_t length) {
  return std::make_unique<FilePieces>(files, tokenizer, length);
}

std::unique_ptr<TextPieces> mixture_pieces(const Json& tables, const Tokenizer& tokenizer, int64_t length,
                                           int64_t context, const fs::path& base, uint64_t seed) {
  return std::make_unique<MixturePieces>(tables, tokenizer, length, context, base, seed);
}

}  // namespace introspect
