// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <lora/activation.hpp>
#include <lora/cpu/linear.hpp>
#include <lora/cpu/linear_cores.hpp>
#include <lora/cpu/relu.hpp>
#include <lora/cpu/simd.hpp>
#include <lora/detail/backend.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/view.hpp>

// The terms of several adapters on top of u = x Wᵀ, which costs far more than they do. Rows are
// taken in runs of neighbours with one id: by the cores for thin batches where they are, side by
// side in scratch memory where a sum goes over all of them. Rows to which a term does not apply are
// skipped, not multiplied by zero, so what is wrong with one adapter stays with its rows.

namespace lora::inline v0::cpu {

namespace detail {

using lora::detail::AdapterTerm;
using lora::detail::AdapterTerms;
using Ids = VectorView<const std::int32_t>;

/// Columns of an output that are finished in the first cache before the next are begun.
constexpr std::int64_t kTermColumns = 128;

template <class T>
MatrixView<T> rows_of(const MatrixView<T>& x, std::int64_t begin, std::int64_t end) {
  return {x.row(begin), end - begin, x.cols, x.stride};
}

template <class T>
MatrixView<T> columns_of(const MatrixView<T>& x, std::int64_t begin, std::int64_t end) {
  return {x.data + begin, x.rows, end - begin, x.stride};
}

/// The part of the columns [begin, end) of an output that a term reaches; empty where it does not.
struct ReachedColumns {
  std::int64_t begin, end;

  template <class T>
  ReachedColumns(const AdapterTerm<T>& term, std::int64_t begin, std::int64_t end)
      : begin(std::max(begin, term.first_output)),
        end(std::min(end, term.first_output + term.b.rows)) {}

  bool empty() const { return begin >= end; }
};

/// The term's columns of h or of dh.
template <class T, class H>
MatrixView<H> columns_of_term(const AdapterTerm<T>& term, const MatrixView<H>& h) {
  return columns_of(h, term.first, term.first + term.a.rows);
}

template <class T>
MatrixView<T> scratch(std::vector<T>& memory, std::int64_t rows, std::int64_t cols) {
  memory.resize(static_cast<std::size_t>(rows * cols));
  return {memory.data(), rows, cols, cols};
}

template <class T>
void clear(const MatrixView<T>& x) {
  for (std::int64_t i = 0; i < x.rows; ++i) std::fill_n(x.row(i), x.cols, T{});
}

/// f(begin, end) for every longest run of rows that have the id; without ids, all rows do.
template <class F>
void for_each_run(Ids ids, std::int32_t id, std::int64_t rows, const F& f) {
  if (!ids.data) {
    if (rows > 0) f(std::int64_t{0}, rows);
    return;
  }
  for (std::int64_t i = 0; i < rows;) {
    if (ids[i] != id) {
      ++i;
      continue;
    }
    const std::int64_t begin = i;
    while (i < rows && ids[i] == id) ++i;
    f(begin, i);
  }
}

inline std::int64_t count_rows(Ids ids, std::int32_t id, std::int64_t rows) {
  return ids.data ? std::count(ids.data, ids.data + rows, id) : rows;
}

inline bool applies(Ids ids, std::int32_t id, std::int64_t row) {
  return !ids.data || ids[row] == id;
}

/// The rows that have the id, side by side, times `gain` where there is one: x itself where that is
/// it, else a copy in `memory`.
template <class T>
MatrixView<const T> gather(MatrixView<const T> x, Ids ids, std::int32_t id,
                           VectorView<const T> gain, std::vector<T>& memory) {
  const std::int64_t rows = count_rows(ids, id, x.rows);
  if (rows == x.rows && !gain.data) return x;
  const MatrixView<T> to = scratch(memory, rows, x.cols);
  std::int64_t row = 0;
  for_each_run(ids, id, x.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i, ++row) {
      if (gain.data) {
        for (std::int64_t o = 0; o < x.cols; ++o) to(row, o) = gain[o] * x(i, o);
      } else {
        std::copy_n(x.row(i), x.cols, to.row(row));
      }
    }
  });
  return to;
}

