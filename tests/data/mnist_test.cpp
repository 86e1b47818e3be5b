// SPDX-License-Identifier: MIT
#include <lora/data/gz.hpp>
#include <lora/data/mnist.hpp>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "support/gzip.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::FileError;
using Bytes = std::vector<std::uint8_t>;

namespace {

Bytes idx_images(std::uint8_t count, std::uint8_t side = 28) {
  Bytes bytes{0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, side, 0, 0, 0, side};
  for (int i = 0; i < count * side * side; ++i) bytes.push_back(static_cast<std::uint8_t>(i));
  return bytes;
}

Bytes idx_labels(const Bytes& labels) {
  Bytes bytes{0, 0, 8, 1, 0, 0, 0, static_cast<std::uint8_t>(labels.size())};
  for (const std::uint8_t label : labels) bytes.push_back(label);
  return bytes;
}

// A folder of the right form, with 3 training and 2 test images, ready to be spoilt.
struct SmallSet {
  TemporaryFolder folder;

  explicit SmallSet(const std::string& below = "") {
    put(below + "train-images-idx3-ubyte", idx_images(3));
    put(below + "train-labels-idx1-ubyte", idx_labels({7, 0, 9}));
    put(below + "t10k-images-idx3-ubyte", idx_images(2));
    put(below + "t10k-labels-idx1-ubyte", idx_labels({1, 2}));
  }

  void put(const std::string& name, const Bytes& bytes) { write_bytes(folder / name, bytes); }
  lora::Mnist load() const {
    return lora::load_mnist(folder.path(), lora::GzReader{}, lora::Verify::form);
  }
};

}  // namespace

TEST_CASE("load_mnist reads images and labels", "[mnist]") {
  const lora::Mnist set = SmallSet().load();
  CHECK(set.train.images.shape() == Shape{3, 784});
  CHECK(set.train.labels[2] == 9);
  CHECK(set.test.size() == 2);
  CHECK(set.train.images(0, 5) == 5);
  CHECK(set.name == "unpublished images");
}

TEST_CASE("load_mnist finds gzip files, dotted names and torchvision's folders", "[mnist]") {
  const SmallSet torchvision("MNIST/raw/");
  CHECK(torchvision.load().train.size() == 3);
  const SmallSet mixed;
  std::filesystem::remove(mixed.folder / "train-images-idx3-ubyte");
  std::filesystem::remove(mixed.folder / "t10k-labels-idx1-ubyte");
  write_bytes(mixed.folder / "train-images-idx3-ubyte.gz", gzip(idx_images(3)));
  write_bytes(mixed.folder / "t10k-labels.idx1-ubyte", idx_labels({1, 2}));
  CHECK(mixed.load().train.size() == 3);
}

TEST_CASE("load_mnist accepts published files alone, unless told otherwise", "[mnist][errors]") {
  const SmallSet set;
  CHECK_THROWS_WITH(lora::load_mnist(set.folder.path()),
                    contains("expected MNIST with SHA-256 ba891046") && contains("found "));
}

TEST_CASE("load_mnist names a missing file and every place it tried", "[mnist][errors]") {
  const SmallSet set;
  std::filesystem::remove(set.folder / "t10k-images-idx3-ubyte");
  CHECK_THROWS_WITH(set.load(), contains("t10k-images-idx3-ubyte is missing (7840016 bytes") &&
                                    contains("MNIST/raw/t10k-images.idx3-ubyte.gz"));
}

TEST_CASE("load_mnist refuses a label above 9", "[mnist][errors]") {
  SmallSet set;
  set.put("train-labels-idx1-ubyte", idx_labels({7, 255, 9}));
  CHECK_THROWS_WITH(set.load(), contains("train-labels-idx1-ubyte: expected labels from 0 to 9, "
                                         "found 255 for image 1"));
}

TEST_CASE("load_mnist refuses counts that differ", "[mnist][errors]") {
  SmallSet set;
  set.put("t10k-labels-idx1-ubyte", idx_labels({1, 2, 3}));
  CHECK_THROWS_WITH(set.load(), contains("expected 2 labels") && contains("found 3"));
}

TEST_CASE("load_mnist refuses images that are not 28 by 28", "[mnist][errors]") {
  SmallSet set;
  set.put("t10k-images-idx3-ubyte", idx_images(2, 27));
  CHECK_THROWS_WITH(set.load(),
                    contains("expected images of shape (N, 28, 28), found (2, 27, 27)"));
}

TEST_CASE("load_mnist refuses swapped files", "[mnist][errors]") {
  SmallSet set;
  set.put("train-images-idx3-ubyte", idx_labels({7, 0, 9}));
  set.put("train-labels-idx1-ubyte", idx_images(3));
  CHECK_THROWS_AS(set.load(), FileError);
}

TEST_CASE("load_mnist refuses more data than the set has", "[mnist][errors]") {
  SmallSet set;
  set.put("train-labels-idx1-ubyte", Bytes(60009));
  CHECK_THROWS_WITH(set.load(), contains("expected at most 60008 bytes, found 60009"));
  set.put("train-labels-idx1-ubyte", gzip(Bytes(std::size_t{50} << 20)));
  CHECK_THROWS_WITH(set.load(), contains("the gzip data holds more"));
}

TEST_CASE("load_mnist recognises the real MNIST", "[mnist][data]") {
  const char* folder = std::getenv("LORA_DATA_DIR");
  if (!folder) {
    WARN("LORA_DATA_DIR is not set: the real MNIST is not read");
    return;
  }
  const lora::Mnist set = lora::load_mnist(folder, lora::GzReader{});
  CHECK(set.name == "MNIST");
  CHECK(set.train.size() == 60000);
  CHECK(set.test.size() == 10000);
  const int threes[] = {3};
  CHECK(lora::filter_digits(set.train, threes).size() == 6131);
}

TEST_CASE("default_data_dir follows LORA_DATA_DIR, then the cache", "[mnist]") {
  const char* kept = std::getenv("LORA_DATA_DIR");
  const std::string restore = kept ? kept : "";
  setenv("LORA_DATA_DIR", "/some/where", 1);
  CHECK(lora::default_data_dir() == "/some/where");
  unsetenv("LORA_DATA_DIR");
  setenv("XDG_CACHE_HOME", "/my/cache", 1);
  CHECK(lora::default_data_dir() == "/my/cache/lora/mnist");
  unsetenv("XDG_CACHE_HOME");
  CHECK(lora::default_data_dir().string().ends_with("/.cache/lora/mnist"));
  if (kept) setenv("LORA_DATA_DIR", restore.c_str(), 1);
}
