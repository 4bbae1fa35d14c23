#include "feature/library_search.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>

#include <ATen/Functions.h>

namespace introspect {

namespace {

// A code is a set's number and what the token has to do with it; places are numbered by themselves.
enum Role : uint32_t { at_whole, at_start, at_end, is_after, is_before, is_two_after, is_same_sentence, is_place };
constexpr uint32_t roles = 8;
uint32_t code_of(uint32_t set, Role role) {
  return set * roles + role;
}
Role role_of(uint32_t code) {
  return static_cast<Role>(code % roles);
}
uint32_t set_of(uint32_t code) {
  return code / roles;
}
bool is_set(uint32_t code) {
  return role_of(code) <= at_end;
}

constexpr size_t longest_affix = 4;
constexpr size_t random_contexts_kept = 4096;
constexpr size_t bases_of_pairs = 5;
constexpr double lowest_base_score = 0.05;
constexpr size_t longest_list = 4;
constexpr double least_gain_of_word = 0.03;

size_t kind_rank(const std::string& kind) {
  const auto& kinds = description_kinds();
  return static_cast<size_t>(std::find(kinds.begin(), kinds.end(), kind) - kinds.begin());
}

}  // namespace

struct LibrarySearch::Feature {
  std::vector<std::shared_ptr<const Annotated>> contexts;
  std::vector<size_t> begins;      // of each context in the flat vectors below
  std::vector<float> activations;  // [all tokens]; of tokens that do not count 0
  std::array<double, 2> tokens{}, sum{}, square_sum{};

