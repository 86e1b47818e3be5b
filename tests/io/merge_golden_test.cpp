// SPDX-License-Identifier: MIT
#include <lora/io/merge_files.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "support/golden.hpp"
#include "support/temporary_folder.hpp"
#include "support/tensors.hpp"

using namespace lora_test;
using lora::SafetensorsFile;

namespace {

// The golden file's tensors whose names begin with `prefix`, as a file of their own.
void split_off(const SafetensorsFile& all, const std::string& prefix, const std::string& path) {
  std::vector<lora::TensorEntry> entries;
  for (const auto& [name, info] : all.tensors()) {
    if (!name.starts_with(prefix)) continue;
    entries.push_back({name.substr(prefix.size()), info.dtype, info.shape, all.bytes(name)});
  }
  REQUIRE(!entries.empty());
  lora::write_safetensors(path, entries);
}

std::vector<double> numbers(const SafetensorsFile& file, const std::string& name) {
  std::vector<double> values(file.bytes(name).size() / 2);
  lora::detail::convert_elements(file.info(name).dtype, file.bytes(name), std::span(values));
  return values;
}

// Whether x is y but for one unit in the last place of the largest of the weight, its change and
// the result: where the two cancel, PEFT has rounded the change before.
bool is_close(double x, double y, double before, int fraction_bits) {
  const double largest = std::max({std::fabs(before), std::fabs(y - before), std::fabs(y)});
  return std::fabs(x - y) <= std::ldexp(1.0, std::ilogb(largest) - fraction_bits);
}

}  // namespace

TEST_CASE("a merge in 16 bits is PEFT's but for one unit in the last place", "[merge][golden]") {
  const SafetensorsFile golden = lora_test::golden("merge");
  const std::string dtype = GENERATE("f16", "bf16");
  const std::string adapter = GENERATE("rslora", "dora", "turned", "turned_dora", "biases");
  INFO(adapter << " in " << dtype);
  const TemporaryFolder folder;
  lora::make_folder(folder / "adapter");
  split_off(golden, dtype + ".base.", folder / "base.safetensors");
  split_off(golden, adapter + ".", folder / "adapter/adapter_model.safetensors");
  std::ofstream(folder / "adapter/adapter_config.json") << golden.metadata().at(adapter);

  const auto result = lora::merge_adapter_files(folder / "base.safetensors",
                                                lora::read_adapter_file<float>(folder / "adapter"),
                                                folder / "merged.safetensors");
  const SafetensorsFile base(folder / "base.safetensors"), merged(folder / "merged.safetensors");
  std::size_t differing = 0;
  for (const auto& entry : base.tensors()) {
    const std::string& name = entry.first;
    INFO(name);
    const std::string theirs = dtype + "." + adapter + "." + name;
    const bool is_changed = golden.tensors().count(theirs) > 0;
    differing += is_changed;
    if (is_changed) {
      const auto ours = numbers(merged, name), peft = numbers(golden, theirs);
      const auto before = numbers(base, name);
      REQUIRE(ours.size() == peft.size());
      for (std::size_t i = 0; i < ours.size(); ++i) {
        INFO("element " << i << ": " << before[i] << " becomes " << ours[i]
                        << ", PEFT: " << peft[i]);
        CHECK(is_close(ours[i], peft[i], before[i], dtype == "f16" ? 10 : 7));
      }
    } else {
      CHECK(std::equal(merged.bytes(name).begin(), merged.bytes(name).end(),
                       base.bytes(name).begin(), base.bytes(name).end()));
    }
  }
  CHECK(differing == base.tensors().size() - result.copied);
}