/// h(i, ·) = factor x_i wᵀ for the term's rows i; the others stay as they are.
template <class T>
void shrink_term(MatrixView<const T> x, MatrixView<const T> w, const AdapterTerm<T>& term, Ids ids,
                 MatrixView<T> h) {
  thread_local std::vector<T> gathered, product;
  const MatrixView<const T> rows = gather<T>(x, ids, term.id, {}, gathered);
  if (rows.rows == 0) return;
  const MatrixView<T> sums = scratch(product, rows.rows, w.rows);
  linear<T>(rows, w, {}, sums);
  const T factor = static_cast<T>(term.scale);
  const T* from = sums.data;
  for_each_run(ids, term.id, x.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t r = 0; r < w.rows; ++r) h(i, term.first + r) = factor * *from++;
    }
  });
}

/// f(term) for every term; several are shared among the threads, whose own loops then run in one.
template <class T, class F>
void for_each_term(AdapterTerms<T> terms, const F& f) {
  if (terms.count == 1) return f(*terms.data);
  lora::detail::parallel_for(terms.count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) f(terms.data[t]);
  });
}

/// Rows [begin, end) of B, turned, times the gain where there is one: (R, end - begin). So that
/// sums run along memory.
template <class T>
MatrixView<const T> turn(MatrixView<const T> b, VectorView<const T> gain, std::int64_t begin,
                         std::int64_t end, std::vector<T>& memory) {
  const MatrixView<T> turned = scratch(memory, b.cols, end - begin);
  for (std::int64_t o = begin; o < end; ++o) {
    const T factor = gain.data ? gain[o] : T{1};
    for (std::int64_t r = 0; r < b.cols; ++r) turned(r, o - begin) = factor * b(o, r);
  }
  return turned;
}

/// Columns [begin, end) of y = u + bias + Σ (gain - 1) ∘ u over the terms with gain_on_base, each
/// in the columns that it reaches; y may be u.
template <class T>
void add_base_gains(MatrixView<const T> u, AdapterTerms<T> terms, Ids ids, VectorView<const T> bias,
                    MatrixView<T> y, std::int64_t begin, std::int64_t end) {
  const std::int64_t count = end - begin;
  for (std::int64_t i = 0; i < y.rows; ++i) {
    T base[kTermColumns];
    std::copy_n(u.row(i) + begin, count, base);
    T* const to = y.row(i) + begin;
    if (bias.data) {
      for (std::int64_t o = 0; o < count; ++o) to[o] = base[o] + bias[begin + o];
    } else {
      std::copy_n(base, count, to);
    }
    for (const AdapterTerm<T>& term : terms) {
      if (!term.gain_on_base || !term.gain.data || !applies(ids, term.id, i)) continue;
      const ReachedColumns own(term, begin, end);
      if (own.empty()) continue;
      const T* const gain = term.gain.data + (own.begin - term.first_output);
      const T* const own_base = base + (own.begin - begin);
      T* const own_to = y.row(i) + own.begin;
      for (std::int64_t o = 0; o < own.end - own.begin; ++o) {
        own_to[o] += (gain[o] - T{1}) * own_base[o];
      }
    }
  }
}

/// dw = dyᵀ x, or dw += dyᵀ x, in this thread where that takes less time than waking others, which
/// every term would do anew.
template <class T>
void thin_backward_weight(MatrixView<const T> dy, MatrixView<const T> x, MatrixView<T> dw,
                          bool accumulate) {
  constexpr std::int64_t kWorthSharing = 1 << 18;  // multiply-adds
  if (dy.rows * dw.rows * dw.cols >= kWorthSharing) {
    return linear_backward_weight<T>(dy, x, dw, accumulate);
  }
  run_simd<OuterProductCore>(dy, x, StoreGradient<T>{dw, accumulate}, std::int64_t{0}, dw.rows);
}

