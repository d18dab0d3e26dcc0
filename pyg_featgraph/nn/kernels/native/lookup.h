// Rows of a table, each times a value: see ../lookup.py.
#pragma once

#include "memory.h"

// to (+)= from * value for so many numbers.
template <typename T, bool ADD>
inline void scale_few(const T* from, int64_t count, T value, T* to) {
  by_vectors<T>(count, [&](int64_t k, int64_t some) {
    const V<T> before = ADD ? load_first(to + k, some) : V<T>{};
    store_first(to + k, before + load_first(from + k, some) * value, some);
  });
}

// weight is [rows][d], index and value are [count], out is [count][d].
template <typename T>
void lookup(const T* weight, const int64_t* index, const T* value, T* out,
            int64_t count, int64_t d, int64_t threads) {
  constexpr int64_t ahead = 16;
  in_threads(count, threads, [&](int64_t start, int64_t stop, int64_t) {
    for (int64_t i = start; i < stop; ++i) {
      if (i + ahead < stop) __builtin_prefetch(weight + index[i + ahead] * d);
      scale_few<T, false>(weight + index[i] * d, d, value[i], out + i * d);
    }
  });
}

// Where the rows of each of so many parts begin, so that all have about as many
// of the indices.
inline std::vector<int64_t> equal_parts(const int64_t* index, int64_t count,
                                        int64_t rows, int64_t parts) {
  const int64_t size = std::min<int64_t>(count, 1024);
  std::vector<int64_t> some(size), bounds(parts + 1, rows);
  for (int64_t k = 0; k < size; ++k) some[k] = index[k * count / size];
  std::sort(some.begin(), some.end());
  bounds[0] = 0;
  for (int64_t k = 1; k < parts && size > 0; ++k)
    bounds[k] = some[k * size / parts];
  return bounds;
}

// Each row has its sum in the order of the indices, whatever the threads.
template <typename T>
void lookup_backward(const T* grad, const int64_t* index, const T* value,
                     T* grad_weight, int64_t rows, int64_t count, int64_t d,
                     int64_t threads) {
  const auto bounds = equal_parts(index, count, rows, threads);
  in_threads(threads, threads, [&](int64_t start, int64_t stop, int64_t) {
    const int64_t first = bounds[start], last = bounds[stop];
    std::fill(grad_weight + first * d, grad_weight + last * d, T(0));
    for (int64_t i = 0; i < count; ++i)
      if (index[i] >= first && index[i] < last)
        scale_few<T, true>(grad + i * d, d, value[i],
                           grad_weight + index[i] * d);
  });
}
