// SPDX-License-Identifier: MIT
#include "kernels/count_errors.cuh"

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"

namespace lora::inline v0::cuda {

int count_errors(Labels predictions, Labels labels, VectorView<std::int64_t> wrong, void* stream) {
  const ElementwiseConfig config = elementwise_config({labels.size, false, multiprocessor_count()});
  return code_of(launch(count_errors_kernel,
                        LaunchConfig{.grid = config.blocks,
                                     .block = static_cast<unsigned>(config.threads),
                                     .stream = as_stream(stream)},
                        predictions, labels, wrong));
}

}  // namespace lora::inline v0::cuda
