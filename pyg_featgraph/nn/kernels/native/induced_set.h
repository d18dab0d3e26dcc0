// Attention of queries over weighted subsets: see ../induced_set.py.
#pragma once

#include "memory.h"
#include "product.h"

// The queries of each subset with zeros behind, [sets][ep], so that no vector
// belongs to two of them.
template <typename T>
struct Queries {
  int64_t n, d, dp, sets, count, ep, size;
  std::vector<T> rows, columns;  // [sets][ep][dp] and [d][sets][ep]
  std::vector<T> threshold;      // [n][sets][ep]

  Queries(const T* query, const T* bounds, int64_t n, int64_t d, int64_t sets,
          int64_t count)
      : n(n),
        d(d),
        dp(padded(d, Vector<T>::lanes)),
        sets(sets),
        count(count),
        ep(padded(count, Vector<T>::lanes)),
        size(sets * ep),
        rows(size * dp),
        columns(d * size),
        threshold(n * size) {
    for (int64_t s = 0; s < sets; ++s)
      copy_padded(query + s * count * d, count, d, d, rows.data() + s * ep * dp,
                  dp);
    transpose_padded(rows.data(), size, d, dp, columns.data(), size);
    copy_padded(bounds, n * sets, count, count, threshold.data(), ep);
  }

  // The products of the nodes of a row with all queries, [n][sets][ep].
  void products(const T* x, T* out) const {
    product(n, size, d, x, d, 1, columns.data(), size, out, size);
  }
};

// x is [size][n][d], weight [size][n][sets], out [size][sets][count][d].
template <typename T>
void induced_set_attention(const T* x, const T* weight, const T* query,
                           const T* bounds, T* out, int64_t size, int64_t n,
                           int64_t d, int64_t sets, int64_t count,
                           int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const Queries<T> q(query, bounds, n, d, sets, count);
  const int64_t dp = q.dp, ep = q.ep;
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* xp = own.take<T>(n * dp);
    T* alpha = own.take<T>(n * q.size);
    T* part = own.take<T>(ep * dp);
    for (int64_t b = start; b < stop; ++b) {
      q.products(x + b * n * d, alpha);
      copy_padded(x + b * n * d, n, d, d, xp, dp);
      for (int64_t j = 0; j < n; ++j)
        for (int64_t s = 0; s < sets; ++s) {
          const T w = weight[(b * n + j) * sets + s];
          for (int64_t e = 0; e < ep; e += lanes) {
            const int64_t at = j * q.size + s * ep + e;
            const V<T> score = load(alpha + at) * w - load(&q.threshold[at]);
            store(alpha + at, relu<T>(score) * w);
          }
        }
      for (int64_t s = 0; s < sets; ++s) {
        product(count, dp, n, alpha + s * ep, 1, q.size, xp, dp, part, dp);
        copy_back(part, count, d, dp, out + (b * sets + s) * count * d, d);
      }
    }
  });
}

// The scores are computed again instead of having been stored. Of the gradient,
// rows and sets are so far apart.
template <typename T>
void induced_set_attention_backward(const T* grad, const T* x, const T* weight,
                                    const T* query, const T* bounds, T* grad_x,
                                    T* grad_weight, T* grad_query,
                                    T* grad_bounds, int64_t size, int64_t n,
                                    int64_t d, int64_t sets, int64_t count,
                                    int64_t row, int64_t set,
                                    int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 64;
  const Queries<T> q(query, bounds, n, d, sets, count);
  const int64_t dp = q.dp, ep = q.ep, length = q.size * dp + n * q.size;
  const int64_t blocks = (size + block - 1) / block;
  Shares<T> shares(std::min(threads, blocks), length);
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    T* shared_sums = shares.of(thread);
    Workspace& own = workspace().reset();
    T* xp = own.take<T>(n * dp);
    T* gx = own.take<T>(n * dp);
    T* z = own.take<T>(n * q.size);
    T* g = own.take<T>(n * q.size);
    T* up = own.take<T>(q.size * dp);
    T* up_columns = own.take<T>(d * q.size);
    T* g_query = own.take<T>(length);
    T* g_bounds = g_query + q.size * dp;
    std::fill(up, up + q.size * dp, T(0));
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      // Those of a block first, which loses less than one sum over all:
      std::fill(g_query, g_query + length, T(0));
      for (int64_t b = r; b < std::min(r + block, size); ++b) {
        const T* nodes = x + b * n * d;
        copy_padded(nodes, n, d, d, xp, dp);
        for (int64_t s = 0; s < sets; ++s)
          copy_padded(grad + b * row + s * set, count, d, d, up + s * ep * dp,
                      dp);
        transpose_padded(up, q.size, d, dp, up_columns, q.size);
        q.products(nodes, z);
        product(n, q.size, d, nodes, d, 1, up_columns, q.size, g, q.size);
        for (int64_t j = 0; j < n; ++j)
          for (int64_t s = 0; s < sets; ++s) {
            const T w = weight[(b * n + j) * sets + s];
            V<T> total = {};
            for (int64_t e = 0; e < ep; e += lanes) {
              const int64_t at = j * q.size + s * ep + e;
              const V<T> one = load(z + at), by_alpha = load(g + at);
              const V<T> score = relu<T>(one * w - load(&q.threshold[at]));
              // Nothing passes a pruned edge:
              const V<T> by_score = score > T(0) ? by_alpha * w : V<T>{};
              total += by_alpha * score + by_score * one;
              store(z + at, score * w);
              store(g + at, by_score * w);
              store(g_bounds + at, load(g_bounds + at) - by_score);
            }
            grad_weight[(b * n + j) * sets + s] = sum<T>(total);
          }
        product(n, dp, q.size, z, q.size, 1, up, dp, gx, dp);
        product<T, true>(n, dp, q.size, g, q.size, 1, q.rows.data(), dp, gx, dp);
        copy_back(gx, n, d, dp, grad_x + b * n * d, d);
        product<T, true>(q.size, dp, n, g, 1, q.size, xp, dp, g_query, dp);
      }
      for (int64_t k = 0; k < length; k += lanes)
        store(shared_sums + k, load(shared_sums + k) + load(g_query + k));
    }
  });
  for (int64_t s = 0; s < sets; ++s)
    for (int64_t e = 0; e < count; ++e)
      shares.add_to(grad_query + (s * count + e) * d, (s * ep + e) * dp, d);
  for (int64_t k = 0; k < n * sets; ++k)
    shares.add_to(grad_bounds + k * count, q.size * dp + k * ep, count);
}
