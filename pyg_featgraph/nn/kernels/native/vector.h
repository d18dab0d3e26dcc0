// Vectors as wide as those of the machine, and what is computed with them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#if defined(__AVX512DQ__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

template <typename T>
struct Bits;
template <>
struct Bits<float> {
  using type = int32_t;
};
template <>
struct Bits<double> {
  using type = int64_t;
};

template <typename T>
struct Vector {
  static constexpr int64_t lanes = VECTOR_BYTES / sizeof(T);
  using Int = typename Bits<T>::type;
  typedef T type __attribute__((vector_size(VECTOR_BYTES)));
  typedef Int mask __attribute__((vector_size(VECTOR_BYTES)));
  // In memory of any alignment:
  typedef T loose
      __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
  typedef uint8_t bytes
      __attribute__((vector_size(VECTOR_BYTES / sizeof(T)), aligned(1), may_alias));
};

template <typename T, int BYTES>
struct Part {
  typedef T type __attribute__((vector_size(BYTES)));
};

template <typename T>
using V = typename Vector<T>::type;
template <typename T>
using M = typename Vector<T>::mask;

template <typename T>
inline V<T> load(const T* p) {
  return *reinterpret_cast<const typename Vector<T>::loose*>(p);
}

template <typename T>
inline void store(T* p, V<T> v) {
  *reinterpret_cast<typename Vector<T>::loose*>(p) = v;
}

template <typename T>
inline V<T> all(T value) {
  // Unlike a sum with zero, which turns -0 into 0, this costs nothing.
  return value - V<T>{};
}

// True where there is a byte that is not zero.
template <typename T>
inline M<T> load_mask(const uint8_t* p) {
  auto b = *reinterpret_cast<const typename Vector<T>::bytes*>(p);
  return __builtin_convertvector(b, M<T>) != 0;
}

// True in the first so many lanes.
template <typename T>
inline M<T> first_lanes(int64_t count) {
  M<T> lane;
  for (int64_t k = 0; k < Vector<T>::lanes; ++k) lane[k] = k;
  return lane < static_cast<typename Vector<T>::Int>(count);
}

// All lanes into one, by halves.
template <typename T, int BYTES = VECTOR_BYTES, typename F>
inline T fold(const typename Part<T, BYTES>::type& v, F f) {
  if constexpr (BYTES == sizeof(T)) {
    return v[0];
  } else {
    typename Part<T, BYTES / 2>::type low, high;
    std::memcpy(&low, &v, BYTES / 2);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + BYTES / 2,
                BYTES / 2);
    return fold<T, BYTES / 2>(f(low, high), f);
  }
}

template <typename T>
inline T sum(V<T> v) {
  return fold<T>(v, [](auto a, auto b) { return a + b; });
}

template <typename T>
inline T maximum(V<T> v) {
  return fold<T>(v, [](auto a, auto b) { return a < b ? b : a; });
}

template <typename T>
inline T minimum(V<T> v) {
  return fold<T>(v, [](auto a, auto b) { return b < a ? b : a; });
}

// Of two vectors in a square of them, S apart, swaps the half of the first
// that belongs to the second with that of the second.
template <typename T, int S, int64_t... I>
inline void swap_halves(V<T>& a, V<T>& b, std::integer_sequence<int64_t, I...>) {
  constexpr int64_t L = sizeof...(I);
#if defined(__clang__)
  const V<T> low =
      __builtin_shufflevector(a, b, (I & S ? L + I - S : I)...);
  const V<T> high = __builtin_shufflevector(a, b, (I & S ? L + I : I + S)...);
#else
  const V<T> low = __builtin_shuffle(a, b, M<T>{(I & S ? L + I - S : I)...});
  const V<T> high = __builtin_shuffle(a, b, M<T>{(I & S ? L + I : I + S)...});
#endif
  a = low, b = high;
}

template <typename T, int S>
inline void swap_halves(V<T>& a, V<T>& b) {
  swap_halves<T, S>(a, b,
                    std::make_integer_sequence<int64_t, Vector<T>::lanes>());
}

// As many vectors as they have lanes, transposed in place.
template <typename T, int S = Vector<T>::lanes / 2>
inline void transpose_square(V<T>* v) {
#pragma GCC unroll 16
  for (int k = 0; k < Vector<T>::lanes; ++k)
    if (!(k & S)) swap_halves<T, S>(v[k], v[k + S]);
  if constexpr (S > 1) transpose_square<T, S / 2>(v);
}

// The sums over the lanes of as many vectors, each in a lane of the result.
// Together they cost a fifth of what they would one by one.
template <typename T, int S = Vector<T>::lanes / 2>
inline V<T> sums(V<T>* v) {
#pragma GCC unroll 8
  for (int k = 0; k < S; ++k) {
    swap_halves<T, S>(v[k], v[k + S]);
    v[k] += v[k + S];
  }
  if constexpr (S > 1)
    return sums<T, S / 2>(v);
  else
    return v[0];
}

// A bit for each lane that is true.
template <typename T>
inline uint32_t bits(M<T> mask) {
#if defined(__AVX512DQ__)
  if constexpr (sizeof(T) == 4)
    return _mm512_movepi32_mask((__m512i)mask);
  else
    return _mm512_movepi64_mask((__m512i)mask);
#else
  uint32_t out = 0;
  for (int64_t k = 0; k < Vector<T>::lanes; ++k) out |= (mask[k] & 1) << k;
  return out;
#endif
}

// NaN stays NaN in all of these, so that a training that fails is seen.
template <typename T>
inline V<T> relu(V<T> v) {
  return v < T(0) ? V<T>{} : v;
}

// To two units in the last place. Anything below the least normal number
// counts as zero.
inline V<float> exponential(V<float> x) {
  x = x > 88.3f ? all(88.3f) : x;
  M<float> none = x < -87.3f;
  x = none ? V<float>{} : x;
  // Adding 1.5 * 2^23 rounds to an integer, which is in the lowest bits then.
  const float magic = 12582912.f;
  V<float> t = x * 1.44269504088896341f + magic;
  M<float> power = (M<float>)t - (M<float>)all(magic);
  V<float> n = t - magic;
  V<float> r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  V<float> p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  p = (V<float>)((M<float>)p + (power << 23));
  return none ? V<float>{} : p;
}

inline V<double> exponential(V<double> x) {
  for (int64_t k = 0; k < Vector<double>::lanes; ++k) x[k] = std::exp(x[k]);
  return x;
}

inline int64_t padded(int64_t size, int64_t lanes) {
  return (size + lanes - 1) / lanes * lanes;
}

// The first so many numbers, fewer than lanes or all, the rest zero.
template <typename T>
inline V<T> load_first(const T* p, int64_t count) {
  if (count >= Vector<T>::lanes) return load(p);
#if defined(__AVX512DQ__)
  const uint32_t some = (1u << count) - 1;
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_maskz_loadu_ps(some, p);
  else
    return (V<T>)_mm512_maskz_loadu_pd(some, p);
#else
  V<T> out = {};
  std::memcpy(&out, p, count * sizeof(T));
  return out;
#endif
}

template <typename T>
inline void store_first(T* p, V<T> v, int64_t count) {
  if (count >= Vector<T>::lanes) return store(p, v);
#if defined(__AVX512DQ__)
  const uint32_t some = (1u << count) - 1;
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_ps(p, some, (__m512)v);
  else
    _mm512_mask_storeu_pd(p, some, (__m512d)v);
#else
  std::memcpy(p, &v, count * sizeof(T));
#endif
}
