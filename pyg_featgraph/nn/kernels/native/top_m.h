// The m largest entries of each row of a matrix: see ../top_m.py.
#pragma once

#include <functional>

#include "memory.h"

// As many rows of n values as a vector has lanes, [n][lanes].
template <typename T>
struct Columns {
  static constexpr int64_t lanes = Vector<T>::lanes;
  T* values;
  int64_t n;

  V<T> at(int64_t k) const { return load(values + k * lanes); }

  // How many values of each row are not below its bound.
  M<T> count_from(V<T> bound) const {
    M<T> total = {};
    for (int64_t k = 0; k < n; ++k) total -= at(k) >= bound;
    return total;
  }

  // The least of these.
  V<T> least_from(V<T> bound) const {
    const V<T> infinity = all(std::numeric_limits<T>::infinity());
    V<T> least = infinity;
    for (int64_t k = 0; k < n; ++k) {
      const V<T> one = at(k) >= bound ? at(k) : infinity;
      least = one < least ? one : least;
    }
    return least;
  }

  T mth_by_sorting(int64_t row, int64_t m) const {
    std::vector<T> copy(n);
    for (int64_t k = 0; k < n; ++k) copy[k] = values[k * lanes + row];
    std::nth_element(copy.begin(), copy.begin() + m - 1, copy.end(),
                     std::greater<T>());
    return copy[m - 1];
  }
};

// The m-th largest values of the rows that have more than m, in each of which
// there are `edges` values from `low` to `high`.
template <typename T>
inline V<T> mth_largest(const Columns<T>& columns, M<T> edges, V<T> low,
                        V<T> high, typename Vector<T>::Int m) {
  const M<T> has_more = edges > m;
  const V<T> width = high - low;
  // An infinity cannot be halved:
  uint32_t endless = bits<T>(has_more & ~(width - width == T(0)));
  for (; endless; endless &= endless - 1) {
    const int row = __builtin_ctz(endless);
    low[row] = high[row] = columns.mth_by_sorting(row, m);
  }
  const M<T> at_top = columns.count_from(high) >= m;
  low = at_top ? high : low;
  // From `low` on there are at least m values, from `high` on fewer. The range
  // is halved until it holds no further value.
  M<T> from_low = at_top ? M<T>{} + m : edges;
  while (true) {
    const V<T> middle = low + (high - low) / 2;
    const M<T> goes_on =
        has_more & (from_low != m) & (middle > low) & (middle < high);
    if (!bits<T>(goes_on)) return columns.least_from(low);
    const M<T> from = columns.count_from(middle), enough = from >= m;
    low = goes_on & enough ? middle : low;
    from_low = goes_on & enough ? from : from_low;
    high = goes_on & ~enough ? middle : high;
  }
}

// Keeps the m largest weights of a row, of which more are equal to the m-th the
// first ones.
template <typename T>
inline void keep_first(const T* w, T* out, int64_t n, int64_t m, T cut, T gap) {
  int64_t room = m;
  for (int64_t k = 0; k < n; ++k) room -= w[k] != 0 && w[k] > cut + gap;
  for (int64_t k = 0; k < n; ++k) {
    bool keep = w[k] > cut + gap;
    if (!keep && w[k] >= cut - gap && room > 0) keep = true, --room;
    out[k] = w[k] * T(keep);
  }
}

// Sets all but the m largest of n weights of each row to zero, of as many rows
// as a vector has lanes. There is `memory` for so many columns.
template <typename T>
inline void keep_largest(const T* w, T* out, T* memory, int64_t rows, int64_t n,
                         int64_t m, bool keep_ties) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr int64_t lanes = Vector<T>::lanes;
  const Columns<T> columns{memory, n};
  const auto few = static_cast<typename Vector<T>::Int>(m);
  transpose_padded(w, rows, n, n, memory, lanes);
  M<T> edges = {};
  V<T> least = all(infinity), most = all(-infinity);
  for (int64_t k = 0; k < n; ++k) {
    const V<T> one = columns.at(k);
    const M<T> is_edge = (one != T(0)) & (one == one);
    edges -= is_edge;
    store(memory + k * lanes, is_edge ? one : all(-infinity));
    least = is_edge & (one < least) ? one : least;
    most = is_edge & (one > most) ? one : most;
  }
  const V<T> cut = mth_largest(columns, edges, least, most, few);
  V<T> gap = 16 * std::numeric_limits<T>::epsilon() * (cut < T(0) ? -cut : cut);
  gap = gap - gap == T(0) ? gap : V<T>{};
  const V<T> bound = cut - gap;
  const M<T> has_ties = columns.count_from(bound) > few;
  for (int64_t r = 0; r < rows; ++r) {
    const T* from = w + r * n;
    T* to = out + r * n;
    if (edges[r] <= m) {
      copy_few(from, n, to);
    } else if (has_ties[r] && !keep_ties) {
      keep_first(from, to, n, m, cut[r], gap[r]);
    } else {
      const T least_kept = bound[r];
      by_vectors<T>(n, [&](int64_t k, int64_t some) {
        const V<T> one = load_first(from + k, some);
        store_first(to + k, one >= least_kept ? one : one * T(0), some);
      });
    }
  }
}

template <typename T>
void top_m(const T* weight, T* out, int64_t rows, int64_t n, int64_t m,
           int64_t keep_ties, int64_t threads) {
  in_threads(rows, threads, [&](int64_t start, int64_t stop, int64_t) {
    constexpr int64_t lanes = Vector<T>::lanes;
    T* memory = workspace().reset().take<T>(n * lanes);
    for (int64_t r = start; r < stop; r += lanes)
      keep_largest(weight + r * n, out + r * n, memory,
                   std::min(lanes, stop - r), n, m, keep_ties != 0);
  });
}

template <typename T>
void top_m_backward(const T* grad, const T* out, T* grad_weight, int64_t size,
                    int64_t threads) {
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    for (int64_t k = start; k < stop; ++k)
      grad_weight[k] = out[k] == 0 ? T(0) : grad[k];
  });
}
