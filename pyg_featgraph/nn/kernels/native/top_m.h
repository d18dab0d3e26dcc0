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
  // Of the values from `low` there are at least m.
  while (count_from(values, size, low) > m) {
    const T middle = low + (high - low) / 2;
    if (!(middle > low) || !(middle <= high)) break;
    if (count_from(values, size, middle) >= m)
      low = middle;
    else if (high == middle)
      break;
    else
      high = middle;
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

template <typename T>
void top_m(const T* weight, T* out, int64_t rows, int64_t n, int64_t m,
           int64_t keep_ties, int64_t threads) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t np = padded(n, lanes);
  in_threads(rows, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace();
    own.reserve<T>(np + 64);
    T* score = own.take<T>(np);
    // The lanes behind the last node are left out by their number.
    std::fill(score + n, score + np, T(0));
    for (int64_t r = start; r < stop; ++r) {
      const T* w = weight + r * n;
      T* o = out + r * n;
      std::copy(w, w + n, score);
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
      const T low = minimum<T>(least), high = maximum<T>(most);
      if (edges <= m) {
        std::copy(w, w + n, o);
        continue;
      }
      const T cut = mth_largest(score, np, m, low, high);
      T gap = 16 * std::numeric_limits<T>::epsilon() * std::abs(cut);
      if (std::isinf(gap)) gap = 0;
      int64_t room = n;
      if (!keep_ties && count_from(score, np, cut - gap) > m) {
        room = m;
        for (int64_t k = 0; k < n; ++k) room -= score[k] > cut + gap;
      }
      if (room == n) {
        for (int64_t k = 0; k < n; ++k) o[k] = w[k] * T(score[k] >= cut - gap);
        continue;
      }
      // The first ones of those that are equal to the m-th:
      for (int64_t k = 0; k < n; ++k) {
        bool keep = score[k] > cut + gap;
        if (!keep && score[k] >= cut - gap && room > 0) keep = true, --room;
        o[k] = w[k] * T(keep);
      }
    }
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
