// All steps of a gated graph network on rows of nodes: see ../gated_steps.py.
#pragma once

#include "gru_step.h"

// What all rows share. Matrices of nodes are [steps][fields][d][dp], with one
// step or field for all where there are not more.
template <typename T>
struct Steps {
  int64_t n, d, dp, size, count, own_steps, fields;
  const Gates<T>& gates;
  std::vector<T> out, in, out_columns, in_columns;

  Steps(const T* outgoing, const T* incoming, const Gates<T>& gates,
        int64_t count, int64_t own_steps, int64_t fields, int64_t n)
      : n(n),
        d(gates.d),
        dp(gates.dp),
        size(n * dp),
        count(count),
        own_steps(own_steps),
        fields(fields),
        gates(gates),
        out(weights()),
        in(weights()),
        out_columns(weights()),
        in_columns(weights()) {
    for (int64_t k = 0; k < own_steps * fields; ++k) {
      const T *from = outgoing + k * d * d, *to = incoming + k * d * d;
      copy_padded(from, d, d, d, out.data() + k * d * dp, dp);
      copy_padded(to, d, d, d, in.data() + k * d * dp, dp);
      transpose_padded(from, d, d, d, out_columns.data() + k * d * dp, dp);
      transpose_padded(to, d, d, d, in_columns.data() + k * d * dp, dp);
    }
  }

  int64_t weights() const { return own_steps * fields * d * dp; }

  // Where the matrix of a node is.
  int64_t at(int64_t step, int64_t node) const {
    step = own_steps > 1 ? step : 0, node = fields > 1 ? node : 0;
    return (step * fields + node) * d * dp;
  }

  // All nodes of some rows, [rows][n][dp], times their matrices.
  template <bool ADD = false>
  void transform(int64_t step, int64_t rows, const T* x, const T* matrices,
                 T* y) const {
    for (int64_t i = 0; i < n; ++i)
      product<T, ADD>(rows, dp, d, x + i * dp, size, 1, matrices + at(step, i),
                      dp, y + i * dp, size);
  }

  // What that adds to the gradients of the matrices.
  void add_gradient(int64_t step, int64_t rows, const T* x, const T* grad,
                    T* total) const {
    for (int64_t i = 0; i < n; ++i)
      product<T, true>(d, dp, rows, x + i * dp, 1, size, grad + i * dp, size,
                       total + at(step, i), dp);
  }
};

// A step of some rows, with everything that its gradient needs.
template <typename T>
struct Step {
  T *h, *message, *sum, *received;

  Step(int64_t numbers, Workspace& own)
      : h(own.take<T>(numbers)),
        message(own.take<T>(numbers)),
        sum(own.take<T>(numbers)),
        received(own.take<T>(numbers)) {}

  // From the states h to the next ones.
  void run(const Steps<T>& steps, int64_t k, int64_t rows, const T* weight,
           int64_t row, const T* first, GruBlock<T>& gru, T* next) const {
    const int64_t n = steps.n, dp = steps.dp, size = steps.size;
    steps.transform(k, rows, h, steps.out.data(), message);
    for (int64_t r = 0; r < rows; ++r)
      product(n, dp, n, weight + r * row, n, 1, message + r * size, dp,
              sum + r * size, dp);
    steps.transform(k, rows, sum, steps.in.data(), received);
    for (int64_t i = 0; i < rows * n; i += gru.rows)
      gru.step(std::min(gru.rows, rows * n - i), received + i * dp, h + i * dp,
               first + i * dp, next + i * dp);
  }
};

// How many rows are taken at a time: what they need stays in the second cache.
constexpr int64_t GATED_ROWS = 8;

// x and out are [size][n][d], weight [size][n][n], or [n][n] if shared.
template <typename T>
void gated_steps(const T* x, const T* weight, const Steps<T>& steps, T* out,
                 int64_t shared, int64_t size, int64_t threads) {
  const int64_t n = steps.n, d = steps.d, dp = steps.dp;
  const int64_t row = shared ? 0 : n * n, block = GATED_ROWS;
  const int64_t numbers = block * steps.size;
  in_threads((size + block - 1) / block, threads,
             [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    GruBlock<T> gru(steps.gates, own);
    Step<T> step(numbers, own);
    T *first = own.take<T>(numbers), *next = own.take<T>(numbers);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r);
      copy_padded(x + r * n * d, rows * n, d, d, first, dp);
      std::copy(first, first + rows * steps.size, step.h);
      for (int64_t k = 0; k < steps.count; ++k) {
        step.run(steps, k, rows, weight + r * row, row, first, gru, next);
        std::swap(step.h, next);
      }
      copy_back(step.h, rows * n, d, dp, out + r * n * d, d);
    }
  });
}

