// Score, selection and attention of a row in one go: see
// ../selected_attention.py.
#pragma once

#include "hadamard_attention.h"
#include "pair_score.h"
#include "top_m.h"

// What is passed between the parts is that of one row, in the cache. The
// selected scores are kept for the backward pass, if there is to be one.
template <typename T>
void selected_attention(const T* x, const T* weight, const T* bias,
                        const T* score_att, const T* score_bias, const T* att,
                        const T* att_bias, const T* drop, double slope,
                        int64_t scale_logits, int64_t m, int64_t keep_ties,
                        T* out, T* selected, int64_t size, int64_t n, int64_t d,
                        int64_t h, int64_t heads, int64_t threads) {
  const ScoreWeights<T> weights(weight, bias, score_att, *score_bias, n, d, h);
  std::vector<T> queries(heads * weights.dp);
  copy_padded(att, heads, d, d, queries.data(), weights.dp);
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t) {
    Workspace& own = workspace().reset();
    T* last = own.take<T>(n * n);
    const Pairs<T> pairs{selected ? selected : last,
                         selected ? n * n : 0,
                         0,
                         nullptr,
                         0,
                         0,
                         drop,
                         T(slope),
                         scale_logits != 0};
    AttentionRow<T> row(n, d, heads, own);
    ScoreRow<T> scores(weights, own);
    T* all_scores = own.take<T>(n * n);
    T* columns = own.take<T>(n * row.lanes);
    for (int64_t b = start; b < stop; ++b) {
      T* chosen = selected ? selected + b * n * n : last;
      scores.score(x + b * n * d, m < n ? all_scores : chosen);
      for (int64_t i = 0; m < n && i < n; i += row.lanes)
        keep_largest(all_scores + i * n, chosen + i * n, columns,
                     std::min(row.lanes, n - i), n, m, keep_ties != 0);
      attend(row, pairs, b, x + b * n * d, queries.data(), att_bias,
             out + b * n * heads * d);
    }
  });
}

template <typename T>
void selected_attention_backward(
    const T* grad, const T* selected, const T* x, const T* weight,
    const T* bias, const T* score_att, const T* att, const T* att_bias,
    const T* drop, double slope, int64_t scale_logits, T* grad_x,
    T* grad_weight, T* grad_bias, T* grad_score_att, T* grad_score_bias,
    T* grad_att, T* grad_att_bias, int64_t size, int64_t n, int64_t d,
    int64_t h, int64_t heads, int64_t threads) {
  const ScoreWeights<T> weights(weight, bias, score_att, T(0), n, d, h);
  const int64_t dp = weights.dp, own_sums = heads * (dp + 1);
  std::vector<T> queries(heads * dp);
  copy_padded(att, heads, d, d, queries.data(), dp);
  const Pairs<T> pairs{selected, n * n, 0,        nullptr,          0, 0,
                       drop,     T(slope), scale_logits != 0};
  Shares<T> shares(threads, own_sums + ScoreRowBackward<T>::num_sums(weights));
  in_threads(size, threads, [&](int64_t start, int64_t stop, int64_t thread) {
    Workspace& own = workspace().reset();
    T* sums = shares.of(thread);
    AttentionRow<T> row(n, d, heads, own);
    ScoreRowBackward<T> scores(weights, sums + own_sums, own);
    T* grad_scale = own.take<T>(n * n);
    for (int64_t b = start; b < stop; ++b) {
      const T* chosen = selected + b * n * n;
      attend_backward(row, pairs, b, grad + b * n * heads * d, x + b * n * d,
                      queries.data(), att_bias, 1, grad_scale, sums);
      // Edges of weight zero that take part have no gradient all the same,
      // since they were not selected:
      for (int64_t k = 0; k < n * n; ++k)
        grad_scale[k] = chosen[k] == 0 ? T(0) : grad_scale[k];
      scores.backward(grad_scale, chosen, row.xp, row.gx);
      row.write_gradient(grad_x + b * n * d);
    }
  });
  for (int64_t head = 0; head < heads; ++head)
    shares.add_to(grad_att + head * d, head * dp, d);
  shares.add_to(grad_att_bias, heads * dp, heads);
  ScoreRowBackward<T>::finish(weights, shares, own_sums, grad_weight, grad_bias,
                              grad_score_att, grad_score_bias);
}
