// One pass over a text that keeps, for every latent of one or several SAEs, what makes it fire.
//
// Pieces are run in passes of a fixed number of pieces; process i of n takes every n-th pass. What is kept does not
// depend on the order of passes (context_set.h), so that any number of processes and threads, and work that was stopped
// and resumed, give the same store, byte for byte.
#pragma once

#include "base/json.h"
#include "feature/context_set.h"
#include "feature/text_pieces.h"
#include "model/model.h"
#include "sae/sae.h"
#include "text/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

namespace introspect {

namespace fs = std::filesystem;

struct CollectSettings {
  ContextSettings contexts;
  int64_t tokens = 0;  // of text to read, by all shards together; the end of the text comes first if it is less
  int64_t shard = 0, shards = 1;  // this process, of how many
  int64_t pass_pieces = 64;       // run at once
  double save_seconds = 600;      // how often unfinished work is saved
  int64_t stop_after = 0;         // end as if interrupted after so many passes of this run; 0: never
};

struct CollectResult {
  int64_t pieces = 0, positions = 0;  // of this shard; positions that count
  int64_t text_tokens = 0;            // read by all shards together
  int64_t left_out = 0;               // tokens of rests too short to be pieces
  int64_t resumed_passes = 0;
  double seconds = 0;  // of this run
};

// The layers up to the highest of the SAEs run once for all of them, each on the place it says it belongs to; one SAE a
// layer. Writes a store (context_store.h) into `folder`, with `info` in its contexts.json; unfinished work lies in
// subfolders partial-N, each a store too, and is resumed if settings and `info` are the same, else an Error.
// Throws Error(interrupted) after Ctrl-C, with the work saved; Error for two SAEs of a layer, residual states that are
// not finite, and a text without a piece.
// Memory: see context_set.h, and per thread 4 pass_pieces T D a SAE and 8 times the larger of 2^19 and T L bytes.
CollectResult collect_contexts(const Model& model, const Tokenizer& tokenizer, const std::vector<Sae>& saes,
                               TextPieces& text, const CollectSettings& settings, const Json& info,
                               const fs::path& folder);

// What the SAEs do on some pieces; sink gets each piece with the firings of every SAE, in the order of `saes`, and how
// many positions count. A building block of collect_contexts.
using PieceSink = std::function<void(const Piece&, const std::vector<PieceFirings>&, int64_t counted)>;
void run_pieces(const Model& model, const Tokenizer& tokenizer, const std::vector<Sae>& saes,
                const std::vector<Piece>& pieces, const PieceSink& sink);

// One store of the stores of all shards. Throws Error for shards that are missing, twice there, or of other settings.
void merge_contexts(const std::vector<fs::path>& shards, const fs::path& folder);

}  // namespace introspect
