// SPDX-License-Identifier: MIT
#include "kernels/embedding.cuh"

#include "kernels/launch_elementwise.hpp"
#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

namespace {

/// The gradient `to` is all of `whole`, which has no gaps.
int add_gradient(ConstMatrix dy, ConstVector indices, EmbeddingGradient to, Matrix whole,
                 double scale, bool accumulate, void* stream) {
  if (!accumulate) {
    const int code = fill({whole.data, whole.rows * whole.cols}, 0.0, stream);
    if (code != 0) return code;
  }
  return code_of(launch(embedding_backward_kernel,
                        LaunchConfig{.grid = static_cast<unsigned>(indices.size),
                                     .block = kEmbeddingThreads,
                                     .stream = as_stream(stream)},
                        dy, indices, to, static_cast<float>(scale)));
}

}  // namespace

int embedding(ConstVector indices, ConstMatrix weight, Matrix y, bool accumulate, void* stream) {
  const GatherConfig config =
      gather_config({indices.size, y.cols, multiprocessor_count()},
                    rows_are_aligned(weight, 16) && rows_are_aligned(y, 16));
  return code_of(launch(config.width == kWidest ? embedding_kernel<4> : embedding_kernel<1>,
                        LaunchConfig{.grid = config.blocks,
                                     .block = static_cast<unsigned>(config.threads),
                                     .stream = as_stream(stream)},
                        indices, weight, y, accumulate));
}

int embedding_backward(ConstMatrix dy, ConstVector indices, Matrix dw, bool accumulate,
                       void* stream) {
  return add_gradient(dy, indices, {dw.data, dw.rows, dw.stride, 1}, dw, 1.0, accumulate, stream);
}

int embedding_columns(ConstVector indices, ConstMatrix a, Matrix h, double scale, void* stream) {
  return launch_elementwise(embedding_columns_kernel, embedding_columns_kernel, h.rows * h.cols,
                            false, stream, indices, a, h, static_cast<float>(scale));
}

int embedding_columns_backward(ConstMatrix dh, ConstVector indices, Matrix da, double scale,
                               bool accumulate, void* stream) {
  return add_gradient(dh, indices, {da.data, da.cols, 1, da.stride}, da, scale, accumulate, stream);
}

}  // namespace lora::inline v0::cuda
