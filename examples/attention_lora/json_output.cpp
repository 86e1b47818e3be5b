// SPDX-License-Identifier: MIT
#include "attention_lora/json_output.hpp"

#include "support/run.hpp"

namespace attention_lora {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Losses& losses) {
  return {{"fables", losses.fables}, {"logbook", losses.logbook}};
}

Json to_json(const Outcome& outcome) {
  return {{"loss", to_json(outcome.losses)}, {"sample", outcome.sample}};
}

Json to_json(const Phase& phase) {
  Json curve = Json::array();
  for (const Phase::Point& point : phase.curve) {
    curve.push_back({{"step", point.step}, {"loss", to_json(point.losses)}});
  }
  return {{"trainable", phase.trainable},
          {"optimizer_bytes", phase.optimizer_bytes()},
          {"seconds", phase.seconds},
          {"curve", curve},
          {"loss", phase.loss}};
}

}  // namespace

Json saved_settings(const Settings& settings) {
  return {{"dim", settings.dim},
          {"layers", settings.layers},
          {"heads", settings.heads},
          {"context", settings.context},
          {"r", settings.rank},
          {"lora_alpha", settings.alpha},
          {"target_modules", settings.target_modules}};
}

Json to_json(const StudyResult& result) {
  const Settings& s = result.settings;
  Json settings = {{"seed", s.seed}, {"device", s.device}, {"threads", s.threads}};
  settings.update(saved_settings(s));
  settings.update({{"batch", s.batch},
                   {"steps", s.steps},
                   {"lr", s.lr},
                   {"adapt_steps", s.adapt_steps},
                   {"adapt_lr", s.adapt_lr},
                   {"sample", s.sample},
                   {"temperature", s.temperature}});
  return {{"lora_version", example_support::version()},
          {"settings", settings},
          {"parameters", {{"base", result.base_parameters}, {"lora", result.lora_parameters}}},
          {"adapted", result.adapted},
          {"base", to_json(result.base)},
          {"lora_on", to_json(result.lora_on)},
          {"lora_off", to_json(result.lora_off)},
          {"full", to_json(result.full)},
          {"verdict", verdict(result)},
          {"total_seconds", result.total_seconds},
          {"pretraining", to_json(result.pretraining)},
          {"adaptation", to_json(result.adaptation)},
          {"full_finetuning", to_json(result.full_finetuning)}};
}

}  // namespace attention_lora
