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
  // of the input in the candidate; c is that of the state in it. All nodes have
  // zeros behind, [rows][dp].
  void products(int64_t rows, const T* in, const T* h, T* z, T* c) const {
    const int64_t ld = 3 * dp;
    product(rows, ld, d, in, dp, 1, input.data(), ld, z, ld);
    product<T, true>(rows, 2 * dp, d, h, dp, 1, state.data(), ld, z, ld);
    product(rows, dp, d, h, dp, 1, state.data() + 2 * dp, ld, c, dp);
  }

  // How many numbers the gradients of all of them have, with what is padded.
  int64_t size() const { return 2 * d * 3 * dp + 2 * 3 * dp; }

  // From the sums of these.
  void write_gradients(const T* total, T* weight_ih, T* weight_hh, T* bias_ih,
                       T* bias_hh) const {
    const int64_t ld = 3 * dp, weights = d * ld;
    for (int64_t gate = 0; gate < 3; ++gate)
      for (int64_t k = 0; k < d; ++k) {
        const int64_t from = gate * dp + k, to = gate * d + k;
        for (int64_t i = 0; i < d; ++i) {
          weight_ih[to * d + i] = total[i * ld + from];
          weight_hh[to * d + i] = total[weights + i * ld + from];
        }
        bias_ih[to] = total[2 * weights + from];
        bias_hh[to] = total[2 * weights + ld + from];
      }
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

// So many nodes at a time, with zeros behind each of them.
template <typename T>
class GruBlock {
 public:
  static constexpr int64_t rows = 32;

  GruBlock(const Gates<T>& gates, Workspace& own)
      : gates_(gates),
        z_(own.take<T>(rows * 3 * gates.dp)),
        s_(own.take<T>(rows * 3 * gates.dp)),
        c_(own.take<T>(rows * gates.dp)),
        sums_(own.take<T>(gates.size())) {}

  // The next states of up to as many nodes.
  void step(int64_t count, const T* in, const T* h, const T* first, T* out) {
    constexpr int64_t lanes = Vector<T>::lanes;
    const int64_t dp = gates_.dp;
    gates_.products(count, in, h, z_, c_);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t k = 0; k < dp; k += lanes) {
        const auto g = gated(gates_, z_ + i * 3 * dp, c_ + i * dp, k);
        const int64_t at = i * dp + k;
        const V<T> more = load(h + at) - g.candidate;
        store(out + at, g.candidate + g.update * more + load(first + at));
      }
  }

  // The gates are computed again instead of having been stored. Gradients of
  // parameters are added to `total`.
  void backward(int64_t count, const T* grad, const T* in, const T* h,
                T* grad_in, T* grad_h, T* total) {
    constexpr int64_t lanes = Vector<T>::lanes;
    const int64_t d = gates_.d, dp = gates_.dp, ld = 3 * dp, weights = d * ld;
    T *bias_in = sums_ + 2 * weights, *bias_state = bias_in + ld;
    gates_.products(count, in, h, z_, c_);
    for (int64_t k = 0; k < dp; k += lanes) {
      V<T> sum_r = {}, sum_u = {}, sum_c = {}, sum_i = {};
      for (int64_t i = 0; i < count; ++i) {
        const auto v = gated(gates_, z_ + i * ld, c_ + i * dp, k);
        const int64_t at = i * dp + k;
        const V<T> up = load(grad + at), keep = up * v.update;
        const V<T> g_c = (up - keep) * (T(1) - v.candidate * v.candidate);
        const V<T> g_i = g_c * v.reset;
        const V<T> g_r = g_i * v.inner * (T(1) - v.reset);
        const V<T> g_u = keep * (T(1) - v.update) * (load(h + at) - v.candidate);
        T *zi = z_ + i * ld + k, *si = s_ + i * ld + k;
        store(zi, g_r), store(zi + dp, g_u), store(zi + 2 * dp, g_c);
        store(si, g_r), store(si + dp, g_u), store(si + 2 * dp, g_i);
        store(grad_h + at, keep);
        sum_r += g_r, sum_u += g_u, sum_c += g_c, sum_i += g_i;
      }
      store(bias_in + k, sum_r), store(bias_state + k, sum_r);
      store(bias_in + dp + k, sum_u), store(bias_state + dp + k, sum_u);
      store(bias_in + 2 * dp + k, sum_c), store(bias_state + 2 * dp + k, sum_i);
    }
    product(count, dp, ld, z_, ld, 1, gates_.input_rows.data(), dp, grad_in, dp);
    product<T, true>(count, dp, ld, s_, ld, 1, gates_.state_rows.data(), dp,
                     grad_h, dp);
    // Those of a block first, which loses less than one sum over all:
    product(d, ld, count, in, 1, dp, z_, ld, sums_, ld);
    product(d, ld, count, h, 1, dp, s_, ld, sums_ + weights, ld);
    for (int64_t k = 0; k < gates_.size(); k += lanes)
      store(total + k, load(total + k) + load(sums_ + k));
  }

 private:
  const Gates<T>& gates_;
  T *z_, *s_, *c_, *sums_;
};

// All are [size][d].
template <typename T>
void gru_step(const T* in, const T* h, const T* first, const T* weight_ih,
              const T* weight_hh, const T* bias_ih, const T* bias_hh, T* out,
              int64_t size, int64_t d, int64_t threads) {
  constexpr int64_t block = GruBlock<T>::rows;
  const Gates<T> gates(weight_ih, weight_hh, bias_ih, bias_hh, d);
  const int64_t dp = gates.dp, blocks = (size + block - 1) / block;
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    GruBlock<T> gru(gates, own);
    T* part[4];
    for (T*& memory : part) memory = own.take<T>(block * dp);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r), at = r * d;
      T* to = d == dp ? out + at : part[3];
      gru.step(rows, with_zeros(in + at, rows, d, dp, part[0]),
               with_zeros(h + at, rows, d, dp, part[1]),
               with_zeros(first + at, rows, d, dp, part[2]), to);
      if (d != dp) copy_back(to, rows, d, dp, out + at, d);
    }
  });
}

template <typename T>
void gru_step_backward(const T* grad, const T* in, const T* h,
                       const T* weight_ih, const T* weight_hh, const T* bias_ih,
                       const T* bias_hh, T* grad_in, T* grad_h,
                       T* grad_weight_ih, T* grad_weight_hh, T* grad_bias_ih,
                       T* grad_bias_hh, int64_t size, int64_t d,
                       int64_t threads) {
  constexpr int64_t block = GruBlock<T>::rows;
  const Gates<T> gates(weight_ih, weight_hh, bias_ih, bias_hh, d);
  const int64_t dp = gates.dp, blocks = (size + block - 1) / block;
  Shares<T> shares(std::min(threads, blocks), gates.size());
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    Workspace& own = workspace().reset();
    GruBlock<T> gru(gates, own);
    T* part[5];
    for (T*& memory : part) memory = own.take<T>(block * dp);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r), at = r * d;
      gru.backward(rows, with_zeros(grad + at, rows, d, dp, part[0]),
                   with_zeros(in + at, rows, d, dp, part[1]),
                   with_zeros(h + at, rows, d, dp, part[2]), part[3], part[4],
                   shares.of(thread));
      copy_back(part[3], rows, d, dp, grad_in + at, d);
      copy_back(part[4], rows, d, dp, grad_h + at, d);
    }
  });
  std::vector<T> total(gates.size());
  shares.add_to(total.data(), 0, total.size());
  gates.write_gradients(total.data(), grad_weight_ih, grad_weight_hh,
                        grad_bias_ih, grad_bias_hh);
}
