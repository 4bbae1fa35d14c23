// Facts drawn for texts; for *_source and corpus.cpp only.
#pragma once

#include "base/error.h"
#include "base/random.h"
#include "procedure/records.h"

#include <string>
#include <vector>

namespace introspect {

struct DrawnFact {
  const Relation* relation;
  const Fact* fact;
  size_t template_index;
};

// Throws Error for a table without facts.
class FactDrawer {
 public:
  explicit FactDrawer(const fs::path& facts) : table_(read_facts(facts)) {
    for (const Relation& relation : table_.relations) {
      for (const Fact& fact : relation.facts) all_.push_back({&relation, &fact, 0});
    }
    if (all_.empty()) fail("corpus", fmt::format("no facts ({})", facts.string()));
  }
  // Uniform over all facts, with the first template of its relation.
  DrawnFact draw_fact(Random& random) const { return all_[random.below(all_.size())]; }
  // The same with one of its relation's templates.
  DrawnFact draw(Random& random) const {
    DrawnFact drawn = draw_fact(random);
    drawn.template_index = random.below(drawn.relation->templates.size());
    return drawn;
  }
  size_t size() const { return all_.size(); }
  std::string describe() const { return fmt::format("{} facts of {} relations", all_.size(), table_.relations.size()); }

 private:
  FactTable table_;
  std::vector<DrawnFact> all_;
};

}  // namespace introspect
