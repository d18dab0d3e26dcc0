// Attention over the products of all pairs: see ../hadamard_attention.py.
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

// The logits of a node in place of its products with all others, which are the
// input, and its softmax.
template <typename T>
inline void soft_row(T* z, T* soft, T bias, const T* scale, const uint8_t* keep,
                     int64_t n, T slope, bool scale_logits) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const T low = std::numeric_limits<T>::lowest();
  V<T> top = all(low);
  for (int64_t j = 0; j < n; j += lanes) {
    V<T> c = load(z + j) + bias;
    store(z + j, c);
    c = c > T(0) ? c : c * slope;
    if (scale_logits) c *= load(scale + j);
    M<T> used = first_lanes<T>(n - j);
    if (keep) used &= load_mask<T>(keep + j);
    c = used ? c : all(low);
    store(soft + j, c);
    top = c < top ? top : c;
  }
  const T highest = maximum<T>(top);
  V<T> total = {};
  for (int64_t j = 0; j < n; j += lanes) {
    M<T> used = first_lanes<T>(n - j);
    if (keep) used &= load_mask<T>(keep + j);
    V<T> e = exponential(load(soft + j) - highest);
    e = used ? e : V<T>{};
    store(soft + j, e);
    total += e;
  }
  const T denominator = sum<T>(total);
  const T inverse = denominator == 0 ? T(0) : T(1) / denominator;
  for (int64_t j = 0; j < n; j += lanes)
    store(soft + j, load(soft + j) * inverse);
}

// What is given of the pairs of a row, with zeros behind each node.
template <typename T>
inline void copy_pairs(const Pairs<T>& p, int64_t b, int64_t head,
                       int64_t heads, int64_t n, int64_t np, T* scale, T* drop,
                       uint8_t* keep) {
  if (head == 0 || p.scale_head)
    copy_padded(p.scale + b * p.scale_row + head * p.scale_head, n, n, n, scale,
                np);
  if (p.drop)
    copy_padded(p.drop + (b * heads + head) * n * n, n, n, n, drop, np);
  if (p.keep && (head == 0 || p.keep_head))
    copy_padded(p.keep + b * p.keep_row + head * p.keep_head, n, n, n, keep,
                np);
}

template <typename T>
void hadamard_attention(const T* x, const T* att, const T* bias, Pairs<T> pairs,
                        T* out, int64_t size, int64_t n, int64_t d,
                        int64_t heads, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t np = padded(n, lanes), dp = padded(d, lanes);
  std::vector<T> queries(heads * dp);
  copy_padded(att, heads, d, d, queries.data(), dp);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace();
    own.reserve<T>(d * np + 3 * n * dp + 5 * n * np + 512);
    T* xt = own.take<T>(d * np);
    T* xp = own.take<T>(n * dp);
    T* q = own.take<T>(n * dp);
    T* summed = own.take<T>(n * dp);
    T* z = own.take<T>(n * np);
    T* alpha = own.take<T>(n * np);
    T* scale = own.take<T>(n * np);
    T* drop = own.take<T>(n * np);
    uint8_t* keep = own.take<uint8_t>(n * np);
    for (int64_t b = start; b < stop; ++b) {
      transpose_padded(x + b * n * d, n, d, d, xt, np);
      copy_padded(x + b * n * d, n, d, d, xp, dp);
      for (int64_t head = 0; head < heads; ++head) {
        copy_pairs(pairs, b, head, heads, n, np, scale, drop, keep);
        const T* a = queries.data() + head * dp;
        for (int64_t i = 0; i < n; ++i)
          for (int64_t k = 0; k < dp; k += lanes)
            store(q + i * dp + k, load(a + k) * load(xp + i * dp + k));
        product(n, np, d, q, dp, 1, xt, np, z, np);
        for (int64_t i = 0; i < n; ++i) {
          T* soft = alpha + i * np;
          soft_row(z + i * np, soft, bias[head], scale + i * np,
                   pairs.keep ? keep + i * np : nullptr, n, pairs.slope,
                   pairs.scale_logits);
          for (int64_t j = 0; j < n; j += lanes) {
            V<T> one = load(soft + j);
            if (!pairs.scale_logits) one *= load(scale + i * np + j);
            if (pairs.drop) one *= load(drop + i * np + j);
            store(soft + j, one);
          }
        }
        product(n, dp, n, alpha, np, 1, xp, dp, summed, dp);
        for (int64_t i = 0; i < n; ++i) {
          T* o = out + ((b * n + i) * heads + head) * d;
          for (int64_t k = 0; k < d; ++k)
            o[k] = summed[i * dp + k] * xp[i * dp + k];
        }
      }
    }
  });
}

