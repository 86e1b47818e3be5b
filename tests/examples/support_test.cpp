// SPDX-License-Identifier: MIT
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "examples/support/chart.hpp"
#include "examples/support/checks.hpp"
#include "examples/support/output.hpp"
#include "examples/support/page.hpp"
#include "support/models.hpp"
#include "support/temporary_folder.hpp"

using namespace lora_test;
using namespace example_support;

namespace {

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("the loss chart averages long runs and bears short ones", "[charts]") {
  CHECK(count_of(loss_chart(std::vector<double>(6000, 0.5)), " L") == 199);
  CHECK(count_of(loss_chart({0.5, 0.25}), " L") == 1);
  CHECK_THAT(loss_chart({}), contains("<svg") && !contains("<path") && !contains("nan"));
  CHECK_THAT(loss_chart({0.0}), contains("<path") && !contains("nan") && !contains("inf"));
}

TEST_CASE("a curve goes through its points, in a colour of its own", "[charts]") {
  Chart chart("a label", 2);
  chart.curve({{0, 0}, {1, 2}}, "stroke: red");
  chart.count_below(10, "steps");
  const std::string svg = chart.finish();
  CHECK_THAT(svg, contains("d=\"M52.0 240.0 L696.0 14.0\" style=\"stroke: red\"/>"));
  CHECK_THAT(svg, contains(">7</text>") && contains(">10</text>") && contains(">steps</text>"));
}

TEST_CASE("a page shows any text as it is", "[report]") {
  const std::string html = page("a <title>", "<p>" + escaped("b & \"c\"") + "</p>" + row({"<d>"}));
  CHECK_THAT(html, contains("<title>a &lt;title&gt;</title>") &&
                       contains("<p>b &amp; &quot;c&quot;</p>") && contains("<td>&lt;d&gt;</td>"));
  CHECK_THAT(html, !contains("<title>a <") && !contains("http"));
}

TEST_CASE("tensors are the same when their bits are", "[checks]") {
  Tensor<float> x({1, 2}), y({1, 2});
  CHECK(same_bits(x, y));
  y[1] = -0.0f;
  CHECK_FALSE(same_bits(x, y));
  CHECK_FALSE(same_bits(x, Tensor<float>({2, 1})));
}

TEST_CASE("a loss must be a finite number", "[checks][errors]") {
  CHECK_NOTHROW(require_finite(0.0, "training", 3));
  for (const double loss : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    CHECK_THROWS_WITH(require_finite(loss, "training", 3),
                      contains("training: the loss is") && contains("at batch 3"));
  }
}

TEST_CASE("what cannot be written is refused beforehand, and nothing is left", "[output][errors]") {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "file").string();
  write_file(file, "content");
  std::ifstream written(file);
  CHECK(std::string(std::istreambuf_iterator<char>(written), {}) == "content");
  CHECK_NOTHROW(require_writable({"", (folder.path() / "new" / "deep").string()}, {"", file}));
  CHECK_THROWS_WITH(require_writable({file}, {}), contains("file: cannot be made"));
  CHECK_THROWS_WITH(require_writable({}, {file + "/below"}), contains("below"));
  CHECK(std::filesystem::is_directory(folder.path() / "new" / "deep"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
}
