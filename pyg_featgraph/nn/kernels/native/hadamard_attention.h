// Attention over the products of all pairs: see ../hadamard_attention.py.
#pragma once

#include "few_neighbours.h"
#include "softmax.h"

// The softmax of the logits of all pairs, from their products in row.z.
template <typename T>
inline void powers(AttentionRow<T>& row, const Pairs<T>& pairs, T bias) {
  const int64_t n = row.n, np = row.np;
  softmax_powers(
      n, n,
      [&](int64_t i, int64_t j) {
        V<T> c = load(row.z + i * np + j) + bias;
        c = c > T(0) ? c : c * pairs.slope;
        return pairs.scale_logits ? c * load(row.scale + i * np + j) : c;
      },
      [&](int64_t i, int64_t j) {
        return takes_part(row.scale + i * np,
                          pairs.keep ? row.keep + i * np : nullptr, j, n,
                          pairs.scale_logits);
      },
      row.soft, row.totals, row.inverse);
}

template <typename T>
inline void all_forward(AttentionRow<T>& row, const Pairs<T>& pairs, T bias,
                        int64_t head, T* out) {
  const int64_t n = row.n, np = row.np, dp = row.dp;
  powers(row, pairs, bias);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i * np; j < i * np + n; j += row.lanes) {
      V<T> one = load(row.soft + j) * row.inverse[i];
      if (!pairs.scale_logits) one *= load(row.scale + j);
      if (pairs.drop) one *= load(row.drop + j);
      store(row.alpha + j, one);
    }
  product(n, dp, n, row.alpha, np, 1, row.xp, dp, row.summed, dp);
  for (int64_t k = 0; k < n * dp; k += row.lanes)
    store(row.summed + k, load(row.summed + k) * load(row.xp + k));
  copy_back(row.summed, n, row.d, dp, out + head * row.d, row.heads * row.d);
}

// The output [n][heads][d] of row b.
template <typename T>
inline void attend(AttentionRow<T>& row, const Pairs<T>& pairs, int64_t b,
                   const T* x, const T* queries, const T* bias, T* out) {
  row.read(x);
  int64_t slots = row.n;
  for (int64_t head = 0; head < row.heads; ++head) {
    row.read(pairs, b, head);
    if (head == 0) slots = find_neighbours(row, pairs);
    row.multiply(queries + head * row.dp);
    if (slots < row.n)
      few_forward(row, pairs, slots, bias[head], head, out);
    else
      all_forward(row, pairs, bias[head], head, out);
  }
}

template <typename T>
void hadamard_attention(const T* x, const T* att, const T* bias, Pairs<T> pairs,
                        T* out, int64_t size, int64_t n, int64_t d,
                        int64_t heads, int64_t threads) {
  const int64_t dp = padded(d, Vector<T>::lanes);
  std::vector<T> queries(heads * dp);
  copy_padded(att, heads, d, d, queries.data(), dp);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    AttentionRow<T> row(n, d, heads, workspace().reset());
    for (int64_t b = start; b < stop; ++b)
      attend(row, pairs, b, x + b * n * d, queries.data(), bias,
             out + b * n * heads * d);
  });
}

