// A library for tests: a tokenizer, a WordNet of a few words and two relations.
#pragma once

#include "base/temporary_folder.h"
#include "feature/library.h"
#include "text/bpe_train.h"

#include <memory>
#include <string>
#include <vector>

#include <ATen/Functions.h>

namespace introspect::small {

inline const Tokenizer& tokenizer() {
  static const Tokenizer made = [] {
    BpeTrainSettings settings;
    settings.vocab_size = 400;
    settings.special_tokens = {"<|bos|>", "<|eos|>"};
    settings.bos_token = "<|bos|>";
    settings.smallest_count = 1;
    BpeTrainer trainer(settings);
    trainer.add(" the dog and the cow ran to Paris. The capital of France is Paris, \"he said\" of the dog.\n\n", 50);
    trainer.add(" Respond with one of Paris or Rome or Oslo and nothing else. in March, in May.", 50);
    trainer.train();
    return Tokenizer::from_json(trainer.tokenizer_json(), R"({"bos_token": "<|bos|>"})");
  }();
  return made;
}

inline WordNet wordnet() {
  const TemporaryFolder folder;
  std::string data = "00000001 05 n 01 animal 0 000 | a living thing  \n", index = "animal n 1 0 1 1 00000001  \n";
  int offset = 2;
  for (const char* word : {"dog", "cow", "cat", "horse", "pig", "hen", "duck", "mouse", "sheep"}) {
    data += fmt::format("{:08} 05 n 01 {} 0 001 @ 00000001 n 0000 | an animal  \n", offset, word);
    index += fmt::format("{} n 1 1 @ 1 0 {:08}  \n", word, offset++);
  }
  folder.write("data.noun", data);
  folder.write("index.noun", index);
  folder.write("data.verb", "00000001 38 v 01 run 0 000 01 + 02 00 | move fast  \n");
  folder.write("index.verb", "run v 1 0 1 1 00000001  \n");
  for (const char* empty :
       {"data.adj", "data.adv", "index.adj", "index.adv", "noun.exc", "adj.exc", "adv.exc", "cntlist.rev"}) {
    folder.write(empty, "");
  }
  folder.write("verb.exc", "ran run\n");
  return WordNet::open(folder.path());
}

inline FactTable facts() {
  FactTable table;
  table.relations.push_back(
      {"country-capital",
       "capitals",
       {"The capital of {subject} is"},
       {{"France", "Paris"}, {"Italy", "Rome"}, {"Norway", "Oslo"}, {"South Africa", "Pretoria"}}});
  table.relations.push_back(
      {"city-country", "", {"{subject} is in"}, {{"New York", "United States"}, {"Paris", "France"}}});
  return table;
}

inline std::shared_ptr<const DescriptionLibrary> library() {
  static const auto made = std::make_shared<const DescriptionLibrary>(tokenizer(), wordnet(), facts());
  return made;
}

// BOS and the text's tokens, padded with -1 to `length` (0: as long as it is).
inline std::vector<int32_t> tokens(const std::string& text, size_t length = 0) {
  std::vector<int32_t> ids = {static_cast<int32_t>(*tokenizer().bos())};
  for (const int64_t id : tokenizer().encode_plain(text)) ids.push_back(static_cast<int32_t>(id));
  if (length) ids.resize(length, -1);
  return ids;
}

// The pieces on which a description holds, joined: "Paris| Paris".
inline std::string fires_on(const std::string& description, const std::string& text) {
  const auto predicate = library()->parse(description);
  if (!predicate) return "unparsable";
  const std::vector<int32_t> ids = tokens(text);
  const auto holds = library()->holds(*predicate, library()->splitter().split(ids));
  std::string pieces;
  bool before = false;
  for (size_t t = 0; t < ids.size(); ++t) {
    if (holds[t]) pieces += (before || pieces.empty() ? "" : "|") + library()->splitter().piece(ids[t]);
    before = holds[t];
  }
  return pieces;
}

}  // namespace introspect::small
