// A step of a gated recurrent unit: see ../gru_step.py.
#pragma once

#include "memory.h"
#include "product.h"

// Weights [3 d][d] and biases as the products need them, each of the three
// gates with zeros behind.
template <typename T>
struct Gates {
  int64_t d, dp;
  std::vector<T> input, state;              // [d][3 dp]
  std::vector<T> input_rows, state_rows;    // [3 dp][dp]
  std::vector<T> bias_input, bias_state;    // [3 dp]

  Gates(const T* weight_ih, const T* weight_hh, const T* bias_ih,
        const T* bias_hh, int64_t d)
      : d(d),
        dp(padded(d, Vector<T>::lanes)),
        input(d * 3 * dp),
        state(d * 3 * dp),
        input_rows(3 * dp * dp),
        state_rows(3 * dp * dp),
        bias_input(3 * dp),
        bias_state(3 * dp) {
    for (int64_t gate = 0; gate < 3; ++gate)
      for (int64_t k = 0; k < d; ++k) {
        const int64_t from = gate * d + k, to = gate * dp + k;
        bias_input[to] = bias_ih[from];
        bias_state[to] = bias_hh[from];
        for (int64_t i = 0; i < d; ++i) {
          input[i * 3 * dp + to] = input_rows[to * dp + i] =
              weight_ih[from * d + i];
          state[i * 3 * dp + to] = state_rows[to * dp + i] =
              weight_hh[from * d + i];
        }
      }
  }

  // z is [rows][3 dp]: both shares of the reset and the update gate, and that
  // of the input in the candidate; c is that of the state in it.
  void products(int64_t rows, const T* in, const T* h, T* z, T* c) const {
    const int64_t ld = 3 * dp;
    product(rows, ld, d, in, d, 1, input.data(), ld, z, ld);
    product<T, true>(rows, 2 * dp, d, h, d, 1, state.data(), ld, z, ld);
    product(rows, dp, d, h, d, 1, state.data() + 2 * dp, ld, c, dp);
  }
};

template <typename T>
struct Gated {
  V<T> reset, update, candidate, inner;
};

template <typename T>
inline V<T> logistic(V<T> v) {
  return T(1) / (T(1) + exponential(-v));
}

// Of the lanes from k on of a node, from its products.
template <typename T>
inline Gated<T> gated(const Gates<T>& gates, const T* z, const T* c, int64_t k) {
  const T *bi = gates.bias_input.data() + k, *bs = gates.bias_state.data() + k;
  const int64_t dp = gates.dp;
  Gated<T> out;
  out.reset = logistic<T>(load(z + k) + (load(bi) + load(bs)));
  out.update =
      logistic<T>(load(z + dp + k) + (load(bi + dp) + load(bs + dp)));
  out.inner = load(c + k) + load(bs + 2 * dp);
  const V<T> v = load(z + 2 * dp + k) + load(bi + 2 * dp) + out.reset * out.inner;
  // The hyperbolic tangent:
  out.candidate = T(2) * logistic<T>(v + v) - T(1);
  return out;
}

// All are [size][d].
template <typename T>
void gru_step(const T* in, const T* h, const T* first, const T* weight_ih,
              const T* weight_hh, const T* bias_ih, const T* bias_hh, T* out,
              int64_t size, int64_t d, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 32;
  const Gates<T> gates(weight_ih, weight_hh, bias_ih, bias_hh, d);
  const int64_t dp = gates.dp, blocks = (size + block - 1) / block;
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* z = own.take<T>(block * 3 * dp);
    T* c = own.take<T>(block * dp);
    T* hp = own.take<T>(block * dp);
    T* xp = own.take<T>(block * dp);
    T* o = own.take<T>(block * dp);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r);
      gates.products(rows, in + r * d, h + r * d, z, c);
      copy_padded(h + r * d, rows, d, d, hp, dp);
      copy_padded(first + r * d, rows, d, d, xp, dp);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t k = 0; k < dp; k += lanes) {
          const auto g = gated(gates, z + i * 3 * dp, c + i * dp, k);
          const int64_t at = i * dp + k;
          const V<T> more = load(hp + at) - g.candidate;
          store(o + at, g.candidate + g.update * more + load(xp + at));
        }
      copy_back(o, rows, d, dp, out + r * d, d);
    }
  });
}