  // Correlation of 0 and 1 with the activations.
  double score(const Sums& sums, size_t half) const {
    const double n = tokens[half], p = sums.count[half] / n, mean = sum[half] / n;
    const double variance = (square_sum[half] / n - mean * mean) * p * (1 - p);
    if (!(variance > 0)) return std::nan("");
    return (sums.activation[half] / n - p * mean) / std::sqrt(variance);
  }
};

struct LibrarySearch::Candidate {
  Predicate predicate;
  Sums sums;
  double score = 0;
  uint32_t code = 0;  // of a simple one
  std::string text, kind;
};

// The best first; equal ones by kind, then the shortest.
bool LibrarySearch::by_score(const Candidate& a, const Candidate& b) {
  const auto key = [](const Candidate& each) {
    return std::make_tuple(-each.score, kind_rank(each.kind), each.text.size(), std::string_view(each.text));
  };
  return key(a) < key(b);
}

LibrarySearch::LibrarySearch(std::shared_ptr<const DescriptionLibrary> library, const LibrarySearchSettings& settings)
    : library_(std::move(library)), settings_(settings) {
  for (uint32_t id = 0; id < library_->sets().sets().size(); ++id) interned_.push_back({SetType::named, id, {}});
}

uint32_t LibrarySearch::intern(WordSet set) {
  interned_.push_back(std::move(set));
  return static_cast<uint32_t>(interned_.size() - 1);
}

uint32_t LibrarySearch::word_set(const std::string& lower) {
  const auto found = word_ids_.find(lower);
  if (found != word_ids_.end()) return found->second;
  return word_ids_[lower] = intern({SetType::words, 0, {lower}});
}

// The word itself and its beginnings and endings; named sets come from the text.
std::vector<uint32_t> LibrarySearch::profile(const Word& word) {
  const auto found = profiles_.find(word.text);
  if (found != profiles_.end()) return found->second;
  std::vector<uint32_t> sets = {word_set(word.lower)};
  const auto affix = [&](std::unordered_map<std::string, uint32_t>& ids, SetType type, std::string letters) {
    const auto known = ids.find(letters);
    if (known != ids.end()) return known->second;
    const uint32_t id = intern({type, 0, {letters}});
    return ids[letters] = id;
  };
  const bool ascii = std::all_of(word.lower.begin(), word.lower.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  for (size_t length = 1;
       ascii && word.kind == WordKind::letters && length <= longest_affix && length < word.lower.size(); ++length) {
    sets.push_back(affix(ending_ids_, SetType::ending, word.lower.substr(word.lower.size() - length)));
    if (length > 1) sets.push_back(affix(beginning_ids_, SetType::beginning, word.lower.substr(0, length)));
  }
  return profiles_[word.text] = sets;
}

std::shared_ptr<const LibrarySearch::Annotated> LibrarySearch::annotate(std::span<const int32_t> tokens) {
  auto annotated = std::make_shared<Annotated>();
  annotated->text = library_->splitter().split(tokens);
  const TextWords& text = annotated->text;
  std::vector<std::vector<uint32_t>> sets = library_->sets().of_text(text);
  for (size_t w = 0; w < sets.size(); ++w) {
    const std::vector<uint32_t> own = profile(text.words[w]);
    sets[w].insert(sets[w].begin(), own.begin(), own.end());  // the word itself stands first
  }
  const auto token_set = [&](int32_t token) {
    const auto found = token_ids_.find(token);
    if (found != token_ids_.end()) return found->second;
    return token_ids_[token] = intern({SetType::token, static_cast<uint32_t>(token), {}});
  };
  std::vector<uint32_t>& codes = annotated->codes;
  annotated->offsets.push_back(0);
  std::vector<uint32_t> in_sentence;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (text.word_of[t] >= 0) {
      const auto w = static_cast<size_t>(text.word_of[t]);
      const Word& word = text.words[w];
      const auto add = [&](const std::vector<uint32_t>& of, Role role) {
        for (const uint32_t set : of) codes.push_back(code_of(set, role));
      };
      const bool first = static_cast<int>(t) == word.first, last = static_cast<int>(t) == word.last;
      add(sets[w], at_whole);
      if (first) add(sets[w], at_start);
      if (last) add(sets[w], at_end);
      if (first && w > 0) add(sets[w - 1], is_after);
      if (first && w > 1) add(sets[w - 2], is_two_after);
      if (last && w + 1 < sets.size()) add(sets[w + 1], is_before);
      const auto add_token = [&](size_t other, Role role) {
        if (other < tokens.size() && text.word_of[other] >= 0 && library_->can_name(tokens[other])) {
          codes.push_back(code_of(token_set(tokens[other]), role));
        }
      };
      add_token(t, at_whole);
      add_token(t - 1, is_after);
      add_token(t + 1, is_before);
      in_sentence.clear();
      for (size_t other = w; other-- > 0 && text.words[other].sentence == word.sentence;) {
        if (text.words[other].kind != WordKind::blank) in_sentence.push_back(sets[other][0]);
      }
      std::sort(in_sentence.begin(), in_sentence.end());
      in_sentence.erase(std::unique(in_sentence.begin(), in_sentence.end()), in_sentence.end());
      add(in_sentence, is_same_sentence);
      for (uint32_t place = 0; place < static_cast<uint32_t>(TextPlace::count); ++place) {
        if (text.at(static_cast<int>(t), static_cast<TextPlace>(place))) codes.push_back(code_of(place, is_place));
      }
    }
    annotated->offsets.push_back(static_cast<uint32_t>(codes.size()));
  }
  return annotated;
}

Predicate LibrarySearch::predicate(uint32_t code) const {
  Predicate predicate;
  const Role role = role_of(code);
  if (role == is_place) {
    predicate.condition = Condition{ConditionType::place, {}, static_cast<TextPlace>(set_of(code))};
    return predicate;
  }
  const WordSet& set = interned_[set_of(code)];
  switch (role) {
    case at_whole:
      predicate.set = set;
      break;
    case at_start:
      predicate.set = set, predicate.part = WordPart::start;
      break;
    case at_end:
      predicate.set = set, predicate.part = WordPart::end;
      break;
    case is_after:
      predicate.condition = Condition{ConditionType::after, set, {}};
      break;
    case is_before:
      predicate.condition = Condition{ConditionType::before, set, {}};
      break;
    case is_two_after:
      predicate.condition = Condition{ConditionType::two_after, set, {}};
      break;
    default:
      predicate.condition = Condition{ConditionType::same_sentence, set, {}};
  }
  return predicate;
}

// use(code, sums) for everything that holds on a token with activation, over the tokens of the mask.
template <class Use>
void LibrarySearch::sweep(const Feature& feature, const std::vector<uint8_t>* mask, const Use& use) {
  sums_.resize(interned_.size() * roles);
  touched_.clear();
  const auto for_each = [&](bool active, const auto& visit) {
    for (size_t c = 0; c < feature.contexts.size(); ++c) {
      const Annotated& context = *feature.contexts[c];
      for (size_t t = 0; t + 1 < context.offsets.size(); ++t) {
        const size_t flat = feature.begins[c] + t;
        if ((active && feature.activations[flat] == 0) || (mask && !(*mask)[flat])) continue;
        for (uint32_t i = context.offsets[t]; i < context.offsets[t + 1]; ++i) {
          visit(context.codes[i], c % 2, static_cast<double>(feature.activations[flat]));
        }
      }
    }
  };
  for_each(true, [&](uint32_t code, size_t half, double activation) {
    Sums& sums = sums_[code];
    if (sums.activation[0] == 0 && sums.activation[1] == 0) touched_.push_back(code);
    sums.activation[half] += activation;
  });
  for_each(false, [&](uint32_t code, size_t half, double) {
    Sums& sums = sums_[code];
    if (sums.activation[0] != 0 || sums.activation[1] != 0) sums.count[half] += 1;
  });
  for (const uint32_t code : touched_) {
    use(code, sums_[code]);
    sums_[code] = {};
  }
}

std::vector<uint8_t> LibrarySearch::mask_of(const Feature& feature, uint32_t code) const {
  std::vector<uint8_t> mask(feature.activations.size(), 0);
  for (size_t c = 0; c < feature.contexts.size(); ++c) {
    const Annotated& context = *feature.contexts[c];
    for (size_t t = 0; t + 1 < context.offsets.size(); ++t) {
      const auto begin = context.codes.begin() + context.offsets[t],
                 end = context.codes.begin() + context.offsets[t + 1];
      mask[feature.begins[c] + t] = std::find(begin, end, code) != end;
    }
  }
  return mask;
}

// Whether what the description covers comes from enough contexts and, if it is by a set of words, from several of them.
bool LibrarySearch::well_founded(const Feature& feature, const Predicate& predicate) const {
  const auto is_broad = [&](const WordSet& set) {
    return set.type == SetType::ending || set.type == SetType::beginning ||
           (set.type == SetType::named && !library_->sets().sets()[set.id].of_signs);
  };
  const bool set_is_broad = predicate.set && is_broad(*predicate.set);
  const bool condition_is_broad = predicate.condition && predicate.condition->type != ConditionType::place &&
                                  predicate.condition->type != ConditionType::same_sentence &&
                                  is_broad(predicate.condition->set);
  int offset = 0;  // of the condition's word, from the token's own
  if (condition_is_broad) {
    offset = predicate.condition->type == ConditionType::before  ? 1
             : predicate.condition->type == ConditionType::after ? -1
                                                                 : -2;
  }
  std::map<std::string_view, double> own, other;
  double total = 0;
  int64_t even_contexts = 0;
  for (size_t c = 0; c < feature.contexts.size(); ++c) {
    const TextWords& text = feature.contexts[c]->text;
    const float* activations = feature.activations.data() + feature.begins[c];
    bool any = false;
    for (size_t t = 0; t < text.tokens.size(); ++t) any |= activations[t] > 0;
    if (!any) continue;
    const std::vector<uint8_t> holds = library_->holds(predicate, text);
    bool covered = false;
    for (size_t t = 0; t < holds.size(); ++t) {
      if (!holds[t] || !(activations[t] > 0)) continue;
      covered = true;
      const int word = text.word_of[t];
      total += activations[t];
      own[text.words[static_cast<size_t>(word)].lower] += activations[t];
      if (condition_is_broad) other[text.words[static_cast<size_t>(word + offset)].lower] += activations[t];
    }
    even_contexts += covered && c % 2 == 0;
  }
  if (even_contexts < settings_.least_contexts) return false;
  const auto enough = [&](const std::map<std::string_view, double>& words) {
    double most = 0;
    for (const auto& [word, activation] : words) most = std::max(most, activation);
    return std::ssize(words) >= settings_.least_words && most <= settings_.most_of_one_word * total;
  };
  return (!set_is_broad || enough(own)) && (!condition_is_broad || enough(other));
}

void LibrarySearch::add_simple(const Feature& feature, std::vector<Candidate>& simple) {
  word_sums_.clear();
  sweep(feature, nullptr, [&](uint32_t code, const Sums& sums) {
    if (interned_[set_of(code)].type == SetType::words && role_of(code) != is_place)
      word_sums_.emplace_back(code, sums);
    const double score = feature.score(sums, 0);
    if (score >= lowest_base_score) simple.push_back({{}, sums, score, code, {}, {}});
  });
  for (Candidate& candidate : simple) candidate.predicate = predicate(candidate.code);
  // Equal scores stand in the order of preference: codes depend on what was seen before, texts do not.
  std::sort(simple.begin(), simple.end(), [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  constexpr size_t worth_a_text = 400;
  if (simple.size() > worth_a_text) {
    const double lowest = simple[worth_a_text].score;
    std::erase_if(simple, [&](const Candidate& candidate) { return candidate.score <= lowest; });
  }
  for (Candidate& candidate : simple) {
    candidate.text = library_->text(candidate.predicate);
    candidate.kind = library_->kind(candidate.predicate);
  }
  std::sort(simple.begin(), simple.end(), by_score);
}

// Lists of words, grown one at a time: at, after, and before such words. A token is at most at, after and before one
// word, so that the sums of a list are those of its words together.
void LibrarySearch::add_lists(const Feature& feature, const std::vector<Candidate>& simple,
                              std::vector<Candidate>& compound) {
  for (const Role role : {at_whole, is_after, is_before}) {
    const auto is_word = [&](uint32_t code) {
      return role_of(code) == role && interned_[set_of(code)].type == SetType::words;
    };
    const auto first =
        std::find_if(simple.begin(), simple.end(), [&](const Candidate& candidate) { return is_word(candidate.code); });
    if (first == simple.end() || !well_founded(feature, first->predicate)) continue;
    Candidate list = *first;
    WordSet words = interned_[set_of(first->code)];
    std::unordered_set<uint32_t> too_seldom;  // each word must be well founded by itself
    while (words.strings.size() < longest_list) {
      double best = list.score + least_gain_of_word;
      std::string best_word;
      Sums best_sums;
      uint32_t best_code = 0;
      for (const auto& [code, sums] : word_sums_) {
        if (!is_word(code) || too_seldom.contains(code)) continue;
        const std::string& word = interned_[set_of(code)].strings[0];
        if (std::find(words.strings.begin(), words.strings.end(), word) != words.strings.end()) continue;
        Sums joint = list.sums;
        for (size_t half = 0; half < 2; ++half) {
          joint.count[half] += sums.count[half];
          joint.activation[half] += sums.activation[half];
        }
        const double score = feature.score(joint, 0);
        if (!(score > best) && !(score == best && !best_word.empty() && word < best_word)) continue;
        best = score, best_word = word, best_sums = joint, best_code = code;
      }
      if (best_word.empty()) break;
      if (!well_founded(feature, predicate(best_code))) {
        too_seldom.insert(best_code);
        continue;
      }
      words.strings.push_back(best_word);
      list.score = best;
      list.sums = best_sums;
    }
    if (words.strings.size() < 2) continue;
    std::sort(words.strings.begin(), words.strings.end());
    list.predicate = {};
    if (role == at_whole) {
      list.predicate.set = words;
    } else {
      list.predicate.condition = Condition{role == is_after ? ConditionType::after : ConditionType::before, words, {}};
    }
    compound.push_back(std::move(list));
  }
}

// The best sets with the best conditions for each, and the other way round.
void LibrarySearch::add_pairs(const Feature& feature, const std::vector<Candidate>& simple,
                              std::vector<Candidate>& compound) {
  for (const bool from_set : {true, false}) {
    size_t bases = 0;
    for (const Candidate& base : simple) {
      if (is_set(base.code) != from_set) continue;
      if (++bases > bases_of_pairs) break;
      const std::vector<uint8_t> mask = mask_of(feature, base.code);
      std::vector<Candidate> pairs;
      double best = 0;
      sweep(feature, &mask, [&](uint32_t code, const Sums& sums) {
        if (is_set(code) == from_set) return;
        const double score = feature.score(sums, 0);
        if (!(score > base.score) || score < best - settings_.margin) return;
        best = std::max(best, score);
        pairs.push_back({{}, sums, score, code, {}, {}});
      });
      for (Candidate& pair : pairs) {
        if (pair.score < best - settings_.margin) continue;
        const Predicate other = predicate(pair.code);
        pair.predicate = from_set ? base.predicate : other;
        pair.predicate.condition = from_set ? other.condition : base.predicate.condition;
        compound.push_back(std::move(pair));
      }
    }
  }
}

std::vector<Description> LibrarySearch::describe(const FeatureContexts& contexts) {
  Feature feature;
  const at::Tensor tokens = contexts.tokens.contiguous(), activations = contexts.activations.contiguous();
  if (tokens.dim() != 2 || tokens.sizes() != activations.sizes() || tokens.scalar_type() != at::kInt ||
      activations.scalar_type() != at::kFloat || tokens.size(0) != std::ssize(contexts.kinds)) {
    fail("library search", fmt::format("contexts of feature {} of layer {}: expected tokens [C, T] int32, activations "
                                       "[C, T] float32 and C kinds",
                                       contexts.latent, contexts.layer));
  }
  const auto length = static_cast<size_t>(tokens.size(1));
  feature.activations.assign(static_cast<size_t>(tokens.numel()), 0);
  for (int64_t c = 0; c < tokens.size(0); ++c) {
    const std::span<const int32_t> row(tokens.data_ptr<int32_t>() + c * tokens.size(1), length);
    const float* values = activations.data_ptr<float>() + c * tokens.size(1);
    std::shared_ptr<const Annotated> annotated;
    if (contexts.kinds[static_cast<size_t>(c)] == ContextKind::random) {
      const std::string key(reinterpret_cast<const char*>(row.data()), row.size_bytes());
      if (remembered_.size() > random_contexts_kept) remembered_.clear();
      auto& known = remembered_[key];
      if (!known) known = annotate(row);
      annotated = known;
    } else {
      annotated = annotate(row);
    }
    feature.contexts.push_back(annotated);
    feature.begins.push_back(static_cast<size_t>(c) * length);
    const auto half = static_cast<size_t>(c % 2);
    for (size_t t = 1; t < length; ++t) {
      if (row[t] < 0) continue;
      const double value = values[t];
      if (!std::isfinite(value) || value < 0) {
        fail("library search",
             fmt::format("activation {} of feature {} of layer {}: expected a finite one of at least 0", value,
                         contexts.latent, contexts.layer));
      }
      feature.activations[static_cast<size_t>(c) * length + t] = values[t];
      feature.tokens[half] += 1;
      feature.sum[half] += value;
      feature.square_sum[half] += value * value;
    }
  }
  if (!(feature.sum[0] > 0)) return {};

  std::vector<Candidate> simple, compound;
  add_simple(feature, simple);
  if (simple.empty()) return {};
  add_lists(feature, simple, compound);
  add_pairs(feature, simple, compound);

  const auto preferred = [&](std::vector<Candidate>& candidates) {
    std::sort(candidates.begin(), candidates.end(), by_score);
    std::optional<Candidate> chosen;
    double best = 0;
    for (const Candidate& candidate : candidates) {
      if (chosen && candidate.score < best - settings_.margin) break;
      const auto order = [](const Candidate& each) {
        return std::make_pair(kind_rank(each.kind), each.predicate.part != WordPart::whole);
      };
      const bool better = !chosen || order(candidate) < order(*chosen);
      if (!better || !well_founded(feature, candidate.predicate)) continue;
      if (!chosen) best = candidate.score;
      chosen = candidate;
    }
    return chosen;
  };
  for (Candidate& candidate : compound) {
    candidate.text = library_->text(candidate.predicate);
    candidate.kind = library_->kind(candidate.predicate);
  }
  std::optional<Candidate> chosen = preferred(simple);
  const std::optional<Candidate> chosen_compound = preferred(compound);
  if (chosen_compound && (!chosen || chosen_compound->score >= chosen->score + settings_.compound_margin)) {
    chosen = chosen_compound;
  }
  if (!chosen) return {};

  std::vector<Description> descriptions;
  const auto add = [&](const Candidate& candidate) {
    for (const Description& known : descriptions) {
      if (known.text == candidate.text) return;
    }
    descriptions.push_back(
        {candidate.text, candidate.kind, "library", candidate.score, feature.score(candidate.sums, 1)});
  };
  add(*chosen);
  std::vector<Candidate> others = std::move(simple);
  others.insert(others.end(), compound.begin(), compound.end());
  std::sort(others.begin(), others.end(), by_score);
  double last = chosen->score;  // another wording for the same tokens is no other description
  for (const Candidate& candidate : others) {
    if (std::ssize(descriptions) >= settings_.kept) break;
    if (candidate.score == chosen->score || candidate.score == last) continue;
    last = candidate.score;
    if (well_founded(feature, candidate.predicate)) add(candidate);
  }
  return descriptions;
}

}  // namespace introspect
