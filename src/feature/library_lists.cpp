#include "feature/library_lists.h"

#include <unordered_map>

namespace introspect {

const std::vector<WordList>& closed_classes() {
  static const std::vector<WordList> lists = {
      {"pronouns",
       "i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we us our ours "
       "ourselves they them their theirs themselves"},
      {"subject pronouns", "i you he she it we they"},
      {"object pronouns", "me him her us them"},
      {"possessive words", "my your his her its our their mine yours hers ours theirs 's"},
      {"words for the speaker", "i me my mine myself we us our ours ourselves"},
      {"words for a man or boy",
       "he him his himself man men boy boys father son brother uncle husband king prince mr sir gentleman lord dad "
       "daddy grandfather grandpa", false},
      {"words for a woman or girl",
       "she her hers herself woman women girl girls mother daughter sister aunt wife queen princess mrs miss lady madam "
       "mom mommy grandmother grandma", false},
      {"family words",
       "father mother son daughter brother sister uncle aunt husband wife cousin nephew niece grandfather grandmother "
       "parent parents child children dad mom daddy mommy grandma grandpa baby", false},
      {"articles", "a an the"},
      {"indefinite articles", "a an"},
      {"demonstratives", "this that these those"},
      {"determiners",
       "a an the this that these those each every either neither some any no all both few many much several such what "
       "which whose another other"},
      {"quantity words", "some any all both few many much several more most less least enough lot lots half none plenty"},
      {"prepositions",
       "of in to for with on at from by about as into like through after over between out against during without "
       "before under around among upon within towards toward behind beneath beside besides beyond near above below "
       "across along down up off onto inside outside since until till despite except"},
      {"prepositions of place",
       "in on at into onto through over between under around among upon within behind beneath beside near above below "
       "across along inside outside"},
      {"conjunctions", "and or but nor so yet for because although though while if unless until when where whereas since as than "
                       "whether"},
      {"coordinating conjunctions", "and or but nor"},
      {"subordinating conjunctions", "because although though while if unless until when where whereas since whether"},
      {"auxiliary verbs",
       "am is are was were be been being have has had having do does did can could will would shall should may might "
       "must ought 'm 're 've 'll 'd"},
      {"forms of be", "am is are was were be been being 'm 're"},
      {"present forms of be", "am is are 'm 're"},
      {"past forms of be", "was were been"},
      {"forms of have", "have has had having 've"},
      {"forms of do", "do does did done doing"},
      {"modal verbs", "can could will would shall should may might must ought 'll 'd"},
      {"verbs of saying",
       "said say says saying asked ask answered cried replied told tell tells whispered shouted called exclaimed added "
       "spoke speak muttered remarked returned screamed yelled", false},
      {"question words", "who whom whose what which when where why how"},
      {"negations", "not no never none nothing nobody nor neither n't without cannot"},
      {"contractions", "'s 't 're 've 'm 'll 'd n't"},
      {"months", "january february march april may june july august september october november december", false},
      {"days of the week", "monday tuesday wednesday thursday friday saturday sunday", false},
      {"parts of the day", "morning afternoon evening night noon midnight dawn dusk day today tonight tomorrow yesterday",
       false},
      {"units of time", "second seconds minute minutes hour hours day days week weeks month months year years century "
                        "centuries moment moments", false},
      {"seasons", "spring summer autumn winter fall", false},
      {"number words",
       "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
       "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen",
       false},
      {"ordinal words", "first second third fourth fifth sixth seventh eighth ninth tenth last next", false},
      {"colours", "red blue green yellow black white brown grey gray orange purple pink violet golden silver scarlet "
                  "crimson blond turquoise", false},
      {"compass directions", "north south east west northern southern eastern western northeast northwest southeast "
                             "southwest", false},
      {"titles of people", "mr mrs miss ms dr sir lady lord master madame monsieur mademoiselle captain doctor professor "
                           "colonel general king queen prince princess saint st", false},
      {"greetings and exclamations", "oh ah hello hi hey yes no well thanks goodbye alas please", false},
      {"adverbs of time", "now then soon later already still yet always never often sometimes once again ever today "
                          "tomorrow yesterday", false},
      {"adverbs of degree", "very so too quite rather almost nearly much more most less least enough only just even",
       false},
      {"adverbs of place", "here there away back everywhere somewhere anywhere nowhere home", false},
      {"indefinite pronouns", "someone somebody something anyone anybody anything everyone everybody everything nobody "
                              "nothing one"},
      {"words for size", "big small little large great tiny huge tall short long wide narrow giant enormous", false},
      {"words for good and bad", "good bad nice best better worse worst great terrible awful wonderful fine", false},
      {"words for feelings", "happy sad angry afraid scared proud glad sorry excited surprised worried lonely joy fear "
                             "love hate anger", false}};
  return lists;
}

std::string_view category_phrase(std::string_view category) {
  static const std::unordered_map<std::string_view, std::string_view> phrases = {
      {"noun.act", "words for acts"},
      {"noun.animal", "words for animals"},
      {"noun.artifact", "words for man-made things"},
      {"noun.attribute", "words for qualities"},
      {"noun.body", "words for body parts"},
      {"noun.cognition", "words for ideas"},
      {"noun.communication", "words for communication"},
      {"noun.event", "words for events"},
      {"noun.feeling", "words for emotions"},
      {"noun.food", "words for food"},
      {"noun.group", "words for groups"},
      {"noun.location", "words for places"},
      {"noun.motive", "words for motives"},
      {"noun.object", "words for natural objects"},
      {"noun.person", "words for people"},
      {"noun.phenomenon", "words for natural phenomena"},
      {"noun.plant", "words for plants"},
      {"noun.possession", "words for property and money"},
      {"noun.process", "words for processes"},
      {"noun.quantity", "words for quantities"},
      {"noun.relation", "words for relations"},
      {"noun.shape", "words for shapes"},
      {"noun.state", "words for states"},
      {"noun.substance", "words for substances"},
      {"noun.time", "words for time"},
      {"verb.body", "verbs of body care"},
      {"verb.change", "verbs of change"},
      {"verb.cognition", "verbs of thinking"},
      {"verb.communication", "verbs of communication"},
      {"verb.competition", "verbs of competing"},
      {"verb.consumption", "verbs of eating and drinking"},
      {"verb.contact", "verbs of touching"},
      {"verb.creation", "verbs of making"},
      {"verb.emotion", "verbs of emotion"},
      {"verb.motion", "verbs of moving"},
      {"verb.perception", "verbs of seeing and hearing"},
      {"verb.possession", "verbs of having and giving"},
      {"verb.social", "verbs of social life"},
      {"verb.stative", "verbs of being"},
      {"verb.weather", "verbs of weather"},
      {"adj.pert", "relational adjectives"},
      {"adj.ppl", "participial adjectives"}};
  const auto found = phrases.find(category);
  return found == phrases.end() ? std::string_view{} : found->second;
}

}  // namespace introspect
