// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
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

namespace detail {

struct MnistFile {
  const char* name;
  std::uint64_t bytes;  // uncompressed
};

inline constexpr std::array<MnistFile, 4> kMnistFiles{{{"train-images-idx3-ubyte", 47040016},
                                                       {"train-labels-idx1-ubyte", 60008},
                                                       {"t10k-images-idx3-ubyte", 7840016},
                                                       {"t10k-labels-idx1-ubyte", 10008}}};

struct MnistHashes {
  const char* name;
  std::array<const char*, 4> sha256;  // of the uncompressed files, in the order above
};

inline constexpr std::array<MnistHashes, 2> kMnistHashes{
    {{"MNIST",
      {"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
       "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
       "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
       "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}},
     {"Fashion-MNIST",
      {"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
       "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
       "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
       "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}}}};

/// Where a file of the set lies: in the folder itself or in torchvision's MNIST/raw below it, with
/// the dash of the original names or the dot of older mirrors. Empty when nowhere.
template <class Reader>
std::filesystem::path find_mnist_file(const std::filesystem::path& folder, const std::string& name,
                                      std::string& tried) {
  std::string dotted = name;
  dotted[dotted.rfind("-idx")] = '.';
  for (const char* below : {"", "MNIST/raw", "FashionMNIST/raw"}) {
    for (const std::string& stem : {name, dotted}) {
      for (const char* ending : Reader::kEndings) {
        const std::filesystem::path path = folder / below / (stem + ending);
        std::error_code error;
        if (std::filesystem::exists(path, error)) return path;
        tried += (tried.empty() ? "" : ", ") + path.string();
      }
    }
  }
  return {};
}

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
  std::array<std::string, 4> paths, hashes;
  for (std::size_t i = 0; i < 4; ++i) {
    const detail::MnistFile& file = detail::kMnistFiles[i];
    std::string tried;
    const auto path = detail::find_mnist_file<Reader>(folder, file.name, tried);
    if (path.empty()) {
      throw FileError(std::string(file.name) + " is missing (" + std::to_string(file.bytes) +
                      " bytes, SHA-256 " + detail::kMnistHashes[0].sha256[i] +
                      " for MNIST); tried " + tried);
    }
    paths[i] = path.string();
    const std::vector<std::uint8_t> bytes = read(path, file.bytes);
    tensors[i] = parse_idx(bytes, paths[i]);
    hashes[i] = detail::Sha256::hex(bytes);
  }
  Mnist set;
  set.train = detail::join_mnist(std::move(tensors[0]), tensors[1], paths[0], paths[1]);
  set.test = detail::join_mnist(std::move(tensors[2]), tensors[3], paths[2], paths[3]);
  set.name = "unpublished images";

  for (const detail::MnistHashes& known : detail::kMnistHashes) {
    std::size_t same = 0;
    for (std::size_t i = 0; i < 4; ++i) same += hashes[i] == known.sha256[i];
    if (same == 4) set.name = known.name;
    if (verify == Verify::form || same == 0 || same == 4) continue;
    for (std::size_t i = 0; i < 4; ++i) {
      if (hashes[i] == known.sha256[i]) continue;
      throw FileError(paths[i] + ": expected " + known.name + " with SHA-256 " + known.sha256[i] +
                      ", found " + hashes[i]);
    }
  }
  if (verify == Verify::published && set.name == "unpublished images") {
    throw FileError(paths[0] + ": expected MNIST with SHA-256 " +
                    detail::kMnistHashes[0].sha256[0] + " or Fashion-MNIST, found " + hashes[0]);
  }
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
