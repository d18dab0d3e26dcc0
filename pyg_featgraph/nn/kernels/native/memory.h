// Memory that each thread has at hand, and sums over threads.
#pragma once

#include <algorithm>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "vector.h"

// Fresh memory costs several times what memory at hand does, so a thread keeps
// what it once had.
class Workspace {
 public:
  // All of it is free again.
  Workspace& reset() {
    // What did not fit is one piece with the rest from now on.
    if (pieces_.size() > 1) {
      pieces_.clear();
      pieces_.emplace_back(total_);
    }
    total_ = used_ = 0;
    return *this;
  }

  // Room for so many numbers, aligned to a line of the cache.
  template <typename T>
  T* take(int64_t count) {
    const size_t bytes = padded(count * sizeof(T) + 64, 64);
    total_ += bytes;
    if (pieces_.empty() || used_ + bytes > pieces_.back().size()) {
      pieces_.emplace_back(bytes + 64);
      used_ = 0;
    }
    auto start = reinterpret_cast<uintptr_t>(pieces_.back().data() + used_);
    used_ += bytes;
    return reinterpret_cast<T*>((start + 63) / 64 * 64);
  }

 private:
  std::vector<std::vector<char>> pieces_;
  size_t total_ = 0, used_ = 0;
};

inline Workspace& workspace() {
  static thread_local Workspace own;
  return own;
}

// Calls f(start, stop, thread) for a share of the items in each thread. Which
// thread has which items depends on their number alone.
template <typename F>
inline void in_threads(int64_t count, int64_t threads, F f) {
  threads = std::max<int64_t>(1, std::min(threads, count));
#ifdef _OPENMP
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    int64_t t = omp_get_thread_num(), used = omp_get_num_threads();
    f(count * t / used, count * (t + 1) / used, t);
  }
#else
  f(int64_t(0), count, int64_t(0));
#endif
}

// Gradients of parameters, a share for each thread, which are added in the
// order of the threads.
template <typename T>
class Shares {
 public:
  Shares(int64_t threads, int64_t size)
      : size_(padded(size, 64)), memory_(threads * size_, T(0)) {}
  T* of(int64_t thread) { return memory_.data() + thread * size_; }
  void add_to(T* out, int64_t offset, int64_t count) const {
    for (int64_t k = 0; k < count; ++k) {
      T total = 0;
      for (size_t t = offset; t < memory_.size(); t += size_)
        total += memory_[t + k];
      out[k] = total;
    }
  }

 private:
  int64_t size_;
  std::vector<T> memory_;
};

// Calls f(k, count) for the numbers from k on, a vector or what is left of one.
template <typename T, typename F>
inline void by_vectors(int64_t count, F f) {
  constexpr int64_t lanes = Vector<T>::lanes;
  int64_t k = 0;
  for (; k + lanes <= count; k += lanes) f(k, lanes);
  if (k < count) f(k, count - k);
}

// So few numbers that calling for it would cost more than copying them.
template <typename T>
inline void copy_few(const T* in, int64_t count, T* out) {
  by_vectors<T>(count, [&](int64_t k, int64_t some) {
    store_first(out + k, load_first(in + k, some), some);
  });
}

// Adds so few numbers to others.
template <typename T>
inline void add_few(const T* in, int64_t count, T* out) {
  by_vectors<T>(count, [&](int64_t k, int64_t some) {
    store_first(out + k, load_first(out + k, some) + load_first(in + k, some),
                some);
  });
}

// The products of so few numbers.
template <typename T>
inline void multiply_few(const T* a, const T* b, int64_t count, T* out) {
  by_vectors<T>(count, [&](int64_t k, int64_t some) {
    store_first(out + k, load_first(a + k, some) * load_first(b + k, some),
                some);
  });
}

// [rows][columns] with a stride -> [rows][ld], the rest zero.
template <typename T>
inline void copy_padded(const T* in, int64_t rows, int64_t columns,
                        int64_t stride, T* out, int64_t ld) {
  for (int64_t i = 0; i < rows; ++i) {
    copy_few(in + i * stride, columns, out + i * ld);
    std::fill(out + i * ld + columns, out + (i + 1) * ld, T(0));
  }
}

// [rows][d] with zeros behind each row, if there is room for more.
template <typename T>
inline const T* with_zeros(const T* in, int64_t rows, int64_t d, int64_t dp,
                           T* memory) {
  if (d == dp) return in;
  copy_padded(in, rows, d, d, memory, dp);
  return memory;
}

inline void copy_padded(const uint8_t* in, int64_t rows, int64_t columns,
                        int64_t stride, uint8_t* out, int64_t ld) {
  for (int64_t i = 0; i < rows; ++i) {
    std::copy(in + i * stride, in + i * stride + columns, out + i * ld);
    std::fill(out + i * ld + columns, out + (i + 1) * ld, 0);
  }
}

// [rows][ld] -> [rows][columns] with a stride.
template <typename T>
inline void copy_back(const T* in, int64_t rows, int64_t columns, int64_t ld,
                      T* out, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i)
    copy_few(in + i * ld, columns, out + i * stride);
}

// [rows][columns] with a stride -> [columns][ld], what is behind the rows zero.
// There is room for whole vectors.
template <typename T>
inline void transpose_padded(const T* in, int64_t rows, int64_t columns,
                             int64_t stride, T* out, int64_t ld) {
  constexpr int64_t lanes = Vector<T>::lanes;
  for (int64_t i = 0; i < ld; i += lanes)
    for (int64_t k = 0; k < columns; k += lanes) {
      const int64_t count = std::min(lanes, columns - k);
      V<T> v[lanes];
      for (int64_t r = 0; r < lanes; ++r)
        v[r] = i + r < rows ? load_first(in + (i + r) * stride + k, count)
                            : V<T>{};
      transpose_square<T>(v);
      for (int64_t c = 0; c < count; ++c) store(out + (k + c) * ld + i, v[c]);
    }
}

// The sums over lanes of each of some rows of a vector, [rows][lanes], in whole
// vectors.
template <typename T>
inline void sums_of_rows(const T* in, int64_t rows, T* out) {
  constexpr int64_t lanes = Vector<T>::lanes;
  for (int64_t i = 0; i < rows; i += lanes) {
    V<T> parts[lanes];
    for (int64_t k = 0; k < lanes; ++k) parts[k] = load(in + (i + k) * lanes);
    store(out + i, sums<T>(parts));
  }
}
