// Attention by a sum of the scores of both ends: see ../sum_softmax.py.
#pragma once

#include "softmax.h"

// target is [size][n], source [size][m], keep [size][n][m] or [n][m] where all
// rows share it, and out [size][n][m].
template <typename T>
void sum_softmax(const T* target, const T* source, const uint8_t* keep,
                 int64_t keep_row, T slope, T* out, int64_t size, int64_t n,
                 int64_t m, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t mp = padded(m, lanes), np = padded(n, lanes);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* s = own.take<T>(mp);
    T* soft = own.take<T>(n * mp);
    T* totals = own.take<T>(np * lanes);
    T* inverse = own.take<T>(np);
    uint8_t* used = own.take<uint8_t>(n * mp);
    std::fill(totals, totals + np * lanes, T(0));
    std::fill(used, used + n * mp, uint8_t(1));
    for (int64_t i = 0; i < n; ++i)
      std::fill(used + i * mp + m, used + (i + 1) * mp, uint8_t(0));
    for (int64_t b = start; b < stop; ++b) {
      const T* t = target + b * n;
      copy_padded(source + b * m, 1, m, m, s, mp);
      if (keep && (keep_row || b == start))
        copy_padded(keep + b * keep_row, n, m, m, used, mp);
      softmax_powers(
          n, m,
          [&](int64_t i, int64_t j) {
            const V<T> c = load(s + j) + t[i];
            return c > T(0) ? c : c * slope;
          },
          [&](int64_t i, int64_t j) { return load_mask<T>(used + i * mp + j); },
          soft, totals, inverse);
      for (int64_t i = 0; i < n; ++i)
        by_vectors<T>(m, [&](int64_t j, int64_t some) {
          store_first(out + (b * n + i) * m + j,
                      load(soft + i * mp + j) * inverse[i], some);
        });
    }
  });
}

// What is left out has a weight of zero and so no gradient.
template <typename T>
void sum_softmax_backward(const T* grad, const T* out, const T* target,
                          const T* source, T slope, T* grad_target,
                          T* grad_source, int64_t size, int64_t n, int64_t m,
                          int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t mp = padded(m, lanes);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* s = own.take<T>(mp);
    T* gs = own.take<T>(mp);
    T* a = own.take<T>(n * mp);
    T* g = own.take<T>(n * mp);
    for (int64_t b = start; b < stop; ++b) {
      copy_padded(source + b * m, 1, m, m, s, mp);
      copy_padded(out + b * n * m, n, m, m, a, mp);
      copy_padded(grad + b * n * m, n, m, m, g, mp);
      std::fill(gs, gs + mp, T(0));
      for (int64_t i = 0; i < n; ++i) {
        const T t = target[b * n + i];
        const T *ai = a + i * mp, *gi = g + i * mp;
        V<T> dot = {}, total = {};
        for (int64_t j = 0; j < m; j += lanes)
          dot += load(ai + j) * load(gi + j);
        const T inner = sum<T>(dot);
        for (int64_t j = 0; j < m; j += lanes) {
          V<T> up = load(ai + j) * (load(gi + j) - inner);
          up = load(s + j) + t > T(0) ? up : up * slope;
          store(gs + j, load(gs + j) + up);
          total += up;
        }
        grad_target[b * n + i] = sum<T>(total);
      }
      std::copy(gs, gs + m, grad_source + b * m);
    }
  });
}
