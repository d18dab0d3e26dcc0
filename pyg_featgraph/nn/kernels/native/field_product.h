// Linear maps of nodes by the weights of their fields: see ../field_product.py.
#pragma once

#include "memory.h"
#include "product.h"

// x is [size][n][heads][in], weight [fields][heads][in][out] with as many
// fields as nodes or one for all.
template <typename T>
void field_product(const T* x, const T* weight, T* y, int64_t size, int64_t n,
                   int64_t fields, int64_t heads, int64_t in, int64_t out,
                   int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 64;
  const int64_t op = padded(out, lanes), step = n * heads;
  // With zeros behind each row of weights:
  std::vector<T> padded_weight;
  const T* w = weight;
  if (op != out) {
    padded_weight.resize(fields * heads * in * op);
    copy_padded(weight, fields * heads * in, out, out, padded_weight.data(),
                op);
    w = padded_weight.data();
  }
  const int64_t blocks = (size + block - 1) / block;
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* part = own.take<T>(block * op);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r);
      for (int64_t k = 0; k < step; ++k) {
        const T* from = x + (r * step + k) * in;
        T* to = y + (r * step + k) * out;
        const int64_t which = fields == 1 ? k % heads : k;
        const T* matrix = w + which * in * op;
        if (op == out) {
          product(rows, op, in, from, step * in, 1, matrix, op, to, step * out);
          continue;
        }
        product(rows, op, in, from, step * in, 1, matrix, op, part, op);
        copy_back(part, rows, out, op, to, step * out);
      }
    }
  });
}

template <typename T>
void field_product_backward(const T* grad, const T* x, const T* weight,
                            T* grad_x, T* grad_weight, int64_t size, int64_t n,
                            int64_t fields, int64_t heads, int64_t in,
                            int64_t out, int64_t threads) {
  constexpr int64_t lanes = Vector<T>::lanes, block = 64;
  const int64_t op = padded(out, lanes), ip = padded(in, lanes);
  const int64_t step = n * heads, count = fields * heads;
  std::vector<T> transposed(count * out * ip);
  for (int64_t k = 0; k < count; ++k)
    transpose_padded(weight + k * in * out, in, out, out,
                     transposed.data() + k * out * ip, ip);
  const int64_t blocks = (size + block - 1) / block;
  Shares<T> shares(std::min(threads, blocks), count * in * op);
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    T* sums = shares.of(thread);
    Workspace& own = workspace().reset();
    T* g = own.take<T>(block * op);
    T* part = own.take<T>(block * ip);
    T* sum = own.take<T>(in * op);
    for (int64_t r = start * block; r < std::min(stop * block, size);
         r += block) {
      const int64_t rows = std::min(block, size - r);
      for (int64_t k = 0; k < step; ++k) {
        const T* from = x + (r * step + k) * in;
        const int64_t which = fields == 1 ? k % heads : k;
        copy_padded(grad + (r * step + k) * out, rows, out, step * out, g, op);
        product(rows, ip, out, g, op, 1, transposed.data() + which * out * ip,
                ip, part, ip);
        copy_back(part, rows, in, ip, grad_x + (r * step + k) * in, step * in);
        // That of a block first, which loses less than one sum over all:
        product(in, op, rows, from, 1, step * in, g, op, sum, op);
        T* to = sums + which * in * op;
        for (int64_t i = 0; i < in * op; i += lanes)
          store(to + i, load(to + i) + load(sum + i));
      }
    }
  });
  for (int64_t k = 0; k < count * in; ++k)
    shares.add_to(grad_weight + k * out, k * op, out);
}
