// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>

#include "gpu/data.hpp"
#include "gpu/timing.hpp"

namespace lora_bench {

/// What one launch has to do at least.
struct Cost {
  double bytes;  // to and from memory
  double flops = 0;
  bool is_product = false;  // of matrices: to be set against the matrix ceiling
};

/// The same work by cuBLAS. `cpu` is what checks it.
template <class Operands>
struct Peer {
  std::function<void(Operands&)> gpu, cpu;
};

template <class Operands>
struct Options {
  /// Go from one copy of the operands to the next, so that none of them is in the L2 cache.
  bool cold = false;
  /// The first operand is overwritten: restore it before each launch.
  bool restore_first = false;
  Peer<Operands> peer = {};
};

/// Registers a benchmark that times itself. An exception in it, as from a wrong result, fails it.
benchmark::internal::Benchmark* add(const char* name, void (*run)(benchmark::State&));

/// How many benchmarks have failed.
int failed_count();

void report(benchmark::State& state, const Timing& timing, const Cost& cost);
void report_peer(benchmark::State& state, const Timing& ours, const Timing& peer, double flops);

/// How many copies of operands of so many bytes are three times the L2 cache.
int copies_beyond_l2(double bytes);

template <class Operands, class Gpu, class Cpu>
void check_result(const char* what, const Operands& made, const Gpu& gpu, const Cpu& cpu) {
  Operands expected = made;
  cpu(expected);
  Operands result = copy_to(lora::Device::cuda, made);
  gpu(result);
  if (const std::string found = difference(result, expected); !found.empty()) {
    throw lora::ValueError(std::string(what) + " is wrong, and not worth timing: " + found);
  }
}

/// Checks and times `step`, an op on a tuple of operands that runs wherever they are. Everything in
/// the tuple is compared afterwards, so it must hold what the op writes, too.
template <class Operands, class Step>
void run(benchmark::State& state, const Operands& made, const Cost& cost, const Step& step,
         const Options<Operands>& options = {}) {
  check_result("the kernel", made, step, step);
  if (options.peer.gpu) check_result("cuBLAS", made, options.peer.gpu, options.peer.cpu);

  std::vector<Operands> sets;
  const int rotation = options.cold ? copies_beyond_l2(byte_count(made)) : 1;
  for (int i = 0; i < rotation; ++i) sets.push_back(copy_to(lora::Device::cuda, made));
  const auto work = [&](const std::function<void(Operands&)>& launch) {
    return Work{[&sets, launch](int i) { launch(sets[static_cast<std::size_t>(i)]); }, rotation};
  };

  std::vector<Work> works = {work(step)};
  using First = std::tuple_element_t<0, Operands>;
  const First first = options.restore_first ? std::get<0>(sets[0]) : First();
  if (options.restore_first) works[0].before = [&] { std::get<0>(sets[0]) = first; };
  if (options.peer.gpu) works.push_back(work(options.peer.gpu));
  const std::vector<Timing> timings = time_in_turn(std::move(works));
  report(state, timings[0], cost);
  if (options.peer.gpu) report_peer(state, timings[0], timings[1], cost.flops);
}

/// Bytes of so many floats.
inline double floats(index_t count) { return 4.0 * static_cast<double>(count); }

/// Each linear layer of the study, {B, O, I, cold}: from HBM, and from L2 where it was before.
void study_layers(benchmark::internal::Benchmark* b);

// One function a file, which registers its benchmarks.
void add_ceilings();
void add_elementwise();
void add_rows();
void add_linear();
void add_lora_linear();
void add_updates();

}  // namespace lora_bench
