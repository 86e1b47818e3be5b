// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <lora/data/idx.hpp>
#include <lora/data/labeled_images.hpp>
#include <lora/detail/sha256.hpp>
#include <lora/error.hpp>

namespace lora::inline v0 {

/// Ten classes of 28×28 images, 60,000 to train on and 10,000 to test with.
struct Mnist {
  LabeledImages train, test;
  std::string name;  ///< "MNIST", "Fashion-MNIST", or what the caller knows
};

/// One of the four files of a published set; size and hash are those of the file without gzip.
struct MnistFile {
  const char* name;
  std::uint64_t bytes;
  const char* sha256;
};

/// Training images, training labels, test images, test labels.
using MnistFiles = std::array<MnistFile, 4>;

inline constexpr MnistFiles kMnistFiles{
    {{"train-images-idx3-ubyte", 47040016,
      "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
     {"train-labels-idx1-ubyte", 60008,
      "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
     {"t10k-images-idx3-ubyte", 7840016,
      "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
     {"t10k-labels-idx1-ubyte", 10008,
      "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}}};

inline constexpr MnistFiles kFashionMnistFiles{
    {{"train-images-idx3-ubyte", 47040016,
      "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
     {"train-labels-idx1-ubyte", 60008,
      "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
     {"t10k-images-idx3-ubyte", 7840016,
      "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
     {"t10k-labels-idx1-ubyte", 10008,
      "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}}};

/// Where a file of the set lies: in the folder itself or in torchvision's MNIST/raw below it, with
/// the dash of the original names or the dot of older mirrors. Empty when nowhere; `tried`, unless
/// null, then lists the places.
template <class Reader = RawReader>
std::filesystem::path find_mnist_file(const std::filesystem::path& folder, const std::string& name,
                                      std::string* tried = nullptr) {
  std::string dotted = name;
  dotted[dotted.rfind("-idx")] = '.';
  for (const char* below : {"", "MNIST/raw", "FashionMNIST/raw"}) {
    for (const std::string& stem : {name, dotted}) {
      for (const char* ending : Reader::kEndings) {
        const std::filesystem::path path = folder / below / (stem + ending);
        std::error_code error;
        if (std::filesystem::exists(path, error)) return path;
        if (tried) *tried += (tried->empty() ? "" : ", ") + path.string();
      }
    }
  }
  return {};
}

/// Throws FileError unless `bytes`, read from `path`, are the file of that set.
inline void require_published(const MnistFile& file, const std::string& set,
                              std::span<const std::uint8_t> bytes, const std::string& path) {
  const std::string hash = detail::Sha256::hex(bytes);
  if (hash == file.sha256) return;
  throw FileError(path + ": expected " + set + " with SHA-256 " + file.sha256 + ", found " + hash);
}

namespace detail {

inline LabeledImages join_mnist(Tensor<std::uint8_t> images, const Tensor<std::uint8_t>& labels,
                                const std::string& images_path, const std::string& labels_path) {
  if (images.shape().rank() != 3 || images.dim(1) != 28 || images.dim(2) != 28) {
    throw FileError(images_path + ": expected images of shape (N, 28, 28), found " +
                    images.shape().to_string());
  }
  if (labels.shape().rank() != 1) {
    throw FileError(labels_path + ": expected labels of shape (N,), found " +
                    labels.shape().to_string());
  }
  if (images.dim(0) != labels.dim(0)) {
    throw FileError(labels_path + ": expected " + std::to_string(images.dim(0)) +
                    " labels, as many as there are images in " + images_path + ", found " +
                    std::to_string(labels.dim(0)));
  }
  LabeledImages set;
  set.labels = Tensor<std::int32_t>({labels.numel()});
  for (index_t i = 0; i < labels.numel(); ++i) {
    if (labels[i] > 9) {
      throw FileError(labels_path + ": expected labels from 0 to 9, found " +
                      std::to_string(labels[i]) + " for image " + std::to_string(i));
    }
    set.labels[i] = labels[i];
  }
  set.images = Tensor<std::uint8_t>({images.dim(0), 28 * 28}, images.span());
  return set;
}

}  // namespace detail

/// Whether load_mnist takes only the published files, or any of the right form.
enum class Verify { published, form };

/// Reads the four files of MNIST or Fashion-MNIST from a folder and checks them: their form, counts
/// and labels, and by SHA-256 that they are one of the two published sets. Throws FileError.
template <class Reader = RawReader>
Mnist load_mnist(const std::filesystem::path& folder, const Reader& read = {},
                 Verify verify = Verify::published) {
  std::array<Tensor<std::uint8_t>, 4> tensors;
  std::array<std::string, 4> paths;
  bool is_mnist = true, is_fashion = true;
  std::string mismatch;
  for (std::size_t i = 0; i < 4; ++i) {
    const MnistFile& file = kMnistFiles[i];
    std::string tried;
    const auto path = find_mnist_file<Reader>(folder, file.name, &tried);
    if (path.empty()) {
      throw FileError(std::string(file.name) + " is missing (" + std::to_string(file.bytes) +
                      " bytes, SHA-256 " + file.sha256 + " for MNIST); tried " + tried);
    }
    paths[i] = path.string();
    const std::vector<std::uint8_t> bytes = read(path, file.bytes);
    tensors[i] = parse_idx(bytes, paths[i]);
    const std::string hash = detail::Sha256::hex(bytes);
    is_mnist = is_mnist && hash == file.sha256;
    is_fashion = is_fashion && hash == kFashionMnistFiles[i].sha256;
    if (!is_mnist && !is_fashion && mismatch.empty()) {
      mismatch = paths[i] + ": expected MNIST with SHA-256 " + file.sha256 +
                 " or Fashion-MNIST with " + kFashionMnistFiles[i].sha256 + ", found " + hash;
    }
  }
  Mnist set;
  set.train = detail::join_mnist(std::move(tensors[0]), tensors[1], paths[0], paths[1]);
  set.test = detail::join_mnist(std::move(tensors[2]), tensors[3], paths[2], paths[3]);
  if (!mismatch.empty() && verify == Verify::published) throw FileError(mismatch);
  set.name = is_mnist ? "MNIST" : is_fashion ? "Fashion-MNIST" : "unpublished images";
  return set;
}

/// Where data is looked for when nothing else is said: LORA_DATA_DIR, else lora/mnist below
/// XDG_CACHE_HOME, else ~/.cache/lora/mnist.
inline std::filesystem::path default_data_dir() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value ? value : "");
  };
  if (const auto folder = variable("LORA_DATA_DIR"); !folder.empty()) return folder;
  if (const auto cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "lora/mnist";
  return variable("HOME") / ".cache/lora/mnist";
}

}  // namespace lora::inline v0
