// SPDX-License-Identifier: MIT
#include "mnist_lora/data_source.hpp"

#include <lora/data/gz.hpp>
#include <lora/data/synthetic_digits.hpp>
#include <lora/error.hpp>

namespace mnist_lora {

namespace {

constexpr const char* kFashionFolder = "/usr/share/datasets/fashion-mnist";

bool is_complete(const std::filesystem::path& folder) {
  for (const lora::MnistFile& file : lora::kMnistFiles) {
    if (lora::find_mnist_file<lora::GzReader>(folder, file.name).empty()) return false;
  }
  return true;
}

}  // namespace

lora::Mnist load_data(const std::string& where, bool download) {
  if (where == "synthetic") return lora::synthetic_digits();
  if (where == "fashion") {
    if (!is_complete(kFashionFolder)) {
      throw lora::FileError(std::string("Fashion-MNIST is not in ") + kFashionFolder +
                            "; install it with: sudo apt-get install dataset-fashion-mnist");
    }
    return lora::load_mnist(kFashionFolder, lora::GzReader{});
  }
  const std::filesystem::path folder =
      where.empty() ? lora::default_data_dir() : std::filesystem::path(where);
  if (download) download_mnist(folder);
  try {
    return lora::load_mnist(folder, lora::GzReader{});
  } catch (const lora::FileError& error) {
    if (is_complete(folder)) throw;
    throw lora::FileError(std::string(error.what()) +
                          ". Name its folder with --data DIR, fetch it with --download, or try "
                          "--data synthetic, which needs no file");
  }
}

}  // namespace mnist_lora