template <typename T>
void hadamard_attention_backward(const T* grad, const T* x, const T* att,
                                 const T* bias, Pairs<T> pairs, T* grad_x,
                                 T* grad_att, T* grad_bias, T* grad_scale,
                                 int64_t scale_heads, int64_t size, int64_t n,
                                 int64_t d, int64_t heads, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t np = padded(n, lanes), dp = padded(d, lanes);
  std::vector<T> queries(heads * dp);
  copy_padded(att, heads, d, d, queries.data(), dp);
  Shares<T> shares(threads, heads * (dp + 1));
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    T* sum_att = shares.of(thread);
    T* sum_bias = sum_att + heads * dp;
    Workspace& own = workspace();
    own.reserve<T>(d * np + 7 * n * dp + 7 * n * np + np + 1024);
    T* xt = own.take<T>(d * np);
    T* xp = own.take<T>(n * dp);
    T* q = own.take<T>(n * dp);
    T* gr = own.take<T>(n * dp);
    T* gs = own.take<T>(n * dp);
    T* summed = own.take<T>(n * dp);
    T* gx = own.take<T>(n * dp);
    T* z = own.take<T>(n * np);
    T* soft = own.take<T>(n * np);
    T* alpha = own.take<T>(n * np);
    T* g = own.take<T>(n * np);
    T* scale = own.take<T>(n * np);
    T* drop = own.take<T>(n * np);
    T* g_scale = own.take<T>(np);
    uint8_t* keep = own.take<uint8_t>(n * np);
    for (int64_t b = start; b < stop; ++b) {
      transpose_padded(x + b * n * d, n, d, d, xt, np);
      copy_padded(x + b * n * d, n, d, d, xp, dp);
      std::fill(gx, gx + n * dp, T(0));
      for (int64_t head = 0; head < heads; ++head) {
        copy_pairs(pairs, b, head, heads, n, np, scale, drop, keep);
        const T* a = queries.data() + head * dp;
        // The forward pass once more, with what is needed of it:
        copy_padded(grad + (b * n * heads + head) * d, n, d, heads * d, gr, dp);
        for (int64_t i = 0; i < n; ++i)
          for (int64_t k = 0; k < dp; k += lanes) {
            const V<T> one = load(xp + i * dp + k);
            store(q + i * dp + k, one * load(a + k));
            store(gs + i * dp + k, one * load(gr + i * dp + k));
          }
        product(n, np, d, q, dp, 1, xt, np, z, np);
        product(n, np, d, gs, dp, 1, xt, np, g, np);
        T g_bias = 0;
        for (int64_t i = 0; i < n; ++i) {
          T *s = soft + i * np, *gi = g + i * np;
          const T *w = scale + i * np, *c = z + i * np;
          soft_row(z + i * np, s, bias[head], w,
                   pairs.keep ? keep + i * np : nullptr, n, pairs.slope,
                   pairs.scale_logits);
          V<T> dot = {};
          for (int64_t j = 0; j < n; j += lanes) {
            V<T> one = load(s + j), up = load(gi + j);
            V<T> mult = all(T(1));
            if (pairs.drop) mult = load(drop + i * np + j);
            up *= mult;
            if (!pairs.scale_logits) {
              store(g_scale + j, up * one);
              mult *= load(w + j);
              up *= load(w + j);
            }
            store(alpha + i * np + j, one * mult);
            store(gi + j, up);
            dot += up * one;
          }
          const T inner = sum<T>(dot);
          V<T> total = {};
          for (int64_t j = 0; j < n; j += lanes) {
            V<T> up = load(s + j) * (load(gi + j) - inner);
            const V<T> raw = load(c + j);
            if (pairs.scale_logits) {
              store(g_scale + j, up * (raw > T(0) ? raw : raw * pairs.slope));
              up *= load(w + j);
            }
            up = raw > T(0) ? up : up * pairs.slope;
            store(gi + j, up);
            total += up;
          }
          g_bias += sum<T>(total);
          T* to = grad_scale +
                  ((b * scale_heads + (scale_heads > 1 ? head : 0)) * n + i) * n;
          if (head == 0 || scale_heads > 1)
            std::copy(g_scale, g_scale + n, to);
          else
            for (int64_t j = 0; j < n; ++j) to[j] += g_scale[j];
        }
        product(n, dp, n, alpha, np, 1, xp, dp, summed, dp);
        for (int64_t k = 0; k < n * dp; k += lanes)
          store(gx + k, load(gx + k) + load(summed + k) * load(gr + k));
        product<T, true>(n, dp, n, alpha, 1, np, gs, dp, gx, dp);
        // A logit is symmetric in both nodes but for who asks:
        product(n, dp, n, g, np, 1, xp, dp, summed, dp);
        product<T, true>(n, dp, n, g, 1, np, xp, dp, summed, dp);
        for (int64_t k = 0; k < dp; k += lanes) {
          const V<T> ak = load(a + k);
          V<T> total = {};
          for (int64_t i = 0; i < n; ++i) {
            const V<T> one = load(summed + i * dp + k);
            T* to = gx + i * dp + k;
            store(to, load(to) + ak * one);
            total += one * load(xp + i * dp + k);
          }
          T* to = sum_att + head * dp + k;
          store(to, load(to) + total * T(0.5));
        }
        sum_bias[head] += g_bias;
      }
      for (int64_t i = 0; i < n; ++i)
        std::copy(gx + i * dp, gx + i * dp + d, grad_x + (b * n + i) * d);
    }
  });
  for (int64_t head = 0; head < heads; ++head)
    shares.add_to(grad_att + head * d, head * dp, d);
  shares.add_to(grad_bias, heads * dp, heads);
}
