// The score of every pair of nodes of a row: see ../pair_score.py.
#pragma once

#include "memory.h"
#include "product.h"

// The parameters, with zeros behind and the first layer in both orders.
template <typename T>
struct ScoreWeights {
  int64_t n, d, h, dp, hp;
  const T *weight, *bias, *att;
  T att_bias;
  std::vector<T> by_input, by_hidden, padded_bias;

  ScoreWeights(const T* weight, const T* bias, const T* att, T att_bias,
               int64_t n, int64_t d, int64_t h)
      : n(n), d(d), h(h), dp(padded(d, Vector<T>::lanes)),
        hp(padded(h, Vector<T>::lanes)), weight(weight), bias(bias), att(att),
        att_bias(att_bias), by_input(d * hp), by_hidden(h * dp),
        padded_bias(hp) {
    transpose_padded(weight, h, d, d, by_input.data(), hp);
    copy_padded(weight, h, d, d, by_hidden.data(), dp);
    for (int64_t k = 0; k < h * dp; ++k) by_hidden[k] *= att[k / dp];
    std::copy(bias, bias + h, padded_bias.begin());
  }
};

// The pairs (i, i + s mod n) of some shifts s at a time, so that their products
// stay in the cache.
template <typename T>
class ScoreRow {
 public:
  ScoreRow(const ScoreWeights<T>& weights, Workspace& own) : p_(weights) {
    const int64_t n = p_.n, d = p_.d;
    shifts_ = n / 2 + 1;
    twice_ = padded(2 * n + lanes, lanes);
    step_ = std::max<int64_t>(
        1, std::min<int64_t>(shifts_, 65536 / (d * n * sizeof(T))));
    ld_ = padded(step_ * n + lanes, block);
    xt_ = own.take<T>(d * twice_);
    v_ = own.take<T>(d * ld_);
    z_ = own.take<T>(p_.h * block);
    score_ = own.take<T>(ld_);
    std::fill(v_, v_ + d * ld_, T(0));
  }

  // The scores [n][n] of the nodes [n][d] of a row.
  void score(const T* x, T* out) {
    const int64_t n = p_.n, d = p_.d;
    transpose_padded(x, n, d, d, xt_, twice_);
    for (int64_t k = 0; k < d; ++k)
      std::copy(xt_ + k * twice_, xt_ + k * twice_ + n, xt_ + k * twice_ + n);
    for (int64_t s0 = 0; s0 < shifts_; s0 += step_) {
      const int64_t s1 = std::min(s0 + step_, shifts_);
      multiply(s0, s1);
      for (int64_t p = 0; p < (s1 - s0) * n; p += block) score_block(p);
      for (int64_t s = s0; s < s1; ++s) {
        const T* from = score_ + (s - s0) * n;
        for (int64_t i = 0; i + s < n; ++i)
          out[i * n + i + s] = out[(i + s) * n + i] = from[i];
        for (int64_t i = n - s; i < n; ++i)
          out[i * n + i + s - n] = out[(i + s - n) * n + i] = from[i];
      }
    }
  }

 private:
  static constexpr int64_t lanes = Vector<T>::lanes, block = 3 * lanes;

  void multiply(int64_t s0, int64_t s1) {
    const int64_t n = p_.n;
    for (int64_t k = 0; k < p_.d; ++k)
      for (int64_t s = s0; s < s1; ++s) {
        const T *a = xt_ + k * twice_, *c = a + s;
        T* to = v_ + k * ld_ + (s - s0) * n;
        // What is written behind the last node, the next shift overwrites.
        for (int64_t i = 0; i < n; i += lanes)
          store(to + i, load(a + i) * load(c + i));
      }
  }

