// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include <lora/device.hpp>

namespace CLI {
class App;
}

namespace example_support {

/// Adds --device and --threads, which starts as the number that the library would use.
void add_machine_options(CLI::App& app, std::string& device, int& threads);

/// The device of that name: "cpu", "cuda", or "auto", which says why where it falls back to the
/// CPU. Throws lora::DeviceError when "cuda" is not there.
lora::Device choose_device(const std::string& wanted);

/// Of the library: "0.1.0".
std::string version();

}  // namespace example_support
