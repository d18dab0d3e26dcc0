// Sums of products of nodes, for many sets of them: see ../tuple_product.py.
#pragma once

#include "memory.h"

// Sets in groups that share all members but one.
struct Sets {
  const int64_t *shared, *ptr, *other, *place;
  int64_t count, groups, num_shared;
};

// Rows are in the lanes: a block of them is [n][d][rows].
template <typename T>
struct RowBlock {
  static constexpr int64_t lanes = Vector<T>::lanes, vectors = 4;
  static constexpr int64_t rows = vectors * lanes;
  // How many sets of a group are taken at a time.
  static constexpr int64_t piece = 64;
  int64_t n, d, ld;

  // With a line of the cache between nodes, which would be in each other's way.
  RowBlock(int64_t n, int64_t d) : n(n), d(d), ld(d * rows + 64 / sizeof(T)) {}

  // [size][n][d] -> [n][d][rows]
  void read(const T* x, int64_t size, T* to) const {
    for (int64_t c = 0; c < n * d; c += lanes)
      for (int64_t b = 0; b < rows; b += lanes) {
        V<T> v[lanes];
        const int64_t count = std::min(lanes, n * d - c);
        for (int64_t k = 0; k < lanes; ++k)
          v[k] = b + k < size ? load_first(x + (b + k) * n * d + c, count)
                              : V<T>{};
        transpose_square<T>(v);
        for (int64_t k = 0; k < count; ++k) store(at(to, c + k) + b, v[k]);
      }
  }

  // [n][d][rows] -> [size][n][d]
  void write(T* from, int64_t size, T* x) const {
    for (int64_t c = 0; c < n * d; c += lanes)
      for (int64_t b = 0; b < size; b += lanes) {
        V<T> v[lanes];
        const int64_t count = std::min(lanes, n * d - c);
        for (int64_t k = 0; k < lanes; ++k)
          v[k] = k < count ? load(at(from, c + k) + b) : V<T>{};
        transpose_square<T>(v);
        for (int64_t k = 0; k < std::min(lanes, size - b); ++k)
          store_first(x + (b + k) * n * d + c, v[k], count);
      }
  }

  T* at(T* block, int64_t column) const {
    return block + column / d * ld + column % d * rows;
  }
};

inline bool in_one_piece(const int64_t* place, int64_t count) {
  for (int64_t k = 1; k < count; ++k)
    if (place[k] != place[0] + k) return false;
  return true;
}

// Values of some sets [count][rows] from [size][sets], each at its place.
template <typename T>
inline void read_sets(const T* in, int64_t sets, const int64_t* place,
                      int64_t count, int64_t size, T* to) {
  using Block = RowBlock<T>;
  constexpr int64_t lanes = Block::lanes;
  for (int64_t q = 0; q < count; q += lanes)
    for (int64_t b = 0; b < Block::rows; b += lanes) {
      V<T> v[lanes];
      const int64_t some = std::min(lanes, count - q);
      const bool whole = in_one_piece(place + q, some);
      for (int64_t k = 0; k < lanes; ++k) {
        v[k] = V<T>{};
        if (b + k >= size) continue;
        const T* row = in + (b + k) * sets;
        if (whole)
          v[k] = load_first(row + place[q], some);
        else
          for (int64_t s = 0; s < some; ++s) v[k][s] = row[place[q + s]];
      }
      transpose_square<T>(v);
      for (int64_t k = 0; k < some; ++k)
        store(to + (q + k) * Block::rows + b, v[k]);
    }
}

template <typename T>
inline void write_sets(const T* from, int64_t sets, const int64_t* place,
                       int64_t count, int64_t size, T* out) {
  using Block = RowBlock<T>;
  constexpr int64_t lanes = Block::lanes;
  for (int64_t q = 0; q < count; q += lanes)
    for (int64_t b = 0; b < size; b += lanes) {
      V<T> v[lanes];
      const int64_t some = std::min(lanes, count - q);
      const bool whole = in_one_piece(place + q, some);
      for (int64_t k = 0; k < lanes; ++k)
        v[k] = k < some ? load(from + (q + k) * Block::rows + b) : V<T>{};
      transpose_square<T>(v);
      for (int64_t k = 0; k < std::min(lanes, size - b); ++k) {
        T* row = out + (b + k) * sets;
        if (whole)
          store_first(row + place[q], v[k], some);
        else
          for (int64_t s = 0; s < some; ++s) row[place[q + s]] = v[k][s];
      }
    }
}

