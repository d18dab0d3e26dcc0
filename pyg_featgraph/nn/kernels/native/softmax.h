// The softmax of all nodes of a row over others, without its last division.
#pragma once

#include "memory.h"

// e to the power of the logits of n nodes, [n][mp], and in `inverse` [np] one
// over their sum for each node, or zero where nobody takes part. logit(i, j)
// gives a vector of logits from j on, used(i, j) which of them take part. As
// long as no logit is large, which is seldom, there is no need to subtract the
// largest one of the node first. There is room for [np][lanes] in `totals`, of
// which the rows behind the nodes are zero.
template <typename T, typename L, typename U>
inline void softmax_powers(int64_t n, int64_t m, L logit, U used, T* out,
                           T* totals, T* inverse) {
  constexpr int64_t lanes = Vector<T>::lanes;
  const int64_t np = padded(n, lanes), mp = padded(m, lanes);
  const V<T> none = all(std::numeric_limits<T>::lowest());
  V<T> size = {};
  for (int64_t i = 0; i < n; ++i) {
    V<T> total = {};
    for (int64_t j = 0; j < m; j += lanes) {
      const V<T> c = logit(i, j);
      const M<T> is_used = used(i, j);
      const V<T> absolute = is_used ? (c < T(0) ? -c : c) : V<T>{};
      size = absolute > size ? absolute : size;
      const V<T> e = is_used ? exponential(c) : V<T>{};
      store(out + i * mp + j, e);
      total += e;
    }
    store(totals + i * lanes, total);
  }
  for (int64_t i = 0; !(maximum<T>(size) < T(40)) && i < n; ++i) {
    V<T> top = none, total = {};
    for (int64_t j = 0; j < m; j += lanes) {
      const V<T> c = used(i, j) ? logit(i, j) : none;
      store(out + i * mp + j, c);
      top = c < top ? top : c;
    }
    const T highest = maximum<T>(top);
    for (int64_t j = 0; j < m; j += lanes) {
      T* to = out + i * mp + j;
      const V<T> e = used(i, j) ? exponential(load(to) - highest) : V<T>{};
      store(to, e);
      total += e;
    }
    store(totals + i * lanes, total);
  }
  sums_of_rows(totals, np, inverse);
  for (int64_t i = 0; i < np; i += lanes) {
    const V<T> total = load(inverse + i);
    store(inverse + i, total == T(0) ? V<T>{} : T(1) / total);
  }
}
