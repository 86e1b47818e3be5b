// SPDX-License-Identifier: MIT
#include "mnist_lora/json_output.hpp"

#include "support/run.hpp"

namespace mnist_lora {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Evaluation& evaluation) {
  const auto [low, high] = evaluation.interval();
  return {{"accuracy", evaluation.accuracy()},   {"accuracy_interval_95", {low, high}},
          {"errors", evaluation.errors()},       {"images", evaluation.count()},
          {"errors_by_digit", evaluation.wrong}, {"images_by_digit", evaluation.total}};
}

Json to_json(const SweepNumbers& numbers) {
  const auto of = [](const Spread& s) {
    return Json{{"mean", s.mean}, {"deviation", s.deviation}};
  };
  return {{"accuracy", of(numbers.accuracy)},
          {"target_errors", of(numbers.target_errors)},
          {"other_errors", of(numbers.other_errors)}};
}

}  // namespace

Json adapter_settings(const Settings& settings) {
  return {{"r", settings.rank},
          {"lora_alpha", settings.alpha},
          {"use_rslora", settings.use_rslora},
          {"use_dora", settings.use_dora},
          {"init", settings.init},
          {"digits", settings.digits},
          {"replay", settings.replay}};
}

Json to_json(const StudyResult& result) {
  const Settings& s = result.settings;
  Json layers = Json::array();
  for (const LayerShape& layer : result.layers) {
    layers.push_back({{"name", layer.name},
                      {"in_features", layer.in},
                      {"out_features", layer.out},
                      {"r", layer.rank}});
  }
  return {
      {"lora_version", example_support::version()},
      {"data", result.data_name},
      {"settings",
       {{"seed", s.seed},
        {"device", s.device},
        {"threads", s.threads},
        {"epochs", s.epochs},
        {"batch", s.batch},
        {"lr", s.lr},
        {"limit_train", s.limit_train},
        {"r", s.rank},
        {"lora_alpha", s.alpha},
        {"use_rslora", s.use_rslora},
        {"use_dora", s.use_dora},
        {"init", s.init},
        {"lora_dropout", s.lora_dropout},
        {"digits", s.digits},
        {"finetune_batches", s.finetune_batches},
        {"finetune_lr", s.finetune_lr > 0 ? s.finetune_lr : s.lr},
        {"loraplus_lr_ratio", s.loraplus_lr_ratio},
        {"replay", s.replay}}},
      {"layers", layers},
      {"parameters", {{"base", result.base_parameters}, {"lora", result.lora_parameters}}},
      {"pretrained", to_json(result.pretrained)},
      {"lora_on", to_json(result.lora_on)},
      {"lora_off", to_json(result.lora_off)},
      {"verdict", verdict(result)},
      {"first_batches",
       {{"pretraining", result.pretrain_first_batch}, {"finetuning", result.finetune_first_batch}}},
      {"seconds",
       {{"pretraining", result.pretrain_seconds},
        {"finetuning", result.finetune_seconds},
        {"total", result.total_seconds}}},
      {"pretrain_loss", result.pretrain_loss},
      {"finetune_loss", result.finetune_loss}};
}

Json to_json(const Sweep& sweep) {
  Json values = Json::array();
  for (const Sweep::Row& row : sweep.rows()) {
    Json runs = Json::array();
    for (const StudyResult& result : row.runs) {
      runs.push_back(to_json(result));
      for (const char* key : {"pretrain_loss", "lora_off"}) runs.back().erase(key);
    }
    values.push_back({{"value", row.value},
                      {"pretrained", to_json(numbers_before(row))},
                      {"lora_on", to_json(numbers_after(row))},
                      {"runs", runs}});
  }
  return {{"lora_version", example_support::version()}, {"sweep", sweep.key()}, {"values", values}};
}

}  // namespace mnist_lora
