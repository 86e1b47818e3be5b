// SPDX-License-Identifier: MIT
// Pretrains a convolutional network on MNIST, adapts its convolutions with LoRA to some digits.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <lora/data/data_loader.hpp>
#include <lora/io/peft.hpp>
#include <lora/layers.hpp>
#include <lora/lora.hpp>
#include <lora/torch_generator.hpp>

#include "mnist_lora/data_source.hpp"
#include "mnist_lora/json_output.hpp"
#include "mnist_lora/result.hpp"
#include "mnist_lora/tables.hpp"
#include "support/checks.hpp"
#include "support/format.hpp"
#include "support/output.hpp"
#include "support/progress.hpp"

namespace {

using namespace example_support;
using lora::index_t;
using mnist_lora::Evaluation;
using mnist_lora::Settings;
using mnist_lora::StudyResult;
using Net = lora::Sequential<float>;

struct Options {
  Settings settings;
  bool download = false, quiet = false;
  std::string save, json;
};

/// Returns the exit status when the program should end here.
std::optional<int> parse_options(int argc, char** argv, Options& options) {
  Settings& s = options.settings;
  s.device = "cpu";
  s.threads = lora::get_num_threads();
  s.rank = 4;
  s.alpha = 8;
  s.init = "kaiming";
  CLI::App app{"Pretrains a convolutional network, adapts its convolutions with LoRA, compares."};
  app.get_formatter()->column_width(28);
  app.add_option("--data", s.data, "folder of MNIST's files, or: fashion, synthetic")
      ->type_name("DIR");
  app.add_flag("--download", options.download, "fetch the files of MNIST that are missing");
  const auto add_count = [&](const char* flag, auto& value, int largest, const char* text) {
    app.add_option(flag, value, text)->check(CLI::Range(1, largest))->type_name("N");
  };
  add_count("--threads", s.threads, 1024, "CPU threads; no result depends on it");
  app.add_option("--seed", s.seed, "of the weights and the batches (0)")->type_name("N");
  add_count("--epochs", s.epochs, 1000, "epochs of pretraining (1)");
  add_count("--batch", s.batch, 60000, "batch size (10)");
  add_count("--limit-train", s.limit_train, 60000, "pretrain on the first N images alone");
  app.add_option("--lr", s.lr, "learning rate of Adam (0.001)")
      ->check(CLI::PositiveNumber)
      ->type_name("X");
  app.add_option("--digits", s.digits, "target digits (3,6,8,9)")
      ->delimiter(',')
      ->check(CLI::Range(0, 9))
      ->type_name("LIST");
  add_count("--rank", s.rank, 9, "rank of the adapters, at most a kernel of conv1 (4)");
  app.add_option("--alpha", s.alpha, "LoRA's alpha: the update is scaled by alpha / rank (8)")
      ->type_name("X");
  add_count("--finetune-batches", s.finetune_batches, 1000000, "batches of fine-tuning (100)");
  app.add_option("--save", options.save, "write the adapter as PEFT does")->type_name("DIR");
  app.add_option("--json", options.json, "write the results as JSON")->type_name("FILE");
  app.add_flag("--quiet", options.quiet, "print the result alone");
  try {
    app.parse(argc, argv);
    std::sort(s.digits.begin(), s.digits.end());
    if (std::adjacent_find(s.digits.begin(), s.digits.end()) != s.digits.end()) {
      throw CLI::ValidationError("--digits", "a digit is named twice");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

/// Rows of 784 pixels (N, 784) to logits (N, 10), by way of (N, 16, 13, 13) and (N, 32, 6, 6).
Net make_net(lora::Generator& generator) {
  Net net;
  net.add("image", lora::Reshape<float>({1, 28, 28}));
  net.add("conv1", lora::Conv2d<float>(1, 16, 3, generator, {.stride = 2}));
  net.add("relu1", lora::ReLU<float>());
  net.add("conv2", lora::Conv2d<float>(16, 32, 3, generator, {.stride = 2}));
  net.add("relu2", lora::ReLU<float>());
  net.add("flatten", lora::Flatten<float>());
  net.add("linear", lora::Linear<float>(32 * 6 * 6, 10, generator));
  return net;
}

/// Goes through `batches` batches with one Adam, a new order for each epoch.
double train(Net& net, const lora::LabeledImages& set, index_t batches, const std::string& label,
             const Options& options, lora::TorchGenerator& generator, std::vector<double>& losses) {
  net.train();
  lora::DataLoader<float> loader(set, options.settings.batch);
  lora::Adam<float> adam(net.parameters(), {.lr = options.settings.lr});
  lora::Saved<float> saved;
  lora::Tensor<float> dlogits;
  ProgressBar progress(label, batches, options.quiet);
  for (index_t i = 0; i < batches; ++i) {
    if (i % loader.size() == 0) loader.shuffle(generator);
    const auto& [images, labels] = loader.batch(i % loader.size());
    losses.push_back(lora::softmax_cross_entropy(net.forward(images, saved), labels, dlogits));
    require_finite(losses.back(), label, i);
    adam.backward_and_step(net, dlogits, saved);
    progress.step(losses.back());
  }
  progress.finish();
  return progress.seconds();
}

Evaluation evaluate(Net& net, const lora::LabeledImages& test) {
  net.eval();
  lora::DataLoader<float> loader(test, 500);
  lora::Saved<float> saved;
  lora::Tensor<std::int32_t> predictions;
  Evaluation evaluation;
  for (const auto& [images, labels] : loader) {
    lora::ops::argmax(net.forward(images, saved), predictions);
    for (index_t i = 0; i < labels.numel(); ++i) {
      const auto digit = static_cast<std::size_t>(labels[i]);
      ++evaluation.total[digit];
      evaluation.wrong[digit] += predictions[i] != labels[i];
      evaluation.predictions.push_back(predictions[i]);
    }
  }
  return evaluation;
}

lora::Tensor<float> first_logits(Net& net, const lora::LabeledImages& test) {
  net.eval();
  lora::DataLoader<float> loader(test, 1000);
  return net.forward(loader.batch(0).images);
}

void require(bool condition, const std::string& what) {
  if (!condition) throw lora::Error("the check failed: " + what);
}

void require_frozen(Net& net, const std::vector<lora::Tensor<float>>& kept) {
  std::size_t i = 0;
  for (const auto& [name, parameter] : net.named_parameters()) {
    if (parameter->trainable) continue;
    require(same_bits(parameter->value, kept.at(i++)), name + " has changed");
  }
  require(i == kept.size(), "a parameter of the pretrained network is not frozen");
}

int run(int argc, char** argv) {
  Options options;
  if (const auto status = parse_options(argc, argv, options)) return *status;
  const Settings& s = options.settings;
  require_writable({options.save}, {options.json});
  lora::set_num_threads(s.threads);
  const lora::Mnist data = mnist_lora::load_data(s.data, options.download);
  const auto say = [&](const std::string& text) {
    if (!options.quiet) print(text);
  };
  say("Data: " + data.name + "\n");
  const auto start = std::chrono::steady_clock::now();

  StudyResult result;
  result.settings = s;
  result.data_name = data.name;
  lora::TorchGenerator generator(s.seed);
  Net net = make_net(generator);
  result.base_parameters = lora::count_parameters(net).all;
  const lora::LabeledImages pretrain_set =
      lora::take_first(data.train, s.limit_train > 0 ? s.limit_train : data.train.size());
  const index_t epoch = lora::DataLoader<float>(pretrain_set, s.batch).size();
  result.pretrain_seconds = train(net, pretrain_set, s.epochs * epoch, "pretraining", options,
                                  generator, result.pretrain_loss);
  result.pretrained = evaluate(net, data.test);
  const lora::Tensor<float> base_logits = first_logits(net, data.test);
  std::vector<lora::Tensor<float>> kept;
  for (const auto* parameter : net.parameters()) kept.push_back(parameter->value);

  const lora::LoRAConfig config{
      .r = s.rank, .lora_alpha = s.alpha, .target_modules = {"conv1", "conv2"}};
  lora::adapt(net, config, generator);
  for (const auto& [path, layer] : lora::lora_layers(net)) {
    say(path + ": " + layer->to_string() + "\n");
  }
  say(lora::to_string(lora::count_parameters(net)) + "\n");
  result.lora_parameters = lora::count_parameters(net).trainable;
  const lora::LabeledImages targets = lora::filter_digits(data.train, s.digits);
  result.finetune_seconds = train(net, targets, s.finetune_batches, "fine-tuning", options,
                                  generator, result.finetune_loss);
  if (!options.save.empty()) lora::save_peft_adapter(net, options.save);

  result.lora_on = evaluate(net, data.test);
  lora::merge(net);
  const Evaluation merged = evaluate(net, data.test);
  lora::unmerge(net);
  int differences = 0;  // by rounding: the merged network multiplies by other numbers
  for (std::size_t i = 0; i < merged.predictions.size(); ++i) {
    differences += merged.predictions[i] != result.lora_on.predictions[i];
  }
  require_frozen(net, kept);
  const lora::ScopedDisable off(net);
  result.lora_off = evaluate(net, data.test);
  require(same_bits(first_logits(net, data.test), base_logits),
          "the disabled network's logits have changed");
  say("\nChecked: the frozen weights and the logits with LoRA off are the pretrained network's, "
      "bit for bit.\n\nErrors on the test images:\n");
  result.total_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  print(mnist_lora::comparison_table(result) +
        format("  accuracy, merged      %.4f   (%d of %d predictions differ)\n\n",
               merged.accuracy(), differences, merged.count()) +
        mnist_lora::verdict(result) + "\n");
  if (!options.json.empty()) {
    auto json = mnist_lora::to_json(result);
    json["merged"] = {
        {"accuracy", merged.accuracy()}, {"errors", merged.errors()}, {"differences", differences}};
    write_file(options.json, json.dump(2) + "\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "conv_lora: %s\n", error.what());
    return 1;
  }
}