  void score_block(int64_t p) {
    product(p_.h, block, p_.d, p_.weight, p_.d, 1, v_ + p, ld_, z_, block);
    V<T> total[3] = {};
    for (int64_t k = 0; k < p_.h; ++k)
#pragma GCC unroll 3
      for (int m = 0; m < 3; ++m)
        total[m] += p_.att[k] *
                    relu<T>(load(z_ + k * block + m * lanes) + p_.bias[k]);
    for (int m = 0; m < 3; ++m)
      store(score_ + p + m * lanes,
            T(1) / (T(1) + exponential(-(total[m] + p_.att_bias))));
  }

  const ScoreWeights<T>& p_;
  int64_t shifts_, twice_, step_, ld_;
  T *xt_, *v_, *z_, *score_;
};

// The hidden layer is computed again, for the pairs with a gradient only: after
// a selection many have none. With the sums s_k of g v and c_k of g over the
// pairs whose hidden value k is positive, all gradients of parameters follow:
// a_k s_k of W_k, a_k c_k of b_k, and W_k s_k + b_k c_k of a_k.
template <typename T>
class ScoreRowBackward {
 public:
  static int64_t num_sums(const ScoreWeights<T>& p) {
    return p.h * p.dp + p.hp + 1;
  }

  ScoreRowBackward(const ScoreWeights<T>& weights, T* sums, Workspace& own)
      : p_(weights), sums_(sums) {
    t_ = own.take<T>(p_.n * p_.n);
    v_ = own.take<T>(block * p_.dp);
    gv_ = own.take<T>(block * p_.dp);
    z_ = own.take<T>(block * p_.hp);
    g_ = own.take<T>(block);
    own_sums_ = own.take<T>(num_sums(p_));
  }

  // Adds to the gradients [n][dp] of the padded nodes [n][dp] of a row.
  void backward(const T* grad, const T* score, const T* xp, T* gx) {
    const int64_t n = p_.n;
    // The sums of one row first, which loses less than one sum over all:
    std::fill(own_sums_, own_sums_ + num_sums(p_), T(0));
    V<T> total = {};
    by_vectors<T>(n * n, [&](int64_t k, int64_t some) {
      const V<T> p = load_first(score + k, some);
      const V<T> one = load_first(grad + k, some) * p * (T(1) - p);
      store_first(t_ + k, one, some);
      total += one;
    });
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i; j < n; ++j) {
        // Both entries of a symmetric pair flow into its score. Which have a
        // gradient is as good as random, so that there had better be no branch.
        const T one = i == j ? t_[i * n + i] : t_[i * n + j] + t_[j * n + i];
        first_[count_] = i, second_[count_] = j, g_[count_] = one;
        count_ += one != 0;
        if (count_ == block) flush(xp, gx);
      }
    if (count_) flush(xp, gx);
    own_sums_[p_.h * p_.dp + p_.hp] = sum<T>(total);
    add_few(own_sums_, num_sums(p_), sums_);
  }

  static void finish(const ScoreWeights<T>& p, const Shares<T>& shares,
                     int64_t offset, T* grad_weight, T* grad_bias, T* grad_att,
                     T* grad_att_bias) {
    const int64_t d = p.d, behind = offset + p.h * p.dp;
    shares.add_to(grad_bias, behind, p.h);
    shares.add_to(grad_att_bias, behind + p.hp, 1);
    for (int64_t k = 0; k < p.h; ++k) {
      T *gw = grad_weight + k * d, total = p.bias[k] * grad_bias[k];
      shares.add_to(gw, offset + k * p.dp, d);
      for (int64_t m = 0; m < d; ++m) total += p.weight[k * d + m] * gw[m];
      for (int64_t m = 0; m < d; ++m) gw[m] *= p.att[k];
      grad_att[k] = total;
      grad_bias[k] *= p.att[k];
    }
  }

 private:
  static constexpr int64_t lanes = Vector<T>::lanes, block = 64;

  void flush(const T* xp, T* gx) {
    const int64_t dp = p_.dp, hp = p_.hp;
    for (int64_t k = 0; k < dp; k += lanes)
      for (int64_t p = 0; p < count_; ++p)
        store(v_ + p * dp + k,
              load(xp + first_[p] * dp + k) * load(xp + second_[p] * dp + k));
    product(count_, hp, p_.d, v_, dp, 1, p_.by_input.data(), hp, z_, hp);
    T* g_bias = own_sums_ + p_.h * dp;
    for (int64_t k = 0; k < hp; k += lanes) {
      const V<T> bk = load(p_.padded_bias.data() + k);
      V<T> gb = load(g_bias + k);
      for (int64_t p = 0; p < count_; ++p) {
        const V<T> hidden = load(z_ + p * hp + k) + bk;
        const V<T> gz = hidden <= T(0) ? V<T>{} : all(g_[p]);
        gb += gz;
        store(z_ + p * hp + k, gz);
      }
      store(g_bias + k, gb);
    }
    product<T, true>(p_.h, dp, count_, z_, 1, hp, v_, dp, own_sums_, dp);
    product(count_, dp, p_.h, z_, hp, 1, p_.by_hidden.data(), dp, gv_, dp);
    for (int64_t k = 0; k < dp; k += lanes) scatter(xp + k, gx + k, gv_ + k);
    count_ = 0;
  }

  void scatter(const T* xp, T* gx, const T* gv) {
    const int64_t dp = p_.dp;
    for (int64_t p = 0; p < count_;) {
      // Pairs of the same first node follow each other.
      const int64_t i = first_[p];
      const V<T> xi = load(xp + i * dp);
      V<T> to = load(gx + i * dp);
      for (; p < count_ && first_[p] == i; ++p) {
        const int64_t j = second_[p];
        const V<T> one = load(gv + p * dp);
        T* from = gx + j * dp;
        to += one * load(xp + j * dp);
        if (i == j)
          to += one * xi;
        else
          store(from, load(from) + one * xi);
      }
      store(gx + i * dp, to);
    }
  }

  const ScoreWeights<T>& p_;
  T *sums_, *t_, *v_, *gv_, *z_, *g_, *own_sums_;
  int64_t count_ = 0, first_[block], second_[block];
};

