// SPDX-License-Identifier: MIT
#include "attention_lora/grammar.hpp"
#include "attention_lora/texts.hpp"

namespace attention_lora {

namespace {

const Grammar& grammar() {
  static const Grammar rules{
      {"entry",
       "Day {day}: {wind}; {sea}. {position} {event} {event} {stores} {close}\n|"
       "Day {day}: {sky}. {wind}. {event} {event} {event} {close}\n|"
       "Day {day}: {wind}. {sky}. {event} {stores} {event} {close}\n|"
       "Day {day}: {sky}; {sea}. {position} {event} {close}\n"},
      {"wind",
       "Wind {p:point} {1..9}|Wind {p:point} {1..9}, then {q:point} {1..9}|"
       "Wind {p:point} {1..9}, backing {q:point}|Wind {p:point}, light airs|No wind|"
       "Wind {p:point}, hard squalls"},
      {"point", "N|S|W|E|NE|NW|SE|SW|NNE|NNW|SSE|SSW|ENE|ESE|WNW|WSW"},
      {"sea",
       "sea smooth|sea slight|sea rough|sea high|long swell from {point}|short sea|cross sea|"
       "ice on deck|water over the bows"},
      {"sky",
       "Fog|Fog until {watch}|Fair|Fair, hazy|Sky overcast|Low cloud from {point}|Steady rain|"
       "Snow at {watch}|Lightning to {point}|Bright stars|Sleet and hail|Dry and cold"},
      {"position",
       "Noon {12..58}-{10..59} {ns}, {10..79}-{10..59} {ew}.|Steered {point}, {20..210} miles.|"
       "Depth {5..90}, {ground}.|Speed {2..12} knots, course {point}."},
      {"ns", "N|S"},
      {"ew", "E|W"},
      {"ground", "sand|mud|shells|no bottom|black rock|coral"},
      {"watch", "dawn|noon|dusk|midnight|2 bells|4 bells|6 bells|8 bells|first watch|dog watch"},
      {"event",
       "{hands} {task}.|At {watch} {sighted}.|{watch_mark} {task_done}.|Lost {gear}, {cause}.|"
       "{hands} {trouble}.|At {watch} {sail_order}.|{gear_mark} {state}, {hands_low} {task}.|"
       "Spoke {vessel} of {port}, {20..190} days out, {cargo}.|"
       "Hailed {vessel}: \"What ship?\" \"{reply}.\"|"
       "Sounded {2..9} times, {5..90} feet in the well.|Water in the hold, {2..60} inches."},
      {"hands",
       "Mate|Second mate|Boatswain|Two hands|Three hands|All hands|Starboard watch|Larboard watch|"
       "Sailmaker|Helmsman|Lookout|Old hands"},
      {"hands_low", "mate|boatswain|two hands|all hands|carpenter|cook|sailmaker"},
      {"watch_mark", "Before {watch}|Since {watch}|From {watch}|By end of {watch}|After {watch}"},
      {"task",
       "mending {gear}|scraping {gear}|at the pumps|aloft, greasing {gear}|painting {gear}|"
       "splicing {rope}|drying sails|stowing {cargo}|washing down|bending a new {sail}|"
       "tarring {rope}|setting up {rope}|fishing for {catch}|sent to clear {gear}"},
      {"task_done",
       "{gear} made fast|{gear} mended|{sail} shifted|{rope} spliced|{rope} renewed|hold pumped "
       "dry|"
       "{cargo} stowed anew|{sail} split, unbent|compass checked, {1..9} {ew}"},
      {"sail_order",
       "set {sail}|took in {sail}|reefed {sail}|furled {sail} and {sail}|hove to under {sail}|"
       "wore ship to {point}|tacked to {point}|squared the yards|dropped anchor in {5..40}"},
      {"sighted",
       "sighted {vessel}, bearing {point}|sighted land, bearing {point}|saw {catch} to {point}|"
       "saw ice to {point}, {2..30} miles|raised a light, {point} by {point}|lost sight of "
       "{vessel}|"
       "exchanged signals with {vessel}|breakers to {point}"},
      {"vessel",
       "a brig|a barque|a schooner|a whaler|a sloop|a frigate|a cutter|a steamer|a dismasted ship|"
       "a pilot boat"},
      {"port",
       "Aldhaven|Morwick|Brunsund|Ostermouth|Saltholm|Wexbury|Iverness|Tarquay|Eastlund|Norfjord|"
       "Hazelport|Lindness"},
      {"reply",
       "Industry of {port}|Hope of {port}|Swift of {port}|Blind of one mast|No answer|Steer "
       "{point}"},
      {"cargo", "timber|salt|wool|hides|oil|coal|rum and sugar|copper|tea|jute|grain|pitch"},
      {"gear",
       "fore pump|main yard|jib boom|capstan|rudder chain|galley pipe|long boat|quarter boat|"
       "windlass|binnacle|hatch cover|mizzen mast|anchor stock|log line|sextant box|water cask"},
      {"gear_mark",
       "Fore pump|Main yard|Windlass|Long boat|Taffrail|Booby hatch|Stern post|Bowsprit"},
      {"state", "cracked|adrift|leaking|jammed|sprung|choked|worn through|frozen fast"},
      {"sail",
       "topsails|jib|foresail|mainsail|spanker|royals|staysail|topgallants|studding sails|trysail"},
      {"rope", "backstays|braces|halyards|shrouds|ratlines|lee sheet|bobstay|footropes"},
      {"catch", "bonito|sharks|porpoises|squid|cod|flying fish|gulls|petrels|a whale|turtles"},
      {"cause",
       "chain parted|shackle broke|heavy sea|not secured|rotten timber|stove in|in a squall"},
      {"trouble",
       "sick, {ailment}|off duty, {ailment}|fined {2..9} days rum|logged for sleeping|"
       "refused duty|aloft all night|hurt at the {gear}|better, back on duty"},
      {"ailment", "fever|scurvy|broken wrist|bad teeth|frostbite|burnt hand|sprained knee|flux"},
      {"stores",
       "Left: {2..60} casks water, {2..30} {unit} {food}.|Served {food} and {food}.|"
       "Short of {food}.|Opened cask of {food}, bad.|Water {2..4} quarts a man.|"
       "Issued {food}, {2..9} ounces.|Baked bread.|Last pig slaughtered.|Extra rum."},
      {"unit", "sacks|barrels|tins|boxes|bags"},
      {"food",
       "salt beef|salt pork|rice|pease|biscuit|lime juice|flour|coffee|molasses|oatmeal|vinegar|"
       "dried fish|raisins|suet"},
      {"close",
       "All well.|All well but {ailment}.|So ends.|Lights trimmed.|Set watch.|Nothing in sight.|"
       "Barometer {27..31}.{10..99}, {barometer}.|Thermometer {0..31}.|Died: 1 hand, fever.|"
       "End of {watch}."},
      {"barometer", "rising|falling|steady|jumpy|falling fast"},
  };
  return rules;
}

}  // namespace

Text logbook(std::uint64_t seed) {
  Dice dice(seed);
  std::size_t day = 0;
  return make_text("logbook", [&] {
    Grammar::Kept kept{{"day", std::to_string(++day)}};
    return grammar().expand("entry", kept, dice);
  });
}

}  // namespace attention_lora