// The product of some nodes in dimension t, but for the one at `without`.
template <typename T>
inline void multiply(const RowBlock<T>& block, const T* x, const int64_t* nodes,
                     int64_t count, int64_t without, int64_t t, V<T>* out) {
  using Block = RowBlock<T>;
  for (int64_t v = 0; v < Block::vectors; ++v) out[v] = all(T(1));
  bool first = true;
  for (int64_t k = 0; k < count; ++k) {
    if (k == without) continue;
    const T* from = x + nodes[k] * block.ld + t * Block::rows;
    for (int64_t v = 0; v < Block::vectors; ++v) {
      const V<T> one = load(from + v * Block::lanes);
      out[v] = first ? one : out[v] * one;
    }
    first = false;
  }
}

// The sums of DIMS dimensions from t on, for the sets of a piece.
template <typename T, int DIMS, bool WEIGHTED>
inline void add_products(const RowBlock<T>& block, const T* x,
                         const int64_t* common, const Sets& sets,
                         const T* weight, int64_t begin, int64_t end,
                         int64_t t, T* sums) {
  using Block = RowBlock<T>;
  constexpr int64_t vectors = Block::vectors, lanes = Block::lanes;
  V<T> product[DIMS][vectors];
  for (int k = 0; k < DIMS; ++k)
    multiply(block, x, common, sets.num_shared, -1, t + k, product[k]);
  for (int64_t q = begin; q < end; ++q) {
    const T* from = x + sets.other[q] * block.ld + t * Block::rows;
    T* to = sums + (q - begin) * Block::rows;
    V<T> total[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) total[v] = load(to + v * lanes);
#pragma GCC unroll 2
    for (int k = 0; k < DIMS; ++k) {
      V<T> w = {};
      if (WEIGHTED) w = all(weight[sets.place[q] * block.d + t + k]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        V<T> one = load(from + k * Block::rows + v * lanes);
        if (WEIGHTED) one *= w;
        total[v] += product[k][v] * one;
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(to + v * lanes, total[v]);
  }
}

// x is [size][n][d], weight [sets][d] if there is one, and out [size][sets].
template <typename T, bool WEIGHTED>
void tuple_products(const T* x, const T* weight, const Sets& sets, T* out,
                    int64_t size, int64_t n, int64_t d, int64_t threads) {
  using Block = RowBlock<T>;
  const Block block(n, d);
  in_threads((size + Block::rows - 1) / Block::rows, threads,
             [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* xt = own.take<T>(n * block.ld);
    T* sums = own.take<T>(Block::piece * Block::rows);
    for (int64_t r = start * Block::rows;
         r < std::min(stop * Block::rows, size); r += Block::rows) {
      const int64_t rows = std::min(Block::rows, size - r);
      block.read(x + r * n * d, rows, xt);
      for (int64_t group = 0; group < sets.groups; ++group) {
        const int64_t* common = sets.shared + group * sets.num_shared;
        for (int64_t q = sets.ptr[group]; q < sets.ptr[group + 1];
             q += Block::piece) {
          const int64_t end = std::min(q + Block::piece, sets.ptr[group + 1]);
          std::fill(sums, sums + (end - q) * Block::rows, T(0));
          int64_t t = 0;
          for (; t + 2 <= d; t += 2)
            add_products<T, 2, WEIGHTED>(block, xt, common, sets, weight, q,
                                         end, t, sums);
          if (t < d)
            add_products<T, 1, WEIGHTED>(block, xt, common, sets, weight, q,
                                         end, t, sums);
          write_sets(sums, sets.count, sets.place + q, end - q, rows,
                     out + r * sets.count);
        }
      }
    }
  });
}

template <typename T, bool WEIGHTED>
void tuple_products_backward(const T* grad, const T* x, const T* weight,
                             const Sets& sets, T* grad_x, T* grad_weight,
                             int64_t size, int64_t n, int64_t d,
                             int64_t threads) {
  using Block = RowBlock<T>;
  constexpr int64_t vectors = Block::vectors, lanes = Block::lanes;
  const Block block(n, d);
  const int64_t blocks = (size + Block::rows - 1) / Block::rows;
  const int64_t ld = sets.count + lanes;
  Shares<T> shares(std::min(threads, blocks), WEIGHTED ? d * ld : 0);
  in_threads(blocks, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    T* shared_sums = shares.of(thread);
    Workspace& own = workspace().reset();
    T* xt = own.take<T>(n * block.ld);
    T* gx = own.take<T>(n * block.ld);
    T* g = own.take<T>(Block::piece * Block::rows);
    V<T> per_set[Block::piece];
    for (int64_t r = start * Block::rows;
         r < std::min(stop * Block::rows, size); r += Block::rows) {
      const int64_t rows = std::min(Block::rows, size - r);
      block.read(x + r * n * d, rows, xt);
      std::fill(gx, gx + n * block.ld, T(0));
      for (int64_t group = 0; group < sets.groups; ++group) {
        const int64_t* common = sets.shared + group * sets.num_shared;
        for (int64_t q = sets.ptr[group]; q < sets.ptr[group + 1];
             q += Block::piece) {
          const int64_t count =
              std::min(Block::piece, sets.ptr[group + 1] - q);
          read_sets(grad + r * sets.count, sets.count, sets.place + q, count,
                    rows, g);
          for (int64_t t = 0; t < d; ++t) {
            V<T> product[vectors], g_product[vectors] = {};
            multiply(block, xt, common, sets.num_shared, -1, t, product);
            for (int64_t k = 0; k < count; ++k) {
              const int64_t at = sets.other[q + k] * block.ld + t * Block::rows;
              T w = 1;
              if (WEIGHTED) w = weight[sets.place[q + k] * d + t];
              V<T> total = {};
#pragma GCC unroll 4
              for (int v = 0; v < vectors; ++v) {
                const V<T> one = load(xt + at + v * lanes);
                V<T> up = load(g + k * Block::rows + v * lanes);
                if (WEIGHTED) {
                  total += up * product[v] * one;
                  up *= w;
                }
                g_product[v] += up * one;
                T* to = gx + at + v * lanes;
                store(to, load(to) + up * product[v]);
              }
              if (WEIGHTED) per_set[k] = total;
            }
            if (WEIGHTED)
              for (int64_t k = 0; k < count; k += lanes) {
                for (int64_t s = count; s < k + lanes; ++s) per_set[s] = V<T>{};
                T* to = shared_sums + t * ld + q + k;
                store(to, load(to) + ::sums<T>(per_set + k));
              }
            for (int64_t k = 0; k < sets.num_shared; ++k) {
              V<T> others[vectors];
              multiply(block, xt, common, sets.num_shared, k, t, others);
              T* to = gx + common[k] * block.ld + t * Block::rows;
              for (int v = 0; v < vectors; ++v)
                store(to + v * lanes,
                      load(to + v * lanes) + g_product[v] * others[v]);
            }
          }
        }
      }
      block.write(gx, rows, grad_x + r * n * d);
    }
  });
  if (!WEIGHTED) return;
  std::vector<T> total(ld);
  for (int64_t t = 0; t < d; ++t) {
    shares.add_to(total.data(), t * ld, sets.count);
    for (int64_t q = 0; q < sets.count; ++q)
      grad_weight[sets.place[q] * d + t] = total[q];
  }
}

template <typename T>
void tuple_product(const T* x, const T* weight, const Sets& sets, T* out,
                   int64_t size, int64_t n, int64_t d, int64_t threads) {
  if (weight)
    tuple_products<T, true>(x, weight, sets, out, size, n, d, threads);
  else
    tuple_products<T, false>(x, weight, sets, out, size, n, d, threads);
}

template <typename T>
void tuple_product_backward(const T* grad, const T* x, const T* weight,
                            const Sets& sets, T* grad_x, T* grad_weight,
                            int64_t size, int64_t n, int64_t d,
                            int64_t threads) {
  if (weight)
    tuple_products_backward<T, true>(grad, x, weight, sets, grad_x, grad_weight,
                                     size, n, d, threads);
  else
    tuple_products_backward<T, false>(grad, x, weight, sets, grad_x,
                                      grad_weight, size, n, d, threads);
}
