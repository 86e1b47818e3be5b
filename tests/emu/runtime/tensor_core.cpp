// SPDX-License-Identifier: MIT
#include <bit>
#include <cstdint>

#include <lora_emu/ptx.hpp>

namespace lora_emu {

namespace {

constexpr unsigned kRows = 16;
constexpr unsigned kColumns = 8;

float tf32(std::uint32_t bits) { return std::bit_cast<float>(bits & ~0x1fffu); }
float bf16(std::uint32_t bits) { return std::bit_cast<float>(bits << 16); }

LaneMatrices& lane_of(void* const (&lanes)[32], unsigned lane) {
  return *static_cast<LaneMatrices*>(lanes[lane]);
}

/// c += a b. The sums are taken in double and rounded once: the order in which the hardware adds
/// is not documented, so no test may lean on it.
template <class ElementOfA, class ElementOfB>
int multiply(void* const (&lanes)[32], unsigned depth, const ElementOfA& a, const ElementOfB& b) {
  for (unsigned row = 0; row < kRows; ++row) {
    for (unsigned column = 0; column < kColumns; ++column) {
      float& c = lane_of(lanes, row % 8 * 4 + column / 2).c[row / 8 * 2 + column % 2];
      double sum = double{c};
      for (unsigned k = 0; k < depth; ++k) sum += double{a(row, k)} * double{b(k, column)};
      c = static_cast<float>(sum);
    }
  }
  return -1;
}

}  // namespace

int mma_tf32(void* const (&lanes)[32], unsigned) {
  return multiply(
      lanes, 8,
      [&](unsigned row, unsigned k) {
        return tf32(lane_of(lanes, row % 8 * 4 + k % 4).a[row / 8 + k / 4 * 2]);
      },
      [&](unsigned k, unsigned column) {
        return tf32(lane_of(lanes, column * 4 + k % 4).b[k / 4]);
      });
}

int mma_bf16(void* const (&lanes)[32], unsigned) {
  // Two elements a register, the lower column in the lower half.
  const auto half = [](std::uint32_t pair, unsigned k) {
    return bf16(pair >> (k % 2 * 16) & 0xffffu);
  };
  return multiply(
      lanes, 16,
      [&](unsigned row, unsigned k) {
        return half(lane_of(lanes, row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k);
      },
      [&](unsigned k, unsigned column) {
        return half(lane_of(lanes, column * 4 + k % 8 / 2).b[k / 8], k);
      });
}

int ldmatrix(void* const (&lanes)[32], unsigned) {
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
      const auto& owner = *static_cast<const LaneRows*>(lanes[matrix * 8 + lane / 4]);
      static_cast<LaneRows*>(lanes[lane])->fragment[matrix] = owner.row[lane % 4];
    }
  }
  return -1;
}

}  // namespace lora_emu
