// SPDX-License-Identifier: MIT
#include <cstdio>

#include "model.hpp"

int main() {
  lora::Sequential<float> model = guide::make_model();
  lora::adapt(model, {.r = 4}, "alice");
  lora::add_adapter(model, "bob", {.r = 16, .target_modules = {"query"}});
  lora::add_adapter(model, "carol", {.r = 2, .use_dora = true});

  const lora::Tensor<float> x = guide::make_input(5);
  lora::Saved<float> saved;
  {
    // Row by row; the empty name is the base.
    const lora::ScopedAdapterIds rows(
        model, lora::adapter_ids(model, {"bob", "alice", "", "carol", "alice"}));
    const lora::Tensor<float>& y = model.forward(x, saved);
    std::printf("%lld rows through three adapters and the base\n",
                static_cast<long long>(y.dim(0)));
    model.backward(y, saved);  // each adapter gets the gradient of its rows
  }
  lora::Adam<float> adam(model.parameters());
  adam.step();
}
