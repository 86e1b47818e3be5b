// SPDX-License-Identifier: MIT
#include "attention_lora/grammar.hpp"
#include "attention_lora/texts.hpp"

namespace attention_lora {

namespace {

const Grammar& grammar() {
  static const Grammar rules{
      {"fable",
       "{opening} {trouble} {talk} {deed} {end} {moral}\n|"
       "{opening} {talk} {deed} {deed} {end}\n|"
       "{opening} {trouble} {deed} {talk} {end} {moral}\n|"
       "{opening} {talk} {talk} {deed} {moral}\n"},
      {"opening",
       "Once a {a:animal} and a {b:animal} lived {where}.|"
       "In {season} a {nature} {a:animal} met a {b:animal} {where}.|"
       "When {weather}, a {a:animal} came to the house of a {nature} {b:animal}.|"
       "After {3..60} days of {hardship} a {a:animal} found a {b:animal} {where}.|"
       "Many years ago a {a:animal} {habit}, and a {nature} {b:animal} {habit}.|"
       "At the edge of the {place} there was a {nature} {a:animal}, and its neighbour was a "
       "{b:animal}."},
      {"trouble",
       "The {a} had lost its {thing}, and the {b} knew where it was.|"
       "Now the {a} was {feeling}, for the {food} was gone.|"
       "Each morning the {b} {act}, and the {a} was {feeling}.|"
       "But {weather}, and there was no {food} to be had.|"
       "The {a} wished for nothing but the {thing} of the {b}.|"
       "There were only {2..99} {goods} left {where}.|"
       "From that day on the {a} {act} whenever the {b} {act}."},
      {"talk",
       "\"{plea},\" said the {a}, \"and {promise}.\" \"{answer},\" said the {b}.|"
       "The {a} asked, \"{question}?\" \"{answer},\" said the {b}.|"
       "\"{question}?\" cried the {b}. The {a} {act} and said, \"{answer}.\"|"
       "\"{answer},\" said the {b}, who {act}.|"
       "The {b} said to the {a}: \"{plea}; {promise}.\""},
      {"plea",
       "Lend me your {thing}|Show me the way to the {place}|Do not eat my {food}|"
       "Let us share the {food}|Help me to carry the {thing}|Hide me from the {person}|"
       "Bring me {2..40} {goods}|Tell me what the {person} said|Sing to me until {time}|"
       "Wait for me {where}|Forgive me for the {thing}|Let me sleep {where}|"
       "Make me a {thing} like yours|Open the door of the {place}"},
      {"promise",
       "I will give you {2..40} {goods}|you shall have half of the {food}|"
       "I will keep the {person} away|nobody shall hear of the {thing}|"
       "I will teach you to dance|the {place} will be yours|my children will thank you|"
       "I will never again be {feeling}|we shall both be rich|I will carry you over the {place}"},
      {"question",
       "Who took the {food}|Why are you {feeling}|Where is my {thing}|"
       "Have you seen the {person}|Is it true that the {person} is {feeling}|"
       "How many {goods} are there {where}|Must I wait until {time}|"
       "What is a {thing} to one who has no {food}|Does the {animal} know of this|"
       "Are you not the {animal} who {act}"},
      {"answer",
       "A {thing} is not worth {2..40} {goods}|The {person} has it|So be it|"
       "I am too {feeling} to speak|Nobody asked the {animal}|Look behind the {place}|"
       "I would rather sleep|Even a {animal} knows that|First bring me the {food}|"
       "It was eaten before {time}|Many have asked, and none has come back|"
       "That is what the {animal} said too|When {weather}, you will see|"
       "In {season} everyone is {feeling}"},
      {"deed",
       "So the {a} {act} and {act}.|But the {b} only {act}.|"
       "Then the {b} {act} until {time}.|All night the {a} {act}, while the {b} {act}.|"
       "The {a} {manner} {act}, but the {b} {act}.|"
       "Before {time} the {b} {act}, {act} and {act}.|"
       "While {weather}, the {a} {manner} {act}."},
      {"end",
       "At {time} the {thing} broke, and the {food} fell into the {place}.|"
       "When the {person} came, both ran away, and the {food} was left {where}.|"
       "In the end the {b} kept the {thing}, and the {a} went home {feeling}.|"
       "The {person} laughed and gave the {thing} to the {b}.|"
       "So the {a} had the {food}, and the {b} had {2..40} {goods}.|"
       "Since then the {a} and the {b} do not greet each other.|"
       "They shared the {food} and were friends until {season}.|"
       "But the {thing} belonged to the {person}, who was {feeling}."},
      {"moral",
       "Who {vice} will have no {food} in {season}.|It is better to be {nature} than {feeling}.|"
       "Even a {nature} {animal} can teach a {animal}.|"
       "He who {vice} should not lend his {thing}.|"
       "No {food} is sweet to one who {vice}.|Trust the {animal} who is {feeling} at {time}.|"
       "One {thing} in the hand is worth {2..40} {where}.|"
       "Let nobody who {vice} near the {food}."},
      {"animal",
       "fox|heron|crow|wolf|bear|hare|mouse|lion|goat|frog|badger|stork|donkey|rooster|snake|cat|"
       "dog|beetle|turtle|magpie|jackal|sparrow|camel|quail|zebra|lynx|hedgehog|raven|pig|cricket"},
      {"person", "miller|hunter|widow|king|shepherd|judge|farmer|baker|monk|queen|tailor|beggar"},
      {"nature",
       "proud|lazy|young|wise|greedy|quiet|brave|vain|clever|humble|jealous|kind|cunning|patient|"
       "well-fed|quick-witted|hard-working"},
      {"feeling",
       "hungry|tired|angry|glad|afraid|ashamed|lonely|cold|merry|puzzled|thirsty|content"},
      {"manner", "slowly|secretly|quickly|gladly|bravely|sadly|calmly|foolishly"},
      {"where",
       "by the {place}|near the {place}|under a {tree}|behind the {place}|beyond the {place}|"
       "in the shade of a {tree}|on the road to the {place}"},
      {"place",
       "river|old mill|forest|well|bridge|village|meadow|orchard|pond|hill|market|stable|garden|"
       "vineyard|marsh|quarry|castle|lake"},
      {"tree", "fig tree|willow|oak|pine|hazel bush|plum tree|beech|thorn hedge"},
      {"thing",
       "lantern|basket|bell|mirror|ladder|ring|cloak|rope|flute|drum|kettle|wheel|key|jar|comb|"
       "knife|saddle|feather|crown|blanket"},
      {"food",
       "cheese|honey|bread|corn|barley|milk|butter|fish|soup|cake|salt|wine|roast|porridge"},
      {"goods", "eggs|nuts|figs|pears|apples|coins|olives|grapes|berries|beans|acorns|buttons"},
      {"season",
       "spring|summer|autumn|winter|the year of the flood|the month of storms|hard times"},
      {"time", "dawn|noon|dusk|midnight|sunrise|the next full moon|the third day|harvest"},
      {"weather",
       "it rained|snow lay on the {place}|the wind blew from the {place}|the {place} was frozen|"
       "the moon was bright|the {place} had dried up|thunder rolled over the {place}"},
      {"hardship", "hunger|rain|thirst|wandering|work|silence|frost|bad luck"},
      {"habit",
       "sold {food} {where}|owned a {thing}|guarded the {place}|told lies for {food}|"
       "slept {where}|could read the stars|was the servant of a {person}"},
      {"act",
       "dug a hole {where}|climbed the tallest {tree}|hid the {food} {where}|"
       "counted the {goods} again|slept with one eye open|sang of {season}|"
       "looked into the {thing}|ate all the {goods}|ran to the {person}|"
       "swam across the {place}|rang the bell of the {place}|wept for the {thing}|"
       "built a {thing} of straw|danced {where}|wrote a letter to the {person}|"
       "sat down {where}|pulled at the {thing}|listened at the door|"
       "carried the {thing} to the {place}|begged for {food}|shook its head|"
       "waited {where}|threw the {thing} into the {place}|boasted of the {food}"},
      {"vice",
       "sleeps until {time}|boasts of {food}|trusts a {animal}|counts his {goods} twice|"
       "envies a {animal}|steals from a {person}|laughs at a {person}|quarrels over a {thing}|"
       "builds {where}|forgets a friend"},
  };
  return rules;
}

}  // namespace

Text fables(std::uint64_t seed) {
  Dice dice(seed);
  return make_text("fables", [&] {
    Grammar::Kept kept;
    // What a fable is about stays the same through all of it.
    for (const char* what : {"thing", "food", "goods", "person"}) {
      kept[what] = grammar().expand(what, kept, dice);
    }
    return grammar().expand("fable", kept, dice);
  });
}

}  // namespace attention_lora
