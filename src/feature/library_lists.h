// Closed classes of English, and plain names for WordNet's categories; for library_sets.cpp only.
#pragma once

#include <string_view>
#include <vector>

namespace introspect {

struct WordList {
  std::string_view phrase;
  std::string_view words;  // lower case, parted by blanks
  bool closed = true;      // its words have no meaning in WordNet besides
};
const std::vector<WordList>& closed_classes();

// "words for animals" for "noun.animal"; empty for a category without a name of its own (adj.all, adv.all, noun.Tops).
std::string_view category_phrase(std::string_view category);

}  // namespace introspect
