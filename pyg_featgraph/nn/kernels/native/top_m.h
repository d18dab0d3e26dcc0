// The m largest entries of each row of a matrix: see ../top_m.py.
#pragma once

#include <functional>

#include "memory.h"

template <typename T>
inline int64_t count_from(const T* values, int64_t size, T bound) {
  int64_t total = 0;
  for (int64_t k = 0; k < size; k += Vector<T>::lanes)
    total += __builtin_popcount(bits<T>(load(values + k) >= bound));
  return total;
}

// The m-th largest of more than m values, by halving the range it is in.
template <typename T>
inline T mth_largest(const T* values, int64_t size, int64_t m, T low, T high) {
  if (std::isinf(low) || std::isinf(high)) {
    std::vector<T> copy(values, values + size);
    std::nth_element(copy.begin(), copy.begin() + m - 1, copy.end(),
                     std::greater<T>());
    return copy[m - 1];
  }
  // From `low` on there are at least m values, from `high` on fewer. What is
  // halved is as good as random, so that there had better be no branch.
  int64_t from_low = size;
  if (count_from(values, size, high) >= m) low = high, from_low = m;
  while (from_low != m) {
    const T middle = low + (high - low) / 2;
    if (!(middle > low && middle < high)) break;
    const int64_t from = count_from(values, size, middle);
    const bool enough = from >= m;
    low = enough ? middle : low;
    high = enough ? high : middle;
    from_low = enough ? from : from_low;
  }
  const V<T> infinity = all(std::numeric_limits<T>::infinity());
  V<T> least = infinity;
  for (int64_t k = 0; k < size; k += Vector<T>::lanes) {
    V<T> one = load(values + k);
    one = one >= low ? one : infinity;
    least = one < least ? one : least;
  }
  return minimum<T>(least);
}

// Sets all but the m largest of n weights to zero. `score` has room for them
// and a vector.
template <typename T>
inline void keep_largest(const T* w, T* out, T* score, int64_t n, int64_t m,
                         bool keep_ties) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t np = padded(n, lanes);
  copy_few(w, n, score);
  int64_t edges = 0;
  V<T> least = all(infinity), most = all(-infinity);
  for (int64_t k = 0; k < np; k += lanes) {
    const V<T> one = load(score + k);
    const M<T> is_edge = (one != T(0)) & (one == one) & first_lanes<T>(n - k);
    edges += __builtin_popcount(bits<T>(is_edge));
    store(score + k, is_edge ? one : all(-infinity));
    least = (is_edge & (one < least)) ? one : least;
    most = (is_edge & (one > most)) ? one : most;
  }
  if (edges <= m) {
    copy_few(w, n, out);
    return;
  }
  const T cut = mth_largest(score, np, m, minimum<T>(least), maximum<T>(most));
  T gap = 16 * std::numeric_limits<T>::epsilon() * std::abs(cut);
  if (std::isinf(gap)) gap = 0;
  if (keep_ties || count_from(score, np, cut - gap) <= m) {
    for (int64_t k = 0; k < n; ++k) out[k] = w[k] * T(score[k] >= cut - gap);
    return;
  }
  // The first ones of those that are equal to the m-th:
  int64_t room = m;
  for (int64_t k = 0; k < n; ++k) room -= score[k] > cut + gap;
  for (int64_t k = 0; k < n; ++k) {
    bool keep = score[k] > cut + gap;
    if (!keep && score[k] >= cut - gap && room > 0) keep = true, --room;
    out[k] = w[k] * T(keep);
  }
}

template <typename T>
void top_m(const T* weight, T* out, int64_t rows, int64_t n, int64_t m,
           int64_t keep_ties, int64_t threads) {
  in_threads(rows, threads, [&](int64_t start, int64_t stop, int64_t) {
    T* score = workspace().reset().take<T>(padded(n, Vector<T>::lanes));
    for (int64_t r = start; r < stop; ++r)
      keep_largest(weight + r * n, out + r * n, score, n, m, keep_ties != 0);
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