/// f(begin, end) for ranges of at most kTermColumns columns, shared among the threads.
template <class F>
void for_each_column_range(std::int64_t columns, const F& f) {
  lora::detail::parallel_for(columns, kTermColumns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; o += kTermColumns) f(o, std::min(o + kTermColumns, end));
  });
}

}  // namespace detail

template <class T>
void multi_lora_shrink(MatrixView<const T> x, lora::detail::AdapterTerms<T> terms, detail::Ids ids,
                       MatrixView<T> h) {
  detail::clear(h);
  detail::for_each_term(terms, [&](const detail::AdapterTerm<T>& term) {
    detail::shrink_term<T>(x, term.a, term, ids, h);
  });
}

template <class T>
void multi_lora_expand(MatrixView<const T> u, MatrixView<const T> h,
                       lora::detail::AdapterTerms<T> terms, detail::Ids ids,
                       VectorView<const T> bias, MatrixView<T> y, Activation activation) {
  detail::for_each_column_range(y.cols, [&](std::int64_t first, std::int64_t last) {
    thread_local std::vector<T> memory;
    detail::add_base_gains<T>(u, terms, ids, bias, y, first, last);
    for (const auto& term : terms) {
      const detail::ReachedColumns own(term, first, last);
      if (own.empty()) continue;
      const MatrixView<T> columns = detail::columns_of(y, own.begin, own.end);
      MatrixView<const T> b{};
      detail::for_each_run(ids, term.id, y.rows, [&](std::int64_t begin, std::int64_t end) {
        if (!b.data) {
          b = detail::turn<T>(term.b, term.gain, own.begin - term.first_output,
                              own.end - term.first_output, memory);
        }
        run_simd<LinearBackwardInputCore>(
            detail::rows_of(detail::columns_of_term(term, h), begin, end), b,
            detail::rows_of(columns, begin, end), std::int64_t{0}, b.rows);
      });
    }
    if (activation == Activation::relu) {
      const MatrixView<T> columns = detail::columns_of(y, first, last);
      for (std::int64_t i = 0; i < y.rows; ++i) {
        const VectorView<T> row{columns.row(i), columns.cols};
        relu<T>(row, row);
      }
    }
  });
}

template <class T>
void multi_lora_backward_output(MatrixView<const T> dy, lora::detail::AdapterTerms<T> terms,
                                detail::Ids ids, MatrixView<T> du) {
  detail::for_each_column_range(du.cols, [&](std::int64_t first, std::int64_t last) {
    detail::add_base_gains<T>(dy, terms, ids, {}, du, first, last);
  });
}

template <class T>
void multi_lora_backward_shrink(MatrixView<const T> dy, lora::detail::AdapterTerms<T> terms,
                                detail::Ids ids, MatrixView<T> dh) {
  detail::clear(dh);
  detail::for_each_term(terms, [&](const detail::AdapterTerm<T>& term) {
    thread_local std::vector<T> memory;
    if (detail::count_rows(ids, term.id, dy.rows) == 0) return;
    const auto b = detail::turn<T>(term.b, term.gain, 0, term.b.rows, memory);
    const auto own = detail::columns_of(dy, term.first_output, term.first_output + term.b.rows);
    detail::shrink_term<T>(own, b, term, ids, dh);
  });
}

template <class T>
void multi_lora_backward_input(MatrixView<const T> dh, lora::detail::AdapterTerms<T> terms,
                               detail::Ids ids, MatrixView<const T> relu_output, MatrixView<T> dx) {
  detail::for_each_column_range(dx.cols, [&](std::int64_t first, std::int64_t last) {
    const MatrixView<T> columns = detail::columns_of(dx, first, last);
    for (const auto& term : terms) {
      const auto a = detail::columns_of(term.a, first, last);
      detail::for_each_run(ids, term.id, dx.rows, [&](std::int64_t begin, std::int64_t end) {
        run_simd<LinearBackwardInputCore>(
            detail::rows_of(detail::columns_of_term(term, dh), begin, end), a,
            detail::rows_of(columns, begin, end), std::int64_t{0}, a.rows);
      });
    }
    if (relu_output.data)
      detail::through_relu(detail::columns_of(relu_output, first, last), columns);
  });
}

