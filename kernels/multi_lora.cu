// SPDX-License-Identifier: MIT
#include "kernels/multi_lora.cuh"

#include <algorithm>

#include "kernels/launchers.hpp"
#include "kernels/runtime.hpp"
#include "kernels/tuning.hpp"
#include "kernels/workspace.hpp"

namespace lora::inline v0::cuda {

namespace {

LaunchTerm launch_term(const Term& t) {
  return {.a = t.a.data,
          .b = t.b.data,
          .gain = t.gain.data,
          .a_stride = t.a.stride,
          .b_stride = t.b.stride,
          .first = t.first,
          .rank = static_cast<int>(t.a.rows),
          .first_output = static_cast<int>(t.first_output),
          .outputs = static_cast<int>(t.b.rows),
          .id = t.id,
          .scale = static_cast<float>(t.scale),
          .gain_on_base = t.gain_on_base && t.gain.data != nullptr,
          .vector_rows = has_vector_rows(t.a)};
}

/// run(portion, is_first, is_last) for the terms, or those of adapter *only, as many at a time as a
/// launch takes; at least once.
template <class Run>
int in_portions(Terms terms, const std::int32_t* only, const Run& run) {
  LaunchTerms portion{};
  bool is_first = true;
  for (const Term& term : terms) {
    if (only && term.id != *only) continue;
    if (portion.count == kLaunchTerms) {
      if (const cudaError_t error = run(portion, is_first, false)) return code_of(error);
      is_first = false;
      portion.count = 0;
    }
    portion.term[portion.count++] = launch_term(term);
  }
  return code_of(run(portion, is_first, true));
}

/// Block (i, t) for row i and term t.
LaunchConfig row_and_term(const ConstMatrix& rows, const LaunchTerms& terms, void* stream) {
  return {.grid = dim3(static_cast<unsigned>(rows.rows), static_cast<unsigned>(terms.count)),
          .block = kTermSumThreads,
          .stream = as_stream(stream)};
}

/// Block (i, j) for row i and a range of columns.
LaunchConfig row_and_columns(const Matrix& rows, void* stream) {
  return {.grid = dim3(static_cast<unsigned>(rows.rows),
                       static_cast<unsigned>(divide_up(rows.cols, kTermColumnThreads))),
          .block = kTermColumnThreads,
          .stream = as_stream(stream)};
}

/// Every portion needs u for its gains, but where y is u the first overwrites it: then later ones
/// get a copy.
int keep_base(ConstMatrix* u, Terms terms, Matrix y, void* stream) {
  const bool is_lost = u->data == y.data && terms.count > kLaunchTerms &&
                       std::any_of(terms.begin() + kLaunchTerms, terms.end(),
                                   [](const Term& t) { return launch_term(t).gain_on_base; });
  if (!is_lost || y.rows == 0) return 0;
  Workspace workspace;
  const auto size = static_cast<std::size_t>(u->rows * u->cols);
  if (const int code = reserve_workspace(size, 0, stream, &workspace)) return code;
  for (std::int64_t i = 0; i < u->rows; ++i) {
    if (const int code = copy(workspace.partials + i * u->cols, u->row(i),
                              static_cast<std::size_t>(u->cols) * sizeof(float),
                              detail::CopyKind::device_to_device, stream)) {
      return code;
    }
  }
  *u = {workspace.partials, u->rows, u->cols, u->cols};
  return 0;
}

template <bool kLowRank>
int expand(ConstMatrix u, ConstMatrix h, Terms terms, Ids ids, ConstVector bias, Matrix y,
           Activation activation, void* stream) {
  if (const int code = keep_base(&u, terms, y, stream)) return code;
  return in_portions(terms, nullptr, [&](const LaunchTerms& portion, bool is_first, bool is_last) {
    return launch(multi_lora_expand_kernel<kLowRank>, row_and_columns(y, stream), u, h, portion,
                  ids, bias, y, is_first, is_last && activation == Activation::relu);
  });
}

cudaError_t backward_weight(ConstMatrix p, ConstMatrix q, const Term& term, Ids ids,
                            ConstVector gain, Matrix gradient, bool accumulate, void* stream) {
  constexpr int kThreads = 128;
  if (gradient.data == nullptr) return cudaSuccess;
  const std::int64_t blocks = divide_up(gradient.rows * gradient.cols, kThreads);
  return launch(
      multi_lora_backward_weights_kernel,
      {.grid = static_cast<unsigned>(blocks), .block = kThreads, .stream = as_stream(stream)}, p, q,
      ids, term.id, gain.data, gradient, accumulate);
}

}  // namespace

int multi_lora_shrink(ConstMatrix x, Terms terms, Ids ids, Matrix h, void* stream) {
  return in_portions(terms, nullptr, [&](const LaunchTerms& portion, bool, bool) {
    return launch(multi_lora_shrink_kernel, row_and_term(x, portion, stream), x, portion, ids, h,
                  has_vector_rows(x));
  });
}

int multi_lora_expand(ConstMatrix u, ConstMatrix h, Terms terms, Ids ids, ConstVector bias,
                      Matrix y, Activation activation, void* stream) {
  return expand<true>(u, h, terms, ids, bias, y, activation, stream);
}

int multi_lora_backward_output(ConstMatrix dy, Terms terms, Ids ids, Matrix du, void* stream) {
  return expand<false>(dy, {}, terms, ids, {}, du, Activation::none, stream);
}

int multi_lora_backward_shrink(ConstMatrix dy, Terms terms, Ids ids, Matrix dh, void* stream) {
  return in_portions(terms, nullptr, [&](const LaunchTerms& portion, bool, bool) {
    return launch(multi_lora_backward_shrink_kernel, row_and_term(dy, portion, stream), dy, portion,
                  ids, dh);
  });
}

int multi_lora_backward_input(ConstMatrix dh, Terms terms, Ids ids, ConstMatrix relu_output,
                              Matrix dx, void* stream) {
  return in_portions(terms, nullptr, [&](const LaunchTerms& portion, bool, bool is_last) {
    return launch(multi_lora_backward_input_kernel, row_and_columns(dx, stream), dh, portion, ids,
                  is_last ? relu_output : ConstMatrix{}, dx);
  });
}

int multi_lora_backward_weights(ConstMatrix dy, ConstMatrix x, ConstMatrix h, ConstMatrix dh,
                                Term term, Ids ids, Matrix da, Matrix db, bool accumulate,
                                void* stream) {
  const auto own = [&](const ConstMatrix& all) {
    return ConstMatrix{all.data + term.first, all.rows, term.a.rows, all.stride};
  };
  const cudaError_t error = backward_weight(own(dh), x, term, ids, {}, da, accumulate, stream);
  if (error != cudaSuccess) return code_of(error);
  return code_of(backward_weight(dy, own(h), term, ids, term.gain, db, accumulate, stream));
}

int multi_lora_backward_gain(ConstMatrix dy, ConstMatrix u, ConstMatrix h, Terms terms, Ids ids,
                             std::int32_t id, Vector dgain, bool accumulate, void* stream) {
  const ColumnSumsConfig config = column_sums_config(dy.rows, dy.cols);
  const auto columns = static_cast<unsigned>(config.columns);
  const auto lanes = static_cast<unsigned>(config.lanes);
  const LaunchConfig launch_config{.grid = config.blocks,
                                   .block = dim3(columns, lanes),
                                   .shared_bytes = columns * lanes * sizeof(float),
                                   .stream = as_stream(stream)};
  return in_portions(terms, &id, [&](const LaunchTerms& portion, bool is_first, bool) {
    return launch(multi_lora_backward_gain_kernel, launch_config, dy, u, h, portion, ids, id, dgain,
                  accumulate || !is_first, is_first);
  });
}

int multi_lora_add_bias(ConstVector bias, Ids ids, std::int32_t id, Matrix y, void* stream) {
  return code_of(launch(multi_lora_add_bias_kernel, row_and_columns(y, stream), bias, ids, id, y));
}

int multi_lora_backward_bias(ConstMatrix dy, Ids ids, std::int32_t id, Vector db, bool accumulate,
                             void* stream) {
  return code_of(launch(multi_lora_backward_bias_kernel,
                        {.grid = static_cast<unsigned>(divide_up(db.size, kTermColumnThreads)),
                         .block = kTermColumnThreads,
                         .stream = as_stream(stream)},
                        dy, ids, id, db, accumulate));
}

}  // namespace lora::inline v0::cuda
