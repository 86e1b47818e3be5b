// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <lora/cpu/simd.hpp>
#include <lora/detail/bit_patch.hpp>
#include <lora/detail/thread_pool.hpp>
#include <lora/tensor.hpp>

namespace lora::inline v0 {

/// How exactly a weight W took up the update Δ of its adapters: W' = W + Δ, rounded.
struct MergeError {
  double max_error = 0;       ///< the largest |W' - (W + Δ)|
  double relative_error = 0;  ///< ‖W' - (W + Δ)‖ / ‖Δ‖ (Frobenius)
  double lost = 0;            ///< the share of Δ's elements, of those not 0, that left W as it was
  bool finite = true;         ///< whether W' has neither infinities nor NaN
  std::size_t patch_bytes = 0;  ///< what unmerge() keeps to restore W to the bit
};

}  // namespace lora::inline v0

namespace lora::inline v0::detail {

/// A change of a weight that can be taken back to the bit: W' = f ∘ W + Σ c ∘ (B A), with a factor
/// f and c for each row; a term may be of some neighbouring rows alone. Worked out in a wider type
/// and rounded once, on the host, so that the bits depend on no device. What dividing and
/// subtracting does not bring back is kept as a patch.
template <class T>
class WeightChange {
 public:
  struct Term {
    Tensor<T> a, b;              // (R, I), (S, R), on the CPU
    std::vector<double> factor;  // (S,)
    index_t first_row = 0;       // of the S rows of W
  };

  /// `row_factor` (O,) may be empty: all ones.
  WeightChange(std::vector<Term> terms, std::vector<double> row_factor)
      : terms_(std::move(terms)), row_factor_(std::move(row_factor)) {}

  /// Changes W (O, I), on the CPU.
  MergeError apply(Tensor<T>& w) {
    const index_t chunks = (w.dim(0) + kRows - 1) / kRows;
    patches_.assign(static_cast<std::size_t>(chunks), {});
    std::vector<Sums> sums(static_cast<std::size_t>(chunks));
    parallel_for(chunks, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t c = first; c < last; ++c) {
        const auto chunk = static_cast<std::size_t>(c);
        apply_rows(w, c * kRows, std::min((c + 1) * kRows, w.dim(0)), patches_[chunk], sums[chunk]);
      }
    });
    Sums all;
    MergeError error;
    for (std::size_t c = 0; c < sums.size(); ++c) {
      all.add(sums[c]);
      error.patch_bytes += patches_[c].bytes();
    }
    error.max_error = all.max_error;
    error.relative_error = all.update > 0 ? std::sqrt(all.error / all.update) : 0;
    error.lost =
        all.updated > 0 ? static_cast<double>(all.lost) / static_cast<double>(all.updated) : 0;
    error.finite = all.finite;
    return error;
  }

  /// Takes apply() back, to the bit.
  void revert(Tensor<T>& w) const {
    parallel_for(static_cast<index_t>(patches_.size()), 1,
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t c = first; c < last; ++c) {
                     const std::int64_t end = std::min((c + 1) * kRows, w.dim(0));
                     revert_rows(w, c * kRows, end, patches_[static_cast<std::size_t>(c)]);
                   }
                 });
  }

 private:
  using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;
  static constexpr index_t kRows =
      64;  // of a chunk, which one thread does, with a patch of its own

  struct Sums {
    double max_error = 0, error = 0, update = 0;
    index_t lost = 0, updated = 0;
    bool finite = true;

    void add(const Sums& other) {
      max_error = std::max(max_error, other.max_error);
      error += other.error;
      update += other.update;
      lost += other.lost;
      updated += other.updated;
      finite = finite && other.finite;
    }
  };

  Wide row_factor(index_t o) const {
    return row_factor_.empty() ? Wide{1} : Wide{row_factor_[static_cast<std::size_t>(o)]};
  }

  // Row o of Σ c ∘ (B A). Never inlined, so that it is compiled, and rounds, in one way.
  LORA_NEVER_INLINE void low_rank_row(index_t o, std::vector<Wide>& row) const {
    std::fill(row.begin(), row.end(), Wide{0});
    for (const Term& term : terms_) {
      const index_t own = o - term.first_row;
      if (own < 0 || own >= term.b.dim(0)) continue;
      for (index_t r = 0; r < term.a.dim(0); ++r) {
        const Wide c = Wide{term.factor[static_cast<std::size_t>(own)]} * term.b(own, r);
        const T* const a = term.a.data() + r * term.a.dim(1);
        for (std::size_t k = 0; k < row.size(); ++k) row[k] += c * a[k];
      }
    }
  }

  static std::span<T> row_of(Tensor<T>& w, index_t o) {
    return {w.data() + o * w.dim(1), static_cast<std::size_t>(w.dim(1))};
  }

  static T taken_back(T changed, Wide low_rank, Wide factor) {
    return static_cast<T>((changed - low_rank) / factor);
  }

  void apply_rows(Tensor<T>& w, index_t begin, index_t end, BitPatch<T>& patch, Sums& sums) const {
    const auto size = static_cast<std::size_t>(w.dim(1));
    std::vector<Wide> low_rank(size);
    std::vector<T> back(size), before(size);
    for (index_t o = begin; o < end; ++o) {
      low_rank_row(o, low_rank);
      const Wide factor = row_factor(o);
      const std::span<T> row = row_of(w, o);
      before.assign(row.begin(), row.end());
      for (std::size_t k = 0; k < size; ++k) {
        const Wide exact = factor * before[k] + low_rank[k];
        const Wide update = exact - before[k];
        row[k] = static_cast<T>(exact);
        back[k] = taken_back(row[k], low_rank[k], factor);
        const auto error = static_cast<double>(row[k] - exact);
        sums.max_error = std::max(sums.max_error, std::abs(error));
        sums.error += error * error;
        sums.update += static_cast<double>(update * update);
        sums.updated += update != 0;
        sums.lost += update != 0 && row[k] == before[k];
        sums.finite = sums.finite && std::isfinite(row[k]);
      }
      patch.append(back, before);
    }
  }

  void revert_rows(Tensor<T>& w, index_t begin, index_t end, const BitPatch<T>& patch) const {
    std::vector<Wide> low_rank(static_cast<std::size_t>(w.dim(1)));
    for (index_t o = begin; o < end; ++o) {
      low_rank_row(o, low_rank);
      const Wide factor = row_factor(o);
      const std::span<T> row = row_of(w, o);
      for (std::size_t k = 0; k < row.size(); ++k) {
        row[k] = taken_back(row[k], low_rank[k], factor);
      }
    }
    patch.apply({w.data() + begin * w.dim(1), static_cast<std::size_t>((end - begin) * w.dim(1))});
  }

  std::vector<Term> terms_;
  std::vector<double> row_factor_;
  std::vector<BitPatch<T>> patches_;  // one a chunk
};

}  // namespace lora::inline v0::detail
