// SPDX-License-Identifier: MIT
// What main has measured before anything else, in the form of the other results.
#include "gpu/ceilings.hpp"
#include "gpu/support.hpp"

namespace lora_bench {

namespace {

void copy(benchmark::State& state) {
  report(state, ceilings().copy.timing, {.bytes = ceilings().copy.work});
}

void read(benchmark::State& state) {
  report(state, ceilings().read.timing, {.bytes = ceilings().read.work});
}

void matrix(benchmark::State& state) {
  const Ceiling& c = ceilings().matrix;
  if (c.work == 0) throw lora::ValueError("built without cuBLAS");
  report(state, c.timing, {.bytes = 0, .flops = c.work, .is_product = true});
}

void node(benchmark::State& state) { report(state, ceilings().node, {.bytes = 0}); }

}  // namespace

void add_ceilings() {
  add("ceiling_copy", copy);
  add("ceiling_read", read);
  add("ceiling_sgemm_8192", matrix);
  add("graph_node_gap", node);
}

}  // namespace lora_bench
