// Products of the weights of pairs with the nodes of a row: see
// ../row_product.py.
#pragma once

#include "memory.h"
#include "product.h"

// weight is [size][n][m], or [n][m] if all rows share it; x is [size][m][d],
// gate, if there is one, [size][n][d].
template <typename T>
void row_product(const T* weight, const T* x, const T* gate, T* out,
                 int64_t shared, int64_t size, int64_t n, int64_t m, int64_t d,
                 int64_t threads) {
  const int64_t dp = padded(d, Vector<T>::lanes);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* xp = own.take<T>(m * dp);
    T* part = own.take<T>(n * dp);
    for (int64_t b = start; b < stop; ++b) {
      const T* w = weight + (shared ? 0 : b * n * m);
      const T* from = with_zeros(x + b * m * d, m, d, dp, xp);
      T* to = out + b * n * d;
      T* sums = d == dp ? to : part;
      product(n, dp, m, w, m, 1, from, dp, sums, dp);
      if (d != dp) copy_back(sums, n, d, dp, to, d);
      if (gate) multiply_few(to, gate + b * n * d, n * d, to);
    }
  });
}

// The sums are computed again where the gradient of the gate needs them.
template <typename T>
void row_product_backward(const T* grad, const T* weight, const T* x,
                          const T* gate, T* grad_weight, T* grad_x,
                          T* grad_gate, int64_t shared, int64_t size, int64_t n,
                          int64_t m, int64_t d, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 64;
  const int64_t dp = padded(d, lanes), mp = padded(m, lanes);
  const int64_t blocks = (size + block - 1) / block;
  Shares<T> shares(shared ? std::min(threads, blocks) : 0, n * mp);
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    Workspace& own = workspace().reset();
    T* up = own.take<T>(n * d);
    T* upp = own.take<T>(n * dp);
    T* xp = own.take<T>(m * dp);
    T* xt = own.take<T>(d * mp);
    T* sums = own.take<T>(n * dp);
    T* gx = own.take<T>(m * dp);
    T* gw = own.take<T>(n * mp);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      // That of a block first, which loses less than one sum over all:
      if (shared) std::fill(gw, gw + n * mp, T(0));
      for (int64_t b = r; b < std::min(r + block, size); ++b) {
        const T* w = weight + (shared ? 0 : b * n * m);
        const T* from = x + b * m * d;
        const T* g = grad + b * n * d;
        if (gate) {
          product(n, dp, m, w, m, 1, with_zeros(from, m, d, dp, xp), dp, sums,
                  dp);
          for (int64_t i = 0; i < n; ++i)
            multiply_few(sums + i * dp, g + i * d, d,
                         grad_gate + (b * n + i) * d);
          multiply_few(g, gate + b * n * d, n * d, up);
          g = up;
        }
        transpose_padded(from, m, d, d, xt, mp);
        if (shared) {
          product<T, true>(n, mp, d, g, d, 1, xt, mp, gw, mp);
        } else {
          product(n, mp, d, g, d, 1, xt, mp, gw, mp);
          copy_back(gw, n, m, mp, grad_weight + b * n * m, m);
        }
        T* to = d == dp ? grad_x + b * m * d : gx;
        product(m, dp, n, w, 1, m, with_zeros(g, n, d, dp, upp), dp, to, dp);
        if (d != dp) copy_back(to, m, d, dp, grad_x + b * m * d, d);
      }
      if (!shared) continue;
      T* total = shares.of(thread);
      for (int64_t k = 0; k < n * mp; k += lanes)
        store(total + k, load(total + k) + load(gw + k));
    }
  });
  if (shared)
    for (int64_t i = 0; i < n; ++i)
      shares.add_to(grad_weight + i * m, i * mp, m);
}
