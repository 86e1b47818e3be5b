// SPDX-License-Identifier: MIT
#include <cstdio>

#include <lora/verify.hpp>

#include "model.hpp"

int main() {
  lora::Sequential<float> model = guide::make_model();
  lora::adapt(model, {.r = 4, .lora_alpha = 8});
  guide::train(model);

  const lora::VerifyReport checks = lora::verify(model, guide::make_input(8));
  std::printf("%s", lora::to_string(checks).c_str());
  if (!checks.passed()) return 1;

  try {
    const lora::MergeReport report = lora::merge(model, {.max_relative_error = 1e-3});
    std::printf("%s", lora::to_string(report).c_str());
  } catch (const lora::ValueError& error) {
    std::printf("%s\n", error.what());  // and no weight has changed
    return 1;
  }
  lora::unmerge(model);  // every bit of every weight is as it was
}
