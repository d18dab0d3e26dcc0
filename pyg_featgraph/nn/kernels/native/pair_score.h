// The score of every pair of nodes of a row: see ../pair_score.py.
#pragma once

#include "memory.h"
#include "product.h"

// The pairs (i, i + s mod n) of some shifts s at a time, so that their products
// stay in the cache.
template <typename T>
void pair_score(const T* x, const T* weight, const T* bias, const T* att,
                const T* att_bias, T* out, int64_t size, int64_t n, int64_t d,
                int64_t h, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 3 * lanes;
  const int64_t shifts = n / 2 + 1, twice = padded(2 * n + lanes, lanes);
  const int64_t step = std::max<int64_t>(
      1, std::min<int64_t>(shifts, 65536 / (d * n * sizeof(T))));
  const int64_t ld = padded(step * n + lanes, block);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace();
    own.reserve<T>(d * twice + d * ld + h * block + ld + 256);
    T* xt = own.take<T>(d * twice);
    T* v = own.take<T>(d * ld);
    T* z = own.take<T>(h * block);
    T* score = own.take<T>(ld);
    std::fill(v, v + d * ld, T(0));
    for (int64_t b = start; b < stop; ++b) {
      const T* row = x + b * n * d;
      T* o = out + b * n * n;
      transpose_padded(row, n, d, d, xt, twice);
      for (int64_t k = 0; k < d; ++k)
        std::copy(xt + k * twice, xt + k * twice + n, xt + k * twice + n);
      for (int64_t s0 = 0; s0 < shifts; s0 += step) {
        const int64_t s1 = std::min(s0 + step, shifts), pairs = (s1 - s0) * n;
        for (int64_t k = 0; k < d; ++k)
          for (int64_t s = s0; s < s1; ++s) {
            const T *a = xt + k * twice, *c = a + s;
            T* to = v + k * ld + (s - s0) * n;
            // What is written behind the last node, the next shift overwrites.
            for (int64_t i = 0; i < n; i += lanes)
              store(to + i, load(a + i) * load(c + i));
          }
        for (int64_t p = 0; p < pairs; p += block) {
          product(h, block, d, weight, d, 1, v + p, ld, z, block);
          V<T> total[3] = {};
          for (int64_t k = 0; k < h; ++k)
#pragma GCC unroll 3
            for (int m = 0; m < 3; ++m)
              total[m] +=
                  att[k] * relu<T>(load(z + k * block + m * lanes) + bias[k]);
          for (int m = 0; m < 3; ++m)
            store(score + p + m * lanes,
                  T(1) / (T(1) + exponential(-(total[m] + att_bias[0]))));
        }
        for (int64_t s = s0; s < s1; ++s)
          for (int64_t i = 0; i < n; ++i) {
            const int64_t j = i + s < n ? i + s : i + s - n;
            o[i * n + j] = o[j * n + i] = score[(s - s0) * n + i];
          }
      }
    }
  });
}

