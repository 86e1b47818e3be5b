// SPDX-License-Identifier: MIT
#include <lora/data/gz.hpp>

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/gzip.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using Bytes = std::vector<std::uint8_t>;

namespace {

Bytes some_bytes() {
  Bytes bytes(5000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * i / 7);
  return bytes;
}

}  // namespace

TEST_CASE("gunzip gives back what was compressed", "[gz]") {
  CHECK(lora::gunzip(gzip(some_bytes()), 5000, "file") == some_bytes());
  CHECK(lora::gunzip(gzip({}), 0, "file").empty());
}

TEST_CASE("gunzip refuses truncated data, wherever it ends", "[gz][errors]") {
  const Bytes whole = gzip(some_bytes());
  for (std::size_t size = 0; size < whole.size(); size += 17) {
    INFO("cut to " << size << " of " << whole.size() << " bytes");
    CHECK_THROWS_AS(lora::gunzip(std::span(whole).first(size), 5000, ""), lora::FileError);
  }
  CHECK_THROWS_WITH(lora::gunzip(std::span(whole).first(whole.size() - 1), 5000, "file"),
                    contains("file: the gzip data ends too early"));
}

TEST_CASE("gunzip refuses a wrong checksum", "[gz][errors]") {
  Bytes bytes = gzip(some_bytes());
  bytes[bytes.size() - 8] ^= 1;
  CHECK_THROWS_WITH(lora::gunzip(bytes, 5000, "file"), contains("damaged"));
}

TEST_CASE("gunzip refuses what follows the data, another member too", "[gz][errors]") {
  Bytes bytes = gzip(some_bytes());
  bytes.push_back(0);
  CHECK_THROWS_WITH(lora::gunzip(bytes, 5000, "file"), contains("1 bytes follow the gzip data"));
  Bytes twice = gzip(some_bytes());
  const Bytes second = twice;
  twice.insert(twice.end(), second.begin(), second.end());
  CHECK_THROWS_AS(lora::gunzip(twice, 20000, "file"), lora::FileError);
}

TEST_CASE("gunzip stops at the limit: a bomb does not explode", "[gz][errors]") {
  const Bytes bomb = gzip(Bytes(std::size_t{100} << 20));
  REQUIRE(bomb.size() < 200000);
  CHECK_THROWS_WITH(lora::gunzip(bomb, 10000, "bomb"),
                    contains("bomb: expected at most 10000 bytes, the gzip data holds more"));
}

TEST_CASE("GzReader reads gzip and raw files alike", "[gz]") {
  const TemporaryFolder folder;
  write_bytes(folder / "raw", some_bytes());
  write_bytes(folder / "packed.gz", gzip(some_bytes()));
  const lora::GzReader read;
  CHECK(read(folder / "raw", 5000) == some_bytes());
  CHECK(read(folder / "packed.gz", 5000) == some_bytes());
  CHECK_THROWS_AS(read(folder / "raw", 4999), lora::FileError);
  CHECK_THROWS_AS(read(folder / "packed.gz", 4999), lora::FileError);
}

TEST_CASE("GzReader reads a gzip file longer than the piece it reads at a time", "[gz]") {
  const TemporaryFolder folder;
  Bytes bytes(300000);
  std::mt19937 random(7);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  Bytes packed = gzip(bytes);
  REQUIRE(packed.size() > 4 * 65536);
  write_bytes(folder / "a", packed);
  CHECK(lora::GzReader{}(folder / "a", 300000) == bytes);
  CHECK_THROWS_WITH(lora::GzReader{}(folder / "a", 299999), contains("holds more"));
  packed.insert(packed.end(), 70000, 0);
  write_bytes(folder / "b", packed);
  CHECK_THROWS_WITH(lora::GzReader{}(folder / "b", 400000), contains("70000 bytes follow"));
  packed.resize(131072);
  write_bytes(folder / "c", packed);
  CHECK_THROWS_WITH(lora::GzReader{}(folder / "c", 300000), contains("ends too early"));
  CHECK_THROWS_WITH(lora::GzReader{}(folder / "c", 100000),
                    contains("expected at most 102024 bytes of gzip data, found 131072"));
}