template <class T>
void multi_lora_backward_weights(MatrixView<const T> dy, MatrixView<const T> x,
                                 MatrixView<const T> h, MatrixView<const T> dh,
                                 lora::detail::AdapterTerm<T> term, detail::Ids ids,
                                 MatrixView<T> da, MatrixView<T> db, bool accumulate) {
  thread_local std::vector<T> memory, low_rank_memory;
  const auto rows = [&](MatrixView<const T> low_rank) {
    return detail::gather<T>(detail::columns_of_term(term, low_rank), ids, term.id, {},
                             low_rank_memory);
  };
  if (da.data) {
    detail::thin_backward_weight<T>(rows(dh), detail::gather<T>(x, ids, term.id, {}, memory), da,
                                    accumulate);
  }
  if (db.data) {
    detail::thin_backward_weight<T>(detail::gather<T>(dy, ids, term.id, term.gain, memory), rows(h),
                                    db, accumulate);
  }
}

template <class T>
void multi_lora_backward_gain(MatrixView<const T> dy, MatrixView<const T> u, MatrixView<const T> h,
                              lora::detail::AdapterTerms<T> terms, detail::Ids ids, std::int32_t id,
                              VectorView<T> dgain, bool accumulate) {
  detail::for_each_column_range(dgain.size, [&](std::int64_t first, std::int64_t last) {
    thread_local std::vector<T> turned, memory;
    // What the gain multiplies in the adapter's rows: the layer's output without bias.
    const std::int64_t count = last - first;
    const MatrixView<T> output =
        detail::scratch(memory, detail::count_rows(ids, id, dy.rows), count);
    const auto for_each_row_run = [&](const auto& f) {
      std::int64_t row = 0;
      detail::for_each_run(ids, id, dy.rows, [&](std::int64_t begin, std::int64_t end) {
        f(begin, end, detail::rows_of(output, row, row + end - begin));
        row += end - begin;
      });
    };
    for_each_row_run([&](std::int64_t begin, std::int64_t, const MatrixView<T>& rows) {
      for (std::int64_t i = 0; i < rows.rows; ++i) {
        std::copy_n(u.row(begin + i) + first, count, rows.row(i));
      }
    });
    for (const auto& term : terms) {
      if (term.id != id) continue;
      const MatrixView<const T> b = detail::turn<T>(term.b, {}, first, last, turned);
      const MatrixView<const T> own = detail::columns_of_term(term, h);
      for_each_row_run([&](std::int64_t begin, std::int64_t end, const MatrixView<T>& rows) {
        run_simd<LinearBackwardInputCore>(detail::rows_of(own, begin, end), b, rows,
                                          std::int64_t{0}, b.rows);
      });
    }
    T* const to = dgain.data + first;
    if (!accumulate) std::fill_n(to, count, T{});
    for_each_row_run([&](std::int64_t begin, std::int64_t, const MatrixView<T>& rows) {
      for (std::int64_t i = 0; i < rows.rows; ++i) {
        const T* const gradient = dy.row(begin + i) + first;
        for (std::int64_t o = 0; o < count; ++o) to[o] += gradient[o] * rows(i, o);
      }
    });
  });
}

template <class T>
void multi_lora_add_bias(VectorView<const T> bias, detail::Ids ids, std::int32_t id,
                         MatrixView<T> y) {
  detail::for_each_run(ids, id, y.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t o = 0; o < y.cols; ++o) y(i, o) += bias[o];
    }
  });
}

template <class T>
void multi_lora_backward_bias(MatrixView<const T> dy, detail::Ids ids, std::int32_t id,
                              VectorView<T> db, bool accumulate) {
  if (!accumulate) std::fill_n(db.data, db.size, T{});
  detail::for_each_run(ids, id, dy.rows, [&](std::int64_t begin, std::int64_t end) {
    linear_backward_bias<T>(detail::rows_of(dy, begin, end), db, true);
  });
}

}  // namespace lora::inline v0::cpu