// Returns what reaches the bias of a head. What reaches the scale is put into
// row.g_scale, or added to what is there.
template <typename T>
inline T all_backward(AttentionRow<T>& row, const Pairs<T>& pairs, T bias,
                      int64_t head, const T* a, T* sum_att, bool adds) {
  const int64_t n = row.n, np = row.np, dp = row.dp;
  powers(row, pairs, bias);
  for (int64_t i = 0; i < n; ++i) {
    V<T> dot = {};
    for (int64_t j = i * np; j < i * np + n; j += row.lanes) {
      const V<T> one = load(row.soft + j) * row.inverse[i];
      V<T> up = load(row.g + j), mult = all(T(1));
      if (pairs.drop) mult = load(row.drop + j);
      up *= mult;
      if (!pairs.scale_logits) {
        const V<T> w = load(row.scale + j), more = up * one;
        store(row.g_scale + j, adds ? load(row.g_scale + j) + more : more);
        mult *= w;
        up *= w;
      }
      store(row.soft + j, one);
      store(row.alpha + j, one * mult);
      store(row.g + j, up);
      dot += up * one;
    }
    store(row.totals + i * row.lanes, dot);
  }
  sums_of_rows(row.totals, np, row.inner);
  V<T> total = {};
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i * np; j < i * np + n; j += row.lanes) {
      V<T> up = load(row.soft + j) * (load(row.g + j) - row.inner[i]);
      const V<T> raw = load(row.z + j) + bias;
      if (pairs.scale_logits) {
        const V<T> more = up * (raw > T(0) ? raw : raw * pairs.slope);
        store(row.g_scale + j, adds ? load(row.g_scale + j) + more : more);
        up *= load(row.scale + j);
      }
      up = raw > T(0) ? up : up * pairs.slope;
      store(row.g + j, up);
      total += up;
    }
  const T* gr = row.grad + head * n * dp;
  product(n, dp, n, row.alpha, np, 1, row.xp, dp, row.summed, dp);
  for (int64_t k = 0; k < n * dp; k += row.lanes)
    store(row.gx + k, load(row.gx + k) + load(row.summed + k) * load(gr + k));
  product<T, true>(n, dp, n, row.alpha, 1, np, row.gs, dp, row.gx, dp);
  // A logit is symmetric in both nodes but for who asks:
  product(n, dp, n, row.g, np, 1, row.xp, dp, row.summed, dp);
  product<T, true>(n, dp, n, row.g, 1, np, row.xp, dp, row.summed, dp);
  for (int64_t k = 0; k < dp; k += row.lanes) {
    const V<T> ak = load(a + k);
    V<T> of_att = {};
    for (int64_t i = 0; i < n; ++i) {
      const V<T> one = load(row.summed + i * dp + k);
      T* to = row.gx + i * dp + k;
      store(to, load(to) + ak * one);
      of_att += one * load(row.xp + i * dp + k);
    }
    T* to = sum_att + head * dp + k;
    store(to, load(to) + of_att * T(0.5));
  }
  return sum<T>(total);
}

// The forward pass of row b once more, with what is needed of it. The gradients
// of the nodes are in row.gx then, and those of the scale [heads][n][n] or, if
// heads share it, [n][n] in `grad_scale`; `sums` are those of att [heads][dp]
// and bias [heads].
template <typename T>
inline void attend_backward(AttentionRow<T>& row, const Pairs<T>& pairs,
                            int64_t b, const T* grad, const T* x,
                            const T* queries, const T* bias, int64_t scale_heads,
                            T* grad_scale, T* sums) {
  const int64_t n = row.n, d = row.d, dp = row.dp;
  T* sum_bias = sums + row.heads * dp;
  row.read(x);
  std::fill(row.gx, row.gx + n * dp, T(0));
  int64_t slots = n;
  for (int64_t head = 0; head < row.heads; ++head) {
    T* gr = row.grad + head * n * dp;
    const T* a = queries + head * dp;
    row.read(pairs, b, head);
    if (head == 0) slots = find_neighbours(row, pairs);
    copy_padded(grad + head * d, n, d, row.heads * d, gr, dp);
    row.multiply(a);
    row.multiply_gradient(gr);
    if (slots < n) {
      sum_bias[head] += few_backward(row, pairs, slots, bias[head], head);
      continue;
    }
    const bool is_own = scale_heads > 1;
    sum_bias[head] += all_backward(row, pairs, bias[head], head, a, sums,
                                   !is_own && head > 0);
    if (is_own || head + 1 == row.heads)
      copy_back(row.g_scale, n, n, row.np,
                grad_scale + (is_own ? head : 0) * n * n, n);
  }
  if (slots == n) return;
  few_products(row, queries, sums);
  std::fill(grad_scale, grad_scale + n * n, T(0));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t s = 0; s < row.count[i]; ++s)
      grad_scale[i * n + row.source[i * row.np + s]] =
          row.g_weight[s * row.np + i];
}

template <typename T>
void hadamard_attention_backward(const T* grad, const T* x, const T* att,
                                 const T* bias, Pairs<T> pairs, T* grad_x,
                                 T* grad_att, T* grad_bias, T* grad_scale,
                                 int64_t scale_heads, int64_t size, int64_t n,
                                 int64_t d, int64_t heads, int64_t threads) {
  const int64_t dp = padded(d, Vector<T>::lanes);
  std::vector<T> queries(heads * dp);
  copy_padded(att, heads, d, d, queries.data(), dp);
  Shares<T> shares(threads, heads * (dp + 1));
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    AttentionRow<T> row(n, d, heads, workspace().reset());
    for (int64_t b = start; b < stop; ++b) {
      attend_backward(row, pairs, b, grad + b * n * heads * d, x + b * n * d,
                      queries.data(), bias, scale_heads,
                      grad_scale + b * scale_heads * n * n, shares.of(thread));
      row.write_gradient(grad_x + b * n * d);
    }
  });
  for (int64_t head = 0; head < heads; ++head)
    shares.add_to(grad_att + head * d, head * dp, d);
  shares.add_to(grad_bias, heads * dp, heads);
}
