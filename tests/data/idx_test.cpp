// SPDX-License-Identifier: MIT
#include <lora/data/idx.hpp>

#include <sys/stat.h>

#include <cstdint>
#include <vector>

#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using Bytes = std::vector<std::uint8_t>;

namespace {

// Two images of 1×3 pixels.
Bytes images() { return {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6}; }

void check_refused(const Bytes& bytes, const std::string& why) {
  CHECK_THROWS_AS(lora::parse_idx(bytes, "file"), lora::FileError);
  CHECK_THROWS_WITH(lora::parse_idx(bytes, "file"), contains("file: ") && contains(why));
}

}  // namespace

TEST_CASE("parse_idx reads shape and elements", "[idx]") {
  const auto x = lora::parse_idx(images(), "file");
  CHECK(x.shape() == Shape{2, 1, 3});
  CHECK(x[5] == 6);
  CHECK(lora::parse_idx(Bytes{0, 0, 8, 1, 0, 0, 0, 2, 7, 9}, "file")[1] == 9);
  CHECK(lora::parse_idx(Bytes{0, 0, 8, 1, 0, 0, 0, 0}, "file").empty());
}

TEST_CASE("parse_idx refuses an empty file", "[idx][errors]") {
  check_refused({}, "found an empty file");
}

TEST_CASE("parse_idx refuses half a header", "[idx][errors]") {
  check_refused({0, 0, 8}, "found only 3 bytes");
  check_refused({0, 0, 8, 3, 0, 0, 0, 2}, "found only 8 bytes");
}

TEST_CASE("parse_idx refuses a truncated body", "[idx][errors]") {
  Bytes bytes = images();
  bytes.pop_back();
  check_refused(bytes, "announces 22 bytes in all, found 21");
  check_refused(Bytes(bytes.begin(), bytes.begin() + 16), "found 16");
}

TEST_CASE("parse_idx refuses trailing bytes", "[idx][errors]") {
  Bytes bytes = images();
  bytes.push_back(0);
  check_refused(bytes, "announces 22 bytes in all, found 23");
}

TEST_CASE("parse_idx refuses other element types and ranks", "[idx][errors]") {
  check_refused({0, 0, 9, 1, 0, 0, 0, 0}, "element type 9");
  check_refused({0, 0, 8, 0, 0, 0, 0, 0}, "0 dimensions");
  check_refused({0, 0, 8, 4, 0, 0, 0, 0}, "4 dimensions");
  check_refused({1, 0, 8, 1, 0, 0, 0, 0}, "other first bytes");
}

TEST_CASE("parse_idx recognises gzip data under a raw name", "[idx][errors]") {
  check_refused({0x1f, 0x8b, 8, 0}, "gzip data");
}

TEST_CASE("parse_idx believes no absurd sizes", "[idx][errors]") {
  check_refused({0, 0, 8, 1, 255, 255, 255, 255}, "announces 4294967303 bytes");
  check_refused({0, 0, 8, 3, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0}, "announces 4294967312 bytes");
  check_refused({0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
                "more than 2^63 - 1 elements");
}

TEST_CASE("RawReader reads a regular file", "[idx]") {
  const TemporaryFolder folder;
  write_bytes(folder / "images", images());
  CHECK(lora::RawReader{}(folder / "images", 22) == images());
  CHECK_THROWS_WITH(lora::RawReader{}(folder / "images", 21),
                    contains("expected at most 21 bytes, found 22"));
}

TEST_CASE("RawReader refuses what is no regular file, without waiting", "[idx][errors]") {
  const TemporaryFolder folder;
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const lora::RawReader read;
  CHECK_THROWS_WITH(read(folder / "nothing", 9), contains("there is no such file"));
  CHECK_THROWS_WITH(read(folder.path(), 9), contains("expected a regular file"));
  CHECK_THROWS_WITH(read(folder / "pipe", 9), contains("expected a regular file"));
  CHECK_THROWS_WITH(read("/dev/zero", 9), contains("expected a regular file"));
}