template <typename T>
void pair_score(const T* x, const T* weight, const T* bias, const T* att,
                const T* att_bias, T* out, int64_t size, int64_t n, int64_t d,
                int64_t h, int64_t threads) {
  const ScoreWeights<T> weights(weight, bias, att, *att_bias, n, d, h);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    ScoreRow<T> row(weights, workspace().reset());
    for (int64_t b = start; b < stop; ++b)
      row.score(x + b * n * d, out + b * n * n);
  });
}

template <typename T>
void pair_score_backward(const T* grad, const T* out, const T* x,
                         const T* weight, const T* bias, const T* att,
                         T* grad_x, T* grad_weight, T* grad_bias, T* grad_att,
                         T* grad_att_bias, int64_t size, int64_t n, int64_t d,
                         int64_t h, int64_t threads) {
  const ScoreWeights<T> weights(weight, bias, att, T(0), n, d, h);
  const int64_t dp = weights.dp;
  Shares<T> shares(threads, ScoreRowBackward<T>::num_sums(weights));
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    Workspace& own = workspace().reset();
    T* xp = own.take<T>(n * dp);
    T* gx = own.take<T>(n * dp);
    ScoreRowBackward<T> row(weights, shares.of(thread), own);
    for (int64_t b = start; b < stop; ++b) {
      copy_padded(x + b * n * d, n, d, d, xp, dp);
      std::fill(gx, gx + n * dp, T(0));
      row.backward(grad + b * n * n, out + b * n * n, xp, gx);
      copy_back(gx, n, d, dp, grad_x + b * n * d, d);
    }
  });
  ScoreRowBackward<T>::finish(weights, shares, 0, grad_weight, grad_bias,
                              grad_att, grad_att_bias);
}
