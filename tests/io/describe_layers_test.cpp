// SPDX-License-Identifier: MIT
#include <lora/io/describe_layers.hpp>

#include <regex>
#include <string>
#include <variant>
#include <vector>

#include "support/adapter_files.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using Names = std::vector<std::string>;

TEST_CASE("the configuration says what the layers are", "[describe_layers]") {
  lora::AdapterFile<float> file;
  file.layers["a.q"] = random_layer(7, 4, 5, 2.0, 1);
  file.layers["a.k"] = random_layer(7, 4, 5, 2.0, 2);
  file.layers["a.v"] = random_layer(7, 4, 3, 2.0, 3);
  file.layers["a.o-1"] = random_layer(7, 4, 5, 0.5, 4);
  file.config.use_rslora = true;
  file.config.rank_pattern["left over"] = 3;
  file.config.layers_to_transform = {1};
  file.config.exclude_modules = "x";
  lora::describe_layers(file);
  CHECK(file.config.r == 5);
  CHECK(file.config.lora_alpha == 10);
  CHECK_FALSE(file.config.use_rslora);
  CHECK(file.config.rank_pattern == std::map<std::string, int>{{"^a\\.v", 3}});
  CHECK(file.config.alpha_pattern ==
        std::map<std::string, double>{{"^a\\.o\\-1", 2.5}, {"^a\\.v", 6.0}});
  CHECK(std::get<Names>(file.config.target_modules) == Names{"a.k", "a.o-1", "a.q", "a.v"});
  CHECK(std::holds_alternative<std::monostate>(file.config.exclude_modules));
  CHECK(file.config.layers_to_transform.empty());
  CHECK(file.layers.at("a.v").lora_alpha == 6);
}

TEST_CASE("an alpha that only rounding changes stays", "[describe_layers]") {
  lora::AdapterFile<float> file;
  for (const int rank : {3, 6, 7, 49}) {
    INFO("rank " << rank);
    for (const double alpha : {1.0, 16.0, 0.3}) {
      lora::AdapterLayer<float>& layer = file.layers["a"];
      layer = random_layer(50, 50, rank, alpha / rank, 1);
      layer.lora_alpha = alpha;
      lora::describe_layers(file);
      CHECK(file.config.lora_alpha == alpha);
    }
  }
}

TEST_CASE("target_modules is a list unless that would mean other modules", "[describe_layers]") {
  using lora::exact_target_modules;
  CHECK(std::get<Names>(exact_target_modules({"b", "a"}, {"c", "a.c", "ba"})) == Names{"a", "b"});
  const lora::PeftModules modules = exact_target_modules({"a.b", "b"}, {"x.b", "b.x"});
  const auto expression = std::get<std::string>(modules);
  CHECK(expression == "(a\\.b|b)");
  CHECK(std::regex_match("b", std::regex(expression)));
  CHECK_FALSE(std::regex_match("x.b", std::regex(expression)));
}

TEST_CASE("layers of other ranks and scales are read back by their patterns", "[describe_layers]") {
  lora::AdapterFile<float> file;
  file.layers["a"] = random_layer(7, 4, 2, 1, 1);
  file.layers["b.a"] = random_layer(7, 4, 3, 0.5, 2);
  file.layers["b.c"] = random_layer(7, 4, 3, 2, 3);
  lora::describe_layers(file);
  const TemporaryFolder folder;
  lora::write_adapter_file(folder / "adapter", file);
  const auto read = lora::read_adapter_file<float>(folder / "adapter");
  for (const auto& [path, layer] : file.layers) {
    INFO(path);
    CHECK(read.layers.at(path).scale == layer.scale);
    CHECK(read.layers.at(path).lora_alpha == layer.lora_alpha);
  }
}
