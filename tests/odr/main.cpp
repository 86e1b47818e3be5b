// SPDX-License-Identifier: MIT
// Two translation units and a shared library with hidden symbols, each compiled with other flags,
// are one program: they see the same device table and agree on every layout.
#include <cstddef>
#include <cstdio>

#include <lora/lora.hpp>

struct Facts {
  const void* table;
  std::size_t tensor, module, saved, backend;
};

Facts facts_of_other_unit();
Facts facts_of_shared_library();

int main() {
  const Facts here{&lora::detail::cuda_backend, sizeof(lora::Tensor<float>),
                   sizeof(lora::LoRALinear<float>), sizeof(lora::Saved<float>),
                   sizeof(lora::detail::Backend)};
  for (const Facts& there : {facts_of_other_unit(), facts_of_shared_library()}) {
    if (here.table != there.table) {
      std::puts("two device tables in one program");
      return 1;
    }
    if (here.tensor != there.tensor || here.module != there.module || here.saved != there.saved ||
        here.backend != there.backend) {
      std::puts("a type has two layouts");
      return 1;
    }
  }
  return 0;
}
