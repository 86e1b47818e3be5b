// SPDX-License-Identifier: MIT
#include "lora_adapter/command.hpp"

namespace lora_adapter {

void add_convert(CLI::App&) {}

}  // namespace lora_adapter
