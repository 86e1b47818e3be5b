// SPDX-License-Identifier: MIT
#include "attention_lora/result.hpp"

#include "support/format.hpp"

namespace attention_lora {

using example_support::format;

std::string verdict(const StudyResult& result) {
  const Losses& base = result.base.losses;
  const Losses& lora = result.lora_on.losses;
  const Losses& full = result.full.losses;
  const double share = 100.0 * static_cast<double>(result.lora_parameters) /
                       static_cast<double>(result.base_parameters);
  const double gained = base.logbook - lora.logbook, gained_by_all = base.logbook - full.logbook;
  std::string text = format(
      "On the logbook LoRA went from %.2f to %.2f nats a character with %.2g %% of the parameters, "
      "full fine-tuning to %.2f. ",
      base.logbook, lora.logbook, share, full.logbook);
  if (gained <= 0) {
    text += "So LoRA learned nothing that holds. ";
  } else if (gained < gained_by_all) {
    text += format("So LoRA made %.0f %% of that way. ", 100 * gained / gained_by_all);
  } else {
    text += "So LoRA lost nothing by training so few. ";
  }
  text += format(
      "On the fables the loss rose from %.2f to %.2f with LoRA on and to %.2f by full "
      "fine-tuning: ",
      base.fables, lora.fables, full.fables);
  return text +
         "both forget, but LoRA can be switched off, and what is left then is the base model, "
         "bit for bit.";
}

}  // namespace attention_lora
