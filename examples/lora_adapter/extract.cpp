// SPDX-License-Identifier: MIT
#include "lora_adapter/command.hpp"

namespace lora_adapter {

void add_extract(CLI::App&) {}

}  // namespace lora_adapter
