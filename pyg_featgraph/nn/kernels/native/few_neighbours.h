// Attention where a selection has left each node few neighbours, which are
// gathered: [slot][node] instead of [node][node].
#pragma once

#include "attention_row.h"

// The neighbours of each node, node by node, and how many the one with the most
// has. Above a quarter of all nodes, all of them in a row cost less.
template <typename T>
inline int64_t find_neighbours(AttentionRow<T>& row, const Pairs<T>& pairs) {
  if (pairs.scale_logits || pairs.scale_head || pairs.keep_head) return row.n;
  const int64_t n = row.n, np = row.np, limit = n / 4;
  int64_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    int64_t count = 0;
    for (int64_t j = 0; j < n; j += Vector<T>::lanes) {
      uint32_t used = bits<T>(
          takes_part(row.scale + i * np,
                     pairs.keep ? row.keep + i * np : nullptr, j, n, false));
      for (; used; used &= used - 1)
        row.source[i * np + count++] = j + __builtin_ctz(used);
    }
    row.count[i] = count;
    most = std::max(most, count);
    if (most > limit) return n;
  }
  for (int64_t k = 0; k < most * np; ++k) row.weight[k] = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t s = 0; s < row.count[i]; ++s)
      row.weight[s * np + i] = row.scale[i * np + row.source[i * np + s]];
  return most;
}

template <typename T>
inline void gather(const AttentionRow<T>& row, const T* pairs, T* slots) {
  for (int64_t i = 0; i < row.n; ++i)
    for (int64_t s = 0; s < row.count[i]; ++s)
      slots[s * row.np + i] = pairs[i * row.np + row.source[i * row.np + s]];
}

// The logits, the softmax and the weights of a head.
template <typename T>
inline void attend_few(AttentionRow<T>& row, const Pairs<T>& pairs, T bias,
                       int64_t slots, T* alpha) {
  const int64_t np = row.np;
  const T low = std::numeric_limits<T>::lowest();
  gather(row, row.z, row.raw);
  if (pairs.drop) gather(row, row.drop, alpha);
  for (int64_t i = 0; i < np; i += row.lanes) {
    V<T> top = all(low);
    for (int64_t s = 0; s < slots; ++s) {
      const int64_t at = s * np + i;
      const M<T> used = load(row.weight + at) != T(0);
      // What is in a slot without a neighbour means nothing:
      V<T> c = used ? load(row.raw + at) + bias : V<T>{};
      store(row.raw + at, c);
      c = c > T(0) ? c : c * pairs.slope;
      c = used ? c : all(low);
      store(row.softs + at, c);
      top = c < top ? top : c;
    }
    V<T> total = {};
    for (int64_t s = 0; s < slots; ++s) {
      const int64_t at = s * np + i;
      V<T> e = exponential(load(row.softs + at) - top);
      e = load(row.weight + at) != T(0) ? e : V<T>{};
      store(row.softs + at, e);
      total += e;
    }
    const V<T> inverse = total == T(0) ? V<T>{} : T(1) / total;
    for (int64_t s = 0; s < slots; ++s) {
      const int64_t at = s * np + i;
      const V<T> soft = load(row.softs + at) * inverse;
      V<T> one = soft * load(row.weight + at);
      if (pairs.drop)
        one = load(row.weight + at) != T(0) ? one * load(alpha + at) : V<T>{};
      store(row.softs + at, soft);
      store(alpha + at, one);
    }
  }
}

template <typename T>
inline void few_forward(AttentionRow<T>& row, const Pairs<T>& pairs,
                        int64_t slots, T bias, int64_t head, T* out) {
  attend_few(row, pairs, bias, slots, row.alpha);
  for (int64_t i = 0; i < row.n; ++i) {
    for (int64_t k = 0; k < row.dp; k += row.lanes) {
      V<T> total = {};
      for (int64_t s = 0; s < row.count[i]; ++s)
        total += row.alpha[s * row.np + i] *
                 load(row.xp + row.source[i * row.np + s] * row.dp + k);
      store(row.summed + k, total * load(row.xp + i * row.dp + k));
    }
    copy_few(row.summed, row.d, out + (i * row.heads + head) * row.d);
  }
}

// What reaches the logits of a head, and the scale.
template <typename T>
inline T few_backward(AttentionRow<T>& row, const Pairs<T>& pairs,
                      int64_t slots, T bias, int64_t head) {
  const int64_t np = row.np;
  T* alpha = row.alphas + head * row.n * np;
  T* graw = row.raws + head * row.n * np;
  attend_few(row, pairs, bias, slots, alpha);
  gather(row, row.g, graw);
  if (pairs.drop) gather(row, row.drop, row.soft);
  V<T> total = {};
  for (int64_t i = 0; i < np; i += row.lanes) {
    V<T> inner = {};
    for (int64_t s = 0; s < slots; ++s) {
      const int64_t at = s * np + i;
      const V<T> w = load(row.weight + at), soft = load(row.softs + at);
      V<T> up = w != T(0) ? load(graw + at) : V<T>{};
      if (pairs.drop) up = w != T(0) ? up * load(row.soft + at) : V<T>{};
      T* to = row.g_weight + at;
      store(to, head == 0 ? up * soft : load(to) + up * soft);
      up *= w;
      store(graw + at, up);
      inner += up * soft;
    }
    for (int64_t s = 0; s < slots; ++s) {
      const int64_t at = s * np + i;
      V<T> up = load(row.softs + at) * (load(graw + at) - inner);
      up = load(row.raw + at) > T(0) ? up : up * pairs.slope;
      store(graw + at, up);
      total += up;
    }
  }
  return sum<T>(total);
}

// What reaches the nodes and the vectors of the heads: with the gradient c of
// the product of a pair, c * x_j for node i and c * x_i for node j.
template <typename T>
inline void few_products(AttentionRow<T>& row, const T* queries, T* sum_att) {
  const int64_t n = row.n, np = row.np, dp = row.dp, pairs = n * np;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < dp; k += row.lanes) {
      const V<T> xi = load(row.xp + i * dp + k);
      V<T> to = load(row.gx + i * dp + k);
      for (int64_t s = 0; s < row.count[i]; ++s) {
        const int64_t j = row.source[i * np + s], at = s * np + i;
        V<T> c = {};
        for (int64_t head = 0; head < row.heads; ++head)
          c += row.alphas[head * pairs + at] *
                   load(row.grad + (head * n + i) * dp + k) +
               row.raws[head * pairs + at] * load(queries + head * dp + k);
        to += c * load(row.xp + j * dp + k);
        T* from = row.gx + j * dp + k;
        if (i == j)
          to += c * xi;
        else
          store(from, load(from) + c * xi);
      }
      store(row.gx + i * dp + k, to);
      for (int64_t head = 0; head < row.heads; ++head) {
        V<T> total = {};
        for (int64_t s = 0; s < row.count[i]; ++s)
          total += row.raws[head * pairs + s * np + i] *
                   load(row.xp + row.source[i * np + s] * dp + k);
        T* a = sum_att + head * dp + k;
        store(a, load(a) + total * xi);
      }
    }
}
