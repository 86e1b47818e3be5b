// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "mnist_lora/charts.hpp"
#include "mnist_lora/json_output.hpp"
#include "mnist_lora/options.hpp"
#include "mnist_lora/pictures.hpp"
#include "mnist_lora/report.hpp"
#include "mnist_lora/tables.hpp"
#include "support/models.hpp"

using namespace lora_test;
using namespace mnist_lora;

namespace {

StudyResult sample_result() {
  StudyResult result;
  result.data_name = "a <set> & more";
  result.layers = {{"linear1", 784, 1000, 1}};
  result.base_parameters = 4250810;
  result.lora_parameters = 8394;
  result.pretrain_loss = {2.0, 1.0, 0.5};
  result.finetune_loss = {0.25};
  for (std::size_t digit = 0; digit < 10; ++digit) {
    for (Evaluation* e : {&result.pretrained, &result.lora_on, &result.lora_off}) {
      e->total[digit] = 100;
      e->wrong[digit] = static_cast<int>(digit);
    }
  }
  result.lora_on.wrong[3] = 1;   // a target mended by 2
  result.lora_on.wrong[0] = 30;  // another paid 30
  return result;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::optional<int> parse(std::vector<std::string> words, Options& options) {
  words.insert(words.begin(), "mnist_lora");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  return parse_options(static_cast<int>(argv.size()), argv.data(), options);
}

}  // namespace

TEST_CASE("an evaluation sums over digits", "[result]") {
  const Evaluation e = sample_result().pretrained;
  CHECK(e.errors() == 45);
  CHECK(e.count() == 1000);
  CHECK(e.accuracy() == approx(0.955));
  CHECK(e.errors_on({3, 6, 8, 9}) == 26);
  CHECK(e.images_of({3, 6}) == 200);
}

TEST_CASE("the interval of the accuracy is Wilson's", "[result]") {
  // Wilson's formula by hand for 81 of 263: 0.2553 to 0.3662 (Newcombe, 1998, Stat. Med. 17, p.
  // 857).
  Evaluation e;
  e.total[0] = 263;
  e.wrong[0] = 263 - 81;
  const auto [low, high] = e.interval();
  CHECK(low == approx(0.2553).epsilon(2e-4));
  CHECK(high == approx(0.3662).epsilon(2e-4));
}

TEST_CASE("the verdict says what was won and what was lost", "[result]") {
  StudyResult result = sample_result();
  CHECK(verdict(result) ==
        "The target digits went from 26 to 24 errors; the others went from 19 to 49 errors. In all "
        "the adapter cost 28 errors: it learned its digits and forgot some of the rest.");
  result.lora_on.wrong[0] = 0;
  CHECK_THAT(verdict(result), contains("the others kept their 19 errors") &&
                                  contains("In all that is 2 errors fewer."));
  CHECK_THAT(verdict(result), !contains("luck"));
  result.data_name = "MNIST";
  CHECK_THAT(verdict(result), contains("That is luck of this seed"));
}

TEST_CASE("the comparison table has every digit and the sums", "[tables]") {
  const std::string table = comparison_table(sample_result());
  CHECK_THAT(table, contains("3  target         100            3         1       -2          3"));
  CHECK_THAT(table, contains("other digits      600           19        49      +30         19"));
  CHECK(count_of(table, "target\n") == 0);
  CHECK(count_of(table, "  target  ") == 4);
}

TEST_CASE("the seeds' table has means and deviations", "[tables]") {
  StudyResult other = sample_result();
  other.pretrained.wrong[3] = 7;  // 26 and 30 errors: mean 28, deviation 2.83
  CHECK_THAT(seeds_table({sample_result(), other}),
             contains("target errors, pretrained     28 ± 3"));
}

TEST_CASE("the JSON holds what was found", "[json]") {
  const auto json = to_json(sample_result());
  CHECK(json["parameters"]["lora"] == 8394);
  CHECK(json["lora_on"]["errors_by_digit"][0] == 30);
  CHECK(json["pretrain_loss"].size() == 3);
  CHECK(json["settings"]["digits"] == std::vector<int>{3, 6, 8, 9});
  CHECK(nlohmann::json::parse(json.dump()) == nlohmann::json(json));
}

TEST_CASE("the error chart draws two bars a digit, in proportion", "[charts]") {
  const std::string svg = error_chart(sample_result());
  CHECK(count_of(svg, "<rect class=\"before\"") == 10);
  CHECK(count_of(svg, "<rect class=\"after\"") == 10);
  CHECK(count_of(svg, ">target<") == 4);
  CHECK_THAT(svg, contains(">30</text>"));
}

TEST_CASE("pictures are PNG files of the size they say", "[pictures]") {
  lora::LabeledImages test{Tensor<std::uint8_t>({2, 784}), Tensor<std::int32_t>({2})};
  test.labels[0] = 4;
  test.images(0, 0) = 200;
  Evaluation e;
  e.predictions = {9, 0};  // the first is wrong, the second right
  const Picture picture = misclassified_picture("wrong", "caption", test, e);
  const auto red = [&](int x, int y) {
    return picture.rgb[3 * static_cast<std::size_t>(y * picture.width + x)];
  };
  const int top = 4 * picture.height / 10 + 2;
  CHECK(red(32, top) == 200);       // the image's first pixel, in the row of the fours
  CHECK(red(32, top - 60) != 200);  // not in the row of the threes
  const auto png = encode_png(picture);
  REQUIRE(png.size() > 24);
  CHECK(std::string(png.begin() + 1, png.begin() + 4) == "PNG");
  CHECK((png[18] << 8 | png[19]) == picture.width);
  CHECK((png[22] << 8 | png[23]) == picture.height);
}

TEST_CASE("the picture of an update is white for zero, and red or blue by its sign", "[pictures]") {
  lora::PhiloxGenerator generator(1);
  lora::LoRALinear<float> layer(lora::Linear<float>(80, 70, generator), {.r = 1}, generator);
  const auto pixel = [](const Picture& p, std::size_t i) {
    return std::vector<int>{p.rgb[3 * i], p.rgb[3 * i + 1], p.rgb[3 * i + 2]};
  };
  CHECK(pixel(update_picture("linear1", layer), 0) == std::vector<int>{247, 247, 247});
  lora::ops::fill(layer.adapter().lora_A.value, 1.0);
  lora::ops::fill(layer.adapter().lora_B.value, 1.0);
  layer.adapter().lora_B.value[0] = -1;
  const Picture picture = update_picture("linear1", layer);
  CHECK(picture.name == "update_linear1");
  CHECK_THAT(picture.caption, contains("linear1") && contains("(70, 80)"));
  CHECK(pixel(picture, 0) == std::vector<int>{33, 102, 172});
  CHECK(pixel(picture, picture.rgb.size() / 3 - 1) == std::vector<int>{178, 24, 43});
}

TEST_CASE("the report is one page that needs nothing else", "[report]") {
  lora::PhiloxGenerator generator(1);
  const lora::LoRALinear<float> layer(lora::Linear<float>(8, 7, generator), {.r = 1}, generator);
  const std::string html = report_html(sample_result(), {update_picture("linear1", layer)});
  CHECK_THAT(html, contains("a &lt;set&gt; &amp; more") && !contains("a <set>"));
  CHECK_THAT(html, contains("src=\"data:image/png;base64,iVBORw0KGgo"));
  CHECK(count_of(html, "<svg") == 3);
  CHECK(count_of(html, "</svg>") == 3);
  CHECK(count_of(html, "http") == count_of(html, "xmlns=\"http"));  // names, not addresses
  CHECK_THAT(html, contains("The target digits went from 26 to 24 errors"));
}

TEST_CASE("the command line fills the settings", "[options]") {
  Options options;
  CHECK_FALSE(parse({"--digits", "7,1", "--rank", "2", "--seed", "5", "--json", "out"}, options));
  CHECK(options.settings.digits == std::vector<int>{1, 7});
  CHECK(options.settings.rank == 2);
  CHECK(options.settings.seed == 5);
  CHECK(options.json == "out");
  CHECK(options.settings.batch == 10);
}