// All steps of some rows are computed again instead of having been stored.
template <typename T>
void gated_steps_backward(const T* grad, const T* x, const T* weight,
                          const Steps<T>& steps, T* grad_x, T* grad_weight,
                          T* grad_outgoing, T* grad_incoming, T* grad_weight_ih,
                          T* grad_weight_hh, T* grad_bias_ih, T* grad_bias_hh,
                          int64_t shared, int64_t size, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = GATED_ROWS;
  const int64_t n = steps.n, d = steps.d, dp = steps.dp;
  const int64_t row = shared ? 0 : n * n, np = padded(n, lanes);
  const int64_t numbers = block * steps.size, blocks = (size + block - 1) / block;
  const int64_t matrices = steps.weights(), gru_size = steps.gates.size();
  const int64_t pairs = shared ? n * np : 0;
  Shares<T> shares(std::min(threads, blocks),
                   2 * matrices + padded(gru_size, lanes) + pairs);
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    T *g_out = shares.of(thread), *g_in = g_out + matrices;
    T *g_gru = g_in + matrices, *g_pairs = g_gru + padded(gru_size, lanes);
    Workspace& own = workspace().reset();
    GruBlock<T> gru(steps.gates, own);
    std::vector<Step<T>> step;
    for (int64_t k = 0; k < steps.count; ++k) step.emplace_back(numbers, own);
    T *first = own.take<T>(numbers), *last = own.take<T>(numbers);
    T *g = own.take<T>(numbers), *g_h = own.take<T>(numbers);
    T *g_received = own.take<T>(numbers), *g_sum = own.take<T>(numbers);
    T *g_message = own.take<T>(numbers), *g_x = own.take<T>(numbers);
    T* columns = own.take<T>(d * np);
    T* g_rows = shared ? nullptr : own.take<T>(block * n * np);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r);
      const int64_t used = rows * steps.size;
      const T* w = weight + r * row;
      copy_padded(x + r * n * d, rows * n, d, d, first, dp);
      for (int64_t k = 0; k < steps.count; ++k) {
        if (k == 0) std::copy(first, first + used, step[0].h);
        T* next = k + 1 < steps.count ? step[k + 1].h : last;
        step[k].run(steps, k, rows, w, row, first, gru, next);
      }
      copy_padded(grad + r * n * d, rows * n, d, d, g, dp);
      std::fill(g_x, g_x + used, T(0));
      if (!shared) std::fill(g_rows, g_rows + rows * n * np, T(0));
      for (int64_t k = steps.count - 1; k >= 0; --k) {
        add_few(g, used, g_x);
        for (int64_t i = 0; i < rows * n; i += gru.rows)
          gru.backward(std::min(gru.rows, rows * n - i), g + i * dp,
                       step[k].received + i * dp, step[k].h + i * dp,
                       g_received + i * dp, g_h + i * dp, g_gru);
        steps.transform(k, rows, g_received, steps.in_columns.data(), g_sum);
        steps.add_gradient(k, rows, step[k].sum, g_received, g_in);
        for (int64_t b = 0; b < rows; ++b) {
          const T* up = g_sum + b * steps.size;
          T* to = shared ? g_pairs : g_rows + b * n * np;
          transpose_padded(step[k].message + b * steps.size, n, d, dp, columns,
                           np);
          product<T, true>(n, np, d, up, dp, 1, columns, np, to, np);
          product(n, dp, n, w + b * row, 1, n, up, dp,
                  g_message + b * steps.size, dp);
        }
        steps.template transform<true>(k, rows, g_message,
                                       steps.out_columns.data(), g_h);
        steps.add_gradient(k, rows, step[k].h, g_message, g_out);
        std::swap(g, g_h);
      }
      // The first states are those of the first step as well:
      add_few(g, used, g_x);
      copy_back(g_x, rows * n, d, dp, grad_x + r * n * d, d);
      if (!shared)
        copy_back(g_rows, rows * n, n, np, grad_weight + r * n * n, n);
    }
  });
  for (int64_t k = 0; k < steps.own_steps * steps.fields * d; ++k) {
    shares.add_to(grad_outgoing + k * d, k * dp, d);
    shares.add_to(grad_incoming + k * d, matrices + k * dp, d);
  }
  std::vector<T> total(gru_size);
  shares.add_to(total.data(), 2 * matrices, gru_size);
  steps.gates.write_gradients(total.data(), grad_weight_ih, grad_weight_hh,
                              grad_bias_ih, grad_bias_hh);
  if (shared)
    for (int64_t i = 0; i < n; ++i)
      shares.add_to(grad_weight + i * n,
                    2 * matrices + padded(gru_size, lanes) + i * np, n);
}
