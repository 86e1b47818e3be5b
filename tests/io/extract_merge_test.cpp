// SPDX-License-Identifier: MIT
#include <cmath>
#include <string>
#include <vector>

#include <lora/io/extract_adapter.hpp>
#include <lora/io/merge_files.hpp>

#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;

// What an adapter is extracted from, and merged into again, is the tuned model.
TEST_CASE("extracting and merging reproduces a change of low rank",
          "[extract_adapter][merge_files]") {
  constexpr lora::index_t kOut = 61, kIn = 87, kRank = 3;
  const unsigned seed = 4;
  INFO("W (" << kOut << ", " << kIn << "), rank " << kRank << ", seed " << seed);
  const auto w = random_tensor<float>({kOut, kIn}, seed);
  const auto b = random_tensor<float>({kOut, kRank}, seed + 1);
  const auto a = random_tensor<float>({kRank, kIn}, seed + 2);
  Tensor<float> tuned = w;
  for (lora::index_t o = 0; o < kOut; ++o) {
    for (lora::index_t i = 0; i < kIn; ++i) {
      double change = 0;
      for (lora::index_t r = 0; r < kRank; ++r) change += double{b(o, r)} * double{a(r, i)};
      tuned(o, i) = static_cast<float>(tuned(o, i) + 0.1 * change);
    }
  }
  const TemporaryFolder folder;
  lora::write_safetensors(folder / "base", {lora::tensor_entry("x.weight", w)});
  lora::write_safetensors(folder / "tuned", {lora::tensor_entry("x.weight", tuned)});
  const auto extracted =
      lora::extract_adapter(lora::SafetensorsModel(folder / "base"),
                            lora::SafetensorsModel(folder / "tuned"), {.rank = kRank});
  lora::write_adapter_file(folder / "adapter", extracted.adapter);
  lora::merge_adapter_files<float>(
      folder / "base", lora::read_adapter_file<float>(folder / "adapter"), folder / "merged");
  const auto merged = lora::SafetensorsFile(folder / "merged").read<float>("x.weight");
  double largest = 0, difference = 0;
  for (lora::index_t i = 0; i < w.numel(); ++i) {
    largest = std::max(largest, std::fabs(double{tuned[i]} - double{w[i]}));
    difference = std::max(difference, std::fabs(double{merged[i]} - double{tuned[i]}));
  }
  CHECK(difference <= 1e-5 * largest);
}
