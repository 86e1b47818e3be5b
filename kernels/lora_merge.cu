// SPDX-License-Identifier: MIT
#include "kernels/lora_merge.cuh"

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"

namespace lora::inline v0::cuda {

int lora_merge(ConstMatrix a, ConstMatrix b, Matrix w, double scale, void* stream) {
  const bool aligned = w.cols % kWidest == 0 && rows_are_aligned(a, 16) && rows_are_aligned(w, 16);
  const MergeConfig config = merge_config(w.rows, w.cols, aligned);
  return code_of(launch(config.width == kWidest ? lora_merge_kernel<4> : lora_merge_kernel<1>,
                        LaunchConfig{.grid = dim3(config.blocks_x, config.blocks_y),
                                     .block = dim3(static_cast<unsigned>(config.threads_x),
                                                   static_cast<unsigned>(config.threads_y)),
                                     .stream = as_stream(stream)},
                        a, b, w, static_cast<float>(scale)));
}

}  // namespace lora::inline v0::cuda
