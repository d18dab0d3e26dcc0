// Attention between the few nodes of a row: see ../small_attention.py.
#pragma once

#include "memory.h"
#include "product.h"

// alpha[j][i] in place of the products of the keys j with the queries i: with
// a vector for many i, no lane has to meet another one.
template <typename T>
inline void soft_columns(T* alpha, int64_t n, int64_t np, T factor) {
  constexpr int64_t lanes = Vector<T>::lanes;
  for (int64_t i = 0; i < np; i += lanes) {
    V<T> top = all(std::numeric_limits<T>::lowest());
    for (int64_t j = 0; j < n; ++j) {
      const V<T> c = load(alpha + j * np + i) * factor;
      top = c < top ? top : c;
    }
    V<T> total = {};
    for (int64_t j = 0; j < n; ++j) {
      T* at = alpha + j * np + i;
      const V<T> e = exponential(load(at) * factor - top);
      store(at, e);
      total += e;
    }
    const V<T> inverse = T(1) / total;
    for (int64_t j = 0; j < n; ++j) {
      T* at = alpha + j * np + i;
      store(at, load(at) * inverse);
    }
  }
}

// All are [size][n][heads][c].
template <typename T>
void small_attention(const T* query, const T* key, const T* value, T* out,
                     int64_t size, int64_t n, int64_t heads, int64_t c,
                     int64_t threads) {
  const int64_t np = padded(n, Vector<T>::lanes), step = heads * c;
  const T factor = T(1) / std::sqrt(T(c));
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* qt = own.take<T>(c * np);
    T* ot = own.take<T>(c * np);
    T* alpha = own.take<T>(n * np);
    for (int64_t b = start; b < stop; ++b)
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t at = b * n * step + head * c;
        transpose_padded(query + at, n, c, step, qt, np);
        product(n, np, c, key + at, step, 1, qt, np, alpha, np);
        soft_columns(alpha, n, np, factor);
        product(c, np, n, value + at, 1, step, alpha, np, ot, np);
        for (int64_t i = 0; i < n; ++i)
          for (int64_t k = 0; k < c; ++k)
            out[at + i * step + k] = ot[k * np + i];
      }
  });
}

// The weights are computed again instead of having been stored.
template <typename T>
void small_attention_backward(const T* grad, const T* query, const T* key,
                              const T* value, T* grad_query, T* grad_key,
                              T* grad_value, int64_t size, int64_t n,
                              int64_t heads, int64_t c, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t np = padded(n, lanes), cp = padded(c, lanes), step = heads * c;
  const T factor = T(1) / std::sqrt(T(c));
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* qt = own.take<T>(c * np);
    T* gt = own.take<T>(c * np);
    T* gqt = own.take<T>(c * np);
    T* qp = own.take<T>(n * cp);
    T* gp = own.take<T>(n * cp);
    T* part = own.take<T>(n * cp);
    T* alpha = own.take<T>(n * np);
    T* g = own.take<T>(n * np);
    for (int64_t b = start; b < stop; ++b)
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t at = b * n * step + head * c;
        transpose_padded(query + at, n, c, step, qt, np);
        transpose_padded(grad + at, n, c, step, gt, np);
        copy_padded(query + at, n, c, step, qp, cp);
        copy_padded(grad + at, n, c, step, gp, cp);
        product(n, np, c, key + at, step, 1, qt, np, alpha, np);
        soft_columns(alpha, n, np, factor);
        product(n, cp, n, alpha, np, 1, gp, cp, part, cp);
        copy_back(part, n, c, cp, grad_value + at, step);
        product(n, np, c, value + at, step, 1, gt, np, g, np);
        for (int64_t i = 0; i < np; i += lanes) {
          V<T> inner = {};
          for (int64_t j = 0; j < n; ++j)
            inner += load(alpha + j * np + i) * load(g + j * np + i);
          // What is behind the last node has no say in the sums over nodes:
          const V<T> used = first_lanes<T>(n - i) ? all(factor) : V<T>{};
          for (int64_t j = 0; j < n; ++j) {
            T* to = g + j * np + i;
            store(to, load(alpha + j * np + i) * (load(to) - inner) * used);
          }
        }
        product(c, np, n, key + at, 1, step, g, np, gqt, np);
        for (int64_t i = 0; i < n; ++i)
          for (int64_t k = 0; k < c; ++k)
            grad_query[at + i * step + k] = gqt[k * np + i];
        product(n, cp, n, g, np, 1, qp, cp, part, cp);
        copy_back(part, n, c, cp, grad_key + at, step);
      }
  });
}
