// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>

#include <lora/data/mnist.hpp>

namespace mnist_lora {

/// The images of a folder, or of "fashion" (Debian's package) or "synthetic" (drawn by the
/// library); the empty string means the folder of lora::default_data_dir(). Throws lora::FileError,
/// whose text says what to do.
lora::Mnist load_data(const std::string& where, bool download);

/// Fetches the files of MNIST that are missing in `folder` with curl or wget: over HTTPS, from the
/// mirrors that PyTorch and TensorFlow use. A file is checked by its SHA-256 before it takes its
/// name. Throws lora::FileError.
void download_mnist(const std::filesystem::path& folder);

}  // namespace mnist_lora
