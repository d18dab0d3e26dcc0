// Products of small matrices that stay in the cache of a core.
#pragma once

#include "vector.h"

// C[m][n] (+)= sum_k A[m * am + k * ak] * B[k * ldb + n] for ROWS rows and
// COLUMNS vectors of columns, all sums being in registers.
template <typename T, int ROWS, int COLUMNS, bool ADD>
inline void tile(int64_t K, const T* A, int64_t am, int64_t ak, const T* B,
                 int64_t ldb, T* C, int64_t ldc) {
  constexpr int64_t lanes = Vector<T>::lanes;
  V<T> c[ROWS][COLUMNS];
#pragma GCC unroll 8
  for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 3
    for (int v = 0; v < COLUMNS; ++v)
      c[m][v] = ADD ? load(C + m * ldc + v * lanes) : V<T>{};
  for (int64_t k = 0; k < K; ++k) {
    V<T> b[COLUMNS];
#pragma GCC unroll 3
    for (int v = 0; v < COLUMNS; ++v) b[v] = load(B + k * ldb + v * lanes);
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; ++m) {
      V<T> a = all(A[m * am + k * ak]);
#pragma GCC unroll 3
      for (int v = 0; v < COLUMNS; ++v) c[m][v] += a * b[v];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < ROWS; ++m)
#pragma GCC unroll 3
    for (int v = 0; v < COLUMNS; ++v) store(C + m * ldc + v * lanes, c[m][v]);
}

template <typename T, int COLUMNS, bool ADD>
inline void rows_of_tiles(int64_t rows, int64_t K, const T* A, int64_t am,
                          int64_t ak, const T* B, int64_t ldb, T* C,
                          int64_t ldc) {
  for (; rows >= 8; rows -= 8, A += 8 * am, C += 8 * ldc)
    tile<T, 8, COLUMNS, ADD>(K, A, am, ak, B, ldb, C, ldc);
  if (rows >= 4) {
    tile<T, 4, COLUMNS, ADD>(K, A, am, ak, B, ldb, C, ldc);
    rows -= 4, A += 4 * am, C += 4 * ldc;
  }
  switch (rows) {
    case 3: tile<T, 3, COLUMNS, ADD>(K, A, am, ak, B, ldb, C, ldc); break;
    case 2: tile<T, 2, COLUMNS, ADD>(K, A, am, ak, B, ldb, C, ldc); break;
    case 1: tile<T, 1, COLUMNS, ADD>(K, A, am, ak, B, ldb, C, ldc); break;
  }
}

// C (+)= A B with C of M x N numbers, N being a multiple of the lanes. B and C
// are stored row by row; A may be the transpose of a matrix, by its strides.
template <typename T, bool ADD = false>
inline void product(int64_t rows, int64_t N, int64_t K, const T* A, int64_t am,
                    int64_t ak, const T* B, int64_t ldb, T* C, int64_t ldc) {
  constexpr int64_t lanes = Vector<T>::lanes;
  int64_t n = 0;
  for (; n + 3 * lanes <= N; n += 3 * lanes)
    rows_of_tiles<T, 3, ADD>(rows, K, A, am, ak, B + n, ldb, C + n, ldc);
  if (N - n == 2 * lanes)
    rows_of_tiles<T, 2, ADD>(rows, K, A, am, ak, B + n, ldb, C + n, ldc);
  else if (N - n == lanes)
    rows_of_tiles<T, 1, ADD>(rows, K, A, am, ak, B + n, ldb, C + n, ldc);
}