// The hidden layer is computed again, for the pairs with a gradient only: after
// a selection many have none.
template <typename T>
void pair_score_backward(const T* grad, const T* out, const T* x,
                         const T* weight, const T* bias, const T* att,
                         T* grad_x, T* grad_weight, T* grad_bias, T* grad_att,
                         T* grad_att_bias, int64_t size, int64_t n, int64_t d,
                         int64_t h, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 64;
  const int64_t dp = padded(d, lanes), hp = padded(h, lanes);
  // The parameters with zeros behind, and the first layer in both orders:
  std::vector<T> by_input(d * hp), by_hidden(h * dp), b(hp);
  transpose_padded(weight, h, d, d, by_input.data(), hp);
  copy_padded(weight, h, d, d, by_hidden.data(), dp);
  for (int64_t k = 0; k < h * dp; ++k) by_hidden[k] *= att[k / dp];
  std::copy(bias, bias + h, b.begin());
  // With the sums s_k of g v and c_k of g over the pairs whose hidden value k
  // is positive, all gradients of parameters follow: a_k s_k of W_k, a_k c_k of
  // b_k, and W_k s_k + b_k c_k of a_k, without any hidden value.
  Shares<T> shares(threads, h * dp + hp + 1);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    T* sum_weight = shares.of(thread);
    T *sum_bias = sum_weight + h * dp, *sum_att_bias = sum_bias + hp;
    Workspace& own = workspace();
    own.reserve<T>(2 * n * dp + n * n + 2 * block * (dp + hp) + block +
                   h * dp + hp + 512);
    T* xp = own.take<T>(n * dp);
    T* gx = own.take<T>(n * dp);
    T* t = own.take<T>(n * n);
    T* v = own.take<T>(block * dp);
    T* gv = own.take<T>(block * dp);
    T* z = own.take<T>(block * hp);
    T* g = own.take<T>(block);
    T* g_weight = own.take<T>(h * dp);
    T* g_bias = own.take<T>(hp);
    int64_t first[block], second[block];
    for (int64_t r = start; r < stop; ++r) {
      copy_padded(x + r * n * d, n, d, d, xp, dp);
      std::fill(gx, gx + n * dp, T(0));
      // Those of one row first, which loses less than one sum over all:
      std::fill(g_weight, g_weight + h * dp, T(0));
      std::fill(g_bias, g_bias + hp, T(0));
      T g_att_bias = 0;
      const T *gr = grad + r * n * n, *o = out + r * n * n;
      for (int64_t k = 0; k < n * n; ++k) t[k] = gr[k] * o[k] * (1 - o[k]);
      int64_t count = 0;
      auto flush = [&]() {
        for (int64_t k = 0; k < dp; k += lanes)
          for (int64_t p = 0; p < count; ++p)
            store(v + p * dp + k,
                  load(xp + first[p] * dp + k) * load(xp + second[p] * dp + k));
        product(count, hp, d, v, dp, 1, by_input.data(), hp, z, hp);
        for (int64_t k = 0; k < hp; k += lanes) {
          const V<T> bk = load(b.data() + k);
          V<T> gb = load(g_bias + k);
          for (int64_t p = 0; p < count; ++p) {
            const V<T> hidden = load(z + p * hp + k) + bk;
            const V<T> gz = hidden <= T(0) ? V<T>{} : all(g[p]);
            gb += gz;
            store(z + p * hp + k, gz);
          }
          store(g_bias + k, gb);
        }
        product<T, true>(h, dp, count, z, 1, hp, v, dp, g_weight, dp);
        product(count, dp, h, z, hp, 1, by_hidden.data(), dp, gv, dp);
        for (int64_t k = 0; k < dp; k += lanes)
          for (int64_t p = 0; p < count;) {
            // Pairs of the same first node follow each other.
            const int64_t i = first[p];
            const V<T> xi = load(xp + i * dp + k);
            V<T> to = load(gx + i * dp + k);
            for (; p < count && first[p] == i; ++p) {
              const int64_t j = second[p];
              const V<T> one = load(gv + p * dp + k);
              T* from = gx + j * dp + k;
              to += one * load(xp + j * dp + k);
              if (i == j)
                to += one * xi;
              else
                store(from, load(from) + one * xi);
            }
            store(gx + i * dp + k, to);
          }
        count = 0;
      };
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i; j < n; ++j) {
          // Both entries of a symmetric pair flow into its score:
          const T one = i == j ? t[i * n + i] : t[i * n + j] + t[j * n + i];
          if (one == 0) continue;
          g_att_bias += one;
          first[count] = i, second[count] = j, g[count] = one;
          if (++count == block) flush();
        }
      if (count) flush();
      for (int64_t i = 0; i < n; ++i)
        std::copy(gx + i * dp, gx + i * dp + d, grad_x + (r * n + i) * d);
      for (int64_t k = 0; k < h * dp; ++k) sum_weight[k] += g_weight[k];
      for (int64_t k = 0; k < hp; ++k) sum_bias[k] += g_bias[k];
      *sum_att_bias += g_att_bias;
    }
  });
  shares.add_to(grad_bias, h * dp, h);
  shares.add_to(grad_att_bias, h * dp + hp, 1);
  for (int64_t k = 0; k < h; ++k) {
    T *gw = grad_weight + k * d, total = bias[k] * grad_bias[k];
    shares.add_to(gw, k * dp, d);
    for (int64_t m = 0; m < d; ++m) total += weight[k * d + m] * gw[m];
    for (int64_t m = 0; m < d; ++m) gw[m] *= att[k];
    grad_att[k] = total;
    grad_bias[k] *= att[k];
  }
}
