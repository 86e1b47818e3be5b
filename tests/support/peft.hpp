// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include <lora/io/peft.hpp>
#include <lora/layers.hpp>

#include "support/models.hpp"
#include "support/temporary_folder.hpp"

namespace lora_test {

/// The networks of tests/golden/peft_networks.py, under its names.
template <class T>
lora::Sequential<T> peft_network(const std::string& network) {
  if (network == "mlp") return small_net<T>(1);
  lora::PhiloxGenerator generator(1);
  lora::Sequential<T> net;
  if (network == "words") {
    net.add("embed", lora::Embedding<T>(11, 6, generator));
    net.add("head", lora::Linear<T>(6, 5, generator));
  } else if (network == "picture") {
    net.add("conv1", lora::Conv2d<T>(3, 4, 3, generator, {.stride = 2, .padding = 1}));
    net.add("relu1", lora::ReLU<T>());
    net.add("conv2", lora::Conv2d<T>(4, 6, 2, generator, {.groups = 2}));
  } else if (network == "clash") {
    auto inner = std::make_shared<lora::Sequential<T>>();
    inner->add("proj", lora::Linear<T>(5, 5, generator));
    net.add("proj", lora::Linear<T>(5, 5, generator));
    net.add("inner", inner);
    net.add("last", lora::Linear<T>(5, 5, generator));
  } else {
    auto layers = std::make_shared<lora::Sequential<T>>();
    for (const char* number : {"0", "1", "2"}) {
      auto layer = std::make_shared<lora::Sequential<T>>();
      layer->add("query", lora::Linear<T>(5, 5, generator));
      layer->add("value", lora::Linear<T>(5, 5, generator));
      layers->add(number, layer);
    }
    auto model = std::make_shared<lora::Sequential<T>>();
    model->add("layers", layers);
    net.add("model", model);
  }
  return net;
}

/// A case of tests/golden/peft_adapters.py: the folder that PEFT has saved, the network that it
/// belongs to, and what the two give.
struct PeftCase {
  explicit PeftCase(const std::string& name, const std::string& network = "mlp")
      : folder(LORA_GOLDEN_DIR "/peft/" + name),
        io(folder + "/io.safetensors"),
        network(network),
        input(io.read<float>("input")) {}

  template <class T = float>
  lora::Sequential<T> base() const {
    auto net = peft_network<T>(network);
    for (const auto& named : net.named_parameters()) {
      named.parameter->value = io.read_as<T>("base." + named.name);
    }
    net.eval();
    return net;
  }

  Tensor<float> output(const std::string& adapter = "default") const {
    return io.read<float>("output." + adapter);
  }

  std::string folder;
  lora::SafetensorsFile io;
  std::string network;
  Tensor<float> input;
};

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// The text with its one `from` replaced.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != text.npos);
  return text.replace(at, from.size(), to);
}

}  // namespace lora_test