// The gates are computed again instead of having been stored.
template <typename T>
void gru_step_backward(const T* grad, const T* in, const T* h,
                       const T* weight_ih, const T* weight_hh, const T* bias_ih,
                       const T* bias_hh, T* grad_in, T* grad_h,
                       T* grad_weight_ih, T* grad_weight_hh, T* grad_bias_ih,
                       T* grad_bias_hh, int64_t size, int64_t d,
                       int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 32;
  const Gates<T> gates(weight_ih, weight_hh, bias_ih, bias_hh, d);
  const int64_t dp = gates.dp, ld = 3 * dp, weights = d * ld;
  const int64_t blocks = (size + block - 1) / block;
  Shares<T> shares(std::min(threads, blocks), 2 * weights + 2 * ld);
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    T* sums = shares.of(thread);
    Workspace& own = workspace().reset();
    T* z = own.take<T>(block * ld);
    T* s = own.take<T>(block * ld);
    T* c = own.take<T>(block * dp);
    T* hp = own.take<T>(block * dp);
    T* g = own.take<T>(block * dp);
    T* go = own.take<T>(block * dp);
    T* part = own.take<T>(block * dp);
    T* own_sums = own.take<T>(2 * weights + 2 * ld);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r);
      gates.products(rows, in + r * d, h + r * d, z, c);
      copy_padded(h + r * d, rows, d, d, hp, dp);
      copy_padded(grad + r * d, rows, d, d, g, dp);
      T *bias_in = own_sums + 2 * weights, *bias_state = bias_in + ld;
      for (int64_t k = 0; k < dp; k += lanes) {
        V<T> sum_r = {}, sum_u = {}, sum_c = {}, sum_i = {};
        for (int64_t i = 0; i < rows; ++i) {
          const auto v = gated(gates, z + i * ld, c + i * dp, k);
          const int64_t at = i * dp + k;
          const V<T> up = load(g + at), keep = up * v.update;
          const V<T> g_c = (up - keep) * (T(1) - v.candidate * v.candidate);
          const V<T> g_i = g_c * v.reset;
          const V<T> g_r = g_i * v.inner * (T(1) - v.reset);
          const V<T> g_u = keep * (T(1) - v.update) * (load(hp + at) - v.candidate);
          T *zi = z + i * ld + k, *si = s + i * ld + k;
          store(zi, g_r), store(zi + dp, g_u), store(zi + 2 * dp, g_c);
          store(si, g_r), store(si + dp, g_u), store(si + 2 * dp, g_i);
          store(go + at, keep);
          sum_r += g_r, sum_u += g_u, sum_c += g_c, sum_i += g_i;
        }
        store(bias_in + k, sum_r), store(bias_state + k, sum_r);
        store(bias_in + dp + k, sum_u), store(bias_state + dp + k, sum_u);
        store(bias_in + 2 * dp + k, sum_c), store(bias_state + 2 * dp + k, sum_i);
      }
      product(rows, dp, ld, z, ld, 1, gates.input_rows.data(), dp, part, dp);
      product<T, true>(rows, dp, ld, s, ld, 1, gates.state_rows.data(), dp, go, dp);
      copy_back(part, rows, d, dp, grad_in + r * d, d);
      copy_back(go, rows, d, dp, grad_h + r * d, d);
      // Those of a block first, which loses less than one sum over all:
      product(d, ld, rows, in + r * d, 1, d, z, ld, own_sums, ld);
      product(d, ld, rows, h + r * d, 1, d, s, ld, own_sums + weights, ld);
      for (int64_t k = 0; k < 2 * weights + 2 * ld; k += lanes)
        store(sums + k, load(sums + k) + load(own_sums + k));
    }
  });
  std::vector<T> total(2 * weights + 2 * ld);
  shares.add_to(total.data(), 0, total.size());
  for (int64_t gate = 0; gate < 3; ++gate)
    for (int64_t k = 0; k < d; ++k) {
      const int64_t from = gate * dp + k, to = gate * d + k;
      for (int64_t i = 0; i < d; ++i) {
        grad_weight_ih[to * d + i] = total[i * ld + from];
        grad_weight_hh[to * d + i] = total[weights + i * ld + from];
      }
      grad_bias_ih[to] = total[2 * weights + from];
      grad_bias_hh[to] = total[2 * weights + ld + from];
    }
}
