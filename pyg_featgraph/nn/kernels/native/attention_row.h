// What attention over the products of pairs has of a row.
#pragma once

#include "memory.h"
#include "product.h"

// What an operator is given of the pairs. A stride of zero is shared.
template <typename T>
struct Pairs {
  const T* scale;
  int64_t scale_row, scale_head;
  const uint8_t* keep;
  int64_t keep_row, keep_head;
  const T* drop;
  T slope;
  bool scale_logits;
};

// Which of the pairs from j of a node take part in its softmax. Unless it
// scales the logits, a scale of zero is no edge.
template <typename T>
inline M<T> takes_part(const T* scale, const uint8_t* keep, int64_t j,
                       int64_t n, bool scale_logits) {
  M<T> used = first_lanes<T>(n - j);
  if (!scale_logits) used &= load(scale + j) != T(0);
  if (keep) used &= load_mask<T>(keep + j);
  return used;
}

// The memory of a thread. Nodes have zeros behind their numbers, and rows of
// pairs behind their nodes.
template <typename T>
struct AttentionRow {
  static constexpr int64_t lanes = Vector<T>::lanes;
  int64_t n, d, heads, np, dp;
  T *xt, *xp, *q, *z, *soft, *alpha, *scale, *drop, *summed;
  // Of each node the parts of a sum, [np][lanes], and what they lead to, [np]:
  T *totals, *inverse, *inner;
  uint8_t* keep;
  // Of the backward pass:
  T *grad, *gs, *gx, *g, *g_scale;
  // Of nodes with few neighbours:
  T *weight, *raw, *softs, *alphas, *raws, *g_weight;
  int32_t *source, *count;

  AttentionRow(int64_t n, int64_t d, int64_t heads, Workspace& own)
      : n(n), d(d), heads(heads), np(padded(n, lanes)), dp(padded(d, lanes)) {
    const int64_t nodes = n * dp, pairs = n * np;
    for (T** p : {&xp, &q, &summed, &gs, &gx}) *p = own.take<T>(nodes);
    for (T** p : {&z, &soft, &alpha, &scale, &drop, &g, &weight, &raw, &softs,
                  &g_weight, &g_scale})
      *p = own.take<T>(pairs);
    xt = own.take<T>(d * np);
    totals = own.take<T>(np * lanes);
    std::fill(totals, totals + np * lanes, T(0));
    inverse = own.take<T>(np);
    inner = own.take<T>(np);
    grad = own.take<T>(heads * nodes);
    alphas = own.take<T>(heads * pairs);
    raws = own.take<T>(heads * pairs);
    keep = own.take<uint8_t>(pairs);
    source = own.take<int32_t>(pairs);
    count = own.take<int32_t>(np);
  }

  void read(const T* x) {
    transpose_padded(x, n, d, d, xt, np);
    copy_padded(x, n, d, d, xp, dp);
  }

  void read(const Pairs<T>& p, int64_t b, int64_t head) {
    if (head == 0 || p.scale_head)
      copy_padded(p.scale + b * p.scale_row + head * p.scale_head, n, n, n,
                  scale, np);
    if (p.drop)
      copy_padded(p.drop + (b * heads + head) * n * n, n, n, n, drop, np);
    if (p.keep && (head == 0 || p.keep_head))
      copy_padded(p.keep + b * p.keep_row + head * p.keep_head, n, n, n, keep,
                  np);
  }

  void write_gradient(T* grad_x) const {
    copy_back(gx, n, d, dp, grad_x, d);
  }

  // The products of all pairs with the vector of a head.
  void multiply(const T* a) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t k = 0; k < dp; k += lanes)
        store(q + i * dp + k, load(a + k) * load(xp + i * dp + k));
    product(n, np, d, q, dp, 1, xt, np, z, np);
  }

  // What reaches the weights of all pairs of a head.
  void multiply_gradient(const T* gr) {
    for (int64_t k = 0; k < n * dp; k += lanes)
      store(gs + k, load(gr + k) * load(xp + k));
    product(n, np, d, gs, dp, 1, xt, np, g, np);
  }
};
