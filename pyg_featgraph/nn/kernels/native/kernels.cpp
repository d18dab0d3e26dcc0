// What Python calls: each function for float and for double. Tensors are
// contiguous, and those that are left out are null.
#include "field_product.h"
#include "gated_steps.h"
#include "induced_set.h"
#include "lookup.h"
#include "row_product.h"
#include "selected_attention.h"
#include "small_attention.h"
#include "sum_softmax.h"
#include "tuple_product.h"

#define INT int64_t

#define KERNELS(T, NAME)                                                       \
  extern "C" void pair_score_##NAME(                                           \
      const T* x, const T* weight, const T* bias, const T* att,                \
      const T* att_bias, T* out, INT size, INT n, INT d, INT h,                \
      INT threads) {                                                           \
    pair_score(x, weight, bias, att, att_bias, out, size, n, d, h, threads);   \
  }                                                                            \
  extern "C" void pair_score_backward_##NAME(                                  \
      const T* grad, const T* out, const T* x, const T* weight, const T* bias, \
      const T* att, T* grad_x, T* grad_weight, T* grad_bias, T* grad_att,      \
      T* grad_att_bias, INT size, INT n, INT d, INT h, INT threads) {          \
    pair_score_backward(grad, out, x, weight, bias, att, grad_x, grad_weight,  \
                        grad_bias, grad_att, grad_att_bias, size, n, d, h,     \
                        threads);                                              \
  }                                                                            \
  extern "C" void top_m_##NAME(const T* weight, T* out, INT rows, INT n,       \
                               INT m, INT keep_ties, INT threads) {            \
    top_m(weight, out, rows, n, m, keep_ties, threads);                        \
  }                                                                            \
  extern "C" void top_m_backward_##NAME(const T* grad, const T* out,           \
                                        T* grad_weight, INT size,              \
                                        INT threads) {                         \
    top_m_backward(grad, out, grad_weight, size, threads);                     \
  }                                                                            \
  extern "C" void hadamard_attention_##NAME(                                   \
      const T* x, const T* att, const T* bias, const T* scale, INT scale_row,  \
      INT scale_head, const uint8_t* keep, INT keep_row, INT keep_head,        \
      const T* drop, double slope, INT scale_logits, T* out, INT size, INT n,  \
      INT d, INT heads, INT threads) {                                         \
    Pairs<T> pairs{scale,    scale_row, scale_head, keep,                      \
                   keep_row, keep_head, drop,       T(slope),                  \
                   scale_logits != 0};                                         \
    hadamard_attention(x, att, bias, pairs, out, size, n, d, heads, threads);  \
  }                                                                            \
  extern "C" void hadamard_attention_backward_##NAME(                          \
      const T* grad, const T* x, const T* att, const T* bias, const T* scale,  \
      INT scale_row, INT scale_head, const uint8_t* keep, INT keep_row,        \
      INT keep_head, const T* drop, double slope, INT scale_logits, T* grad_x, \
      T* grad_att, T* grad_bias, T* grad_scale, INT scale_heads, INT size,     \
      INT n, INT d, INT heads, INT threads) {                                  \
    Pairs<T> pairs{scale,    scale_row, scale_head, keep,                      \
                   keep_row, keep_head, drop,       T(slope),                  \
                   scale_logits != 0};                                         \
    hadamard_attention_backward(grad, x, att, bias, pairs, grad_x, grad_att,   \
                                grad_bias, grad_scale, scale_heads, size, n,   \
                                d, heads, threads);                            \
  }                                                                            \
  extern "C" void field_product_##NAME(const T* x, const T* weight, T* y,      \
                                       INT size, INT n, INT fields, INT heads, \
                                       INT in, INT out, INT threads) {         \
    field_product(x, weight, y, size, n, fields, heads, in, out, threads);     \
  }                                                                            \
  extern "C" void field_product_backward_##NAME(                               \
      const T* grad, const T* x, const T* weight, T* grad_x, T* grad_weight,   \
      INT size, INT n, INT fields, INT heads, INT in, INT out, INT threads) {  \
    field_product_backward(grad, x, weight, grad_x, grad_weight, size, n,      \
                           fields, heads, in, out, threads);                   \
  }                                                                            \
  extern "C" void gated_steps_##NAME(                                          \
      const T* x, const T* weight, const T* outgoing, const T* incoming,       \
      const T* weight_ih, const T* weight_hh, const T* bias_ih,                \
      const T* bias_hh, T* out, INT shared, INT count, INT own_steps,          \
      INT fields, INT size, INT n, INT d, INT threads) {                       \
    const Gates<T> gates(weight_ih, weight_hh, bias_ih, bias_hh, d);           \
    const Steps<T> steps(outgoing, incoming, gates, count, own_steps, fields,  \
                         n);                                                   \
    gated_steps(x, weight, steps, out, shared, size, threads);                 \
  }                                                                            \
  extern "C" void gated_steps_backward_##NAME(                                 \
      const T* grad, const T* x, const T* weight, const T* outgoing,           \
      const T* incoming, const T* weight_ih, const T* weight_hh,               \
      const T* bias_ih, const T* bias_hh, T* grad_x, T* grad_weight,           \
      T* grad_outgoing, T* grad_incoming, T* grad_weight_ih,                   \
      T* grad_weight_hh, T* grad_bias_ih, T* grad_bias_hh, INT shared,         \
      INT count, INT own_steps, INT fields, INT size, INT n, INT d,            \
      INT threads) {                                                           \
    const Gates<T> gates(weight_ih, weight_hh, bias_ih, bias_hh, d);           \
    const Steps<T> steps(outgoing, incoming, gates, count, own_steps, fields,  \
                         n);                                                   \
    gated_steps_backward(grad, x, weight, steps, grad_x, grad_weight,          \
                         grad_outgoing, grad_incoming, grad_weight_ih,         \
                         grad_weight_hh, grad_bias_ih, grad_bias_hh, shared,   \
                         size, threads);                                       \
  }                                                                            \
  extern "C" void gru_step_##NAME(                                             \
      const T* in, const T* h, const T* first, const T* weight_ih,             \
      const T* weight_hh, const T* bias_ih, const T* bias_hh, T* out,          \
      INT size, INT d, INT threads) {                                          \
    gru_step(in, h, first, weight_ih, weight_hh, bias_ih, bias_hh, out, size,  \
             d, threads);                                                      \
  }                                                                            \
  extern "C" void gru_step_backward_##NAME(                                    \
      const T* grad, const T* in, const T* h, const T* weight_ih,              \
      const T* weight_hh, const T* bias_ih, const T* bias_hh, T* grad_in,      \
      T* grad_h, T* grad_weight_ih, T* grad_weight_hh, T* grad_bias_ih,        \
      T* grad_bias_hh, INT size, INT d, INT threads) {                         \
    gru_step_backward(grad, in, h, weight_ih, weight_hh, bias_ih, bias_hh,     \
                      grad_in, grad_h, grad_weight_ih, grad_weight_hh,         \
                      grad_bias_ih, grad_bias_hh, size, d, threads);           \
  }                                                                            \
  extern "C" void induced_set_attention_##NAME(                                \
      const T* x, const T* weight, const T* query, const T* bounds, T* out,    \
      INT size, INT n, INT d, INT sets, INT count, INT threads) {              \
    induced_set_attention(x, weight, query, bounds, out, size, n, d, sets,     \
                          count, threads);                                     \
  }                                                                            \
  extern "C" void induced_set_attention_backward_##NAME(                       \
      const T* grad, const T* x, const T* weight, const T* query,              \
      const T* bounds, T* grad_x, T* grad_weight, T* grad_query,               \
      T* grad_bounds, INT size, INT n, INT d, INT sets, INT count, INT row,    \
      INT set, INT threads) {                                                  \
    induced_set_attention_backward(grad, x, weight, query, bounds, grad_x,     \
                                   grad_weight, grad_query, grad_bounds, size, \
                                   n, d, sets, count, row, set, threads);      \
  }                                                                            \
  extern "C" void lookup_##NAME(const T* weight, const INT* index,             \
                                const T* value, T* out, INT count, INT d,      \
                                INT threads) {                                 \
    lookup(weight, index, value, out, count, d, threads);                      \
  }                                                                            \
  extern "C" void lookup_backward_##NAME(                                      \
      const T* grad, const INT* index, const T* value, T* grad_weight,         \
      INT rows, INT count, INT d, INT threads) {                               \
    lookup_backward(grad, index, value, grad_weight, rows, count, d, threads); \
  }                                                                            \
  extern "C" void row_product_##NAME(                                          \
      const T* weight, const T* x, const T* gate, T* out, INT shared,          \
      INT size, INT n, INT m, INT d, INT threads) {                            \
    row_product(weight, x, gate, out, shared, size, n, m, d, threads);         \
  }                                                                            \
  extern "C" void row_product_backward_##NAME(                                 \
      const T* grad, const T* weight, const T* x, const T* gate,               \
      T* grad_weight, T* grad_x, T* grad_gate, INT shared, INT size, INT n,    \
      INT m, INT d, INT threads) {                                             \
    row_product_backward(grad, weight, x, gate, grad_weight, grad_x,           \
                         grad_gate, shared, size, n, m, d, threads);           \
  }                                                                            \
  extern "C" void small_attention_##NAME(const T* query, const T* key,         \
                                         const T* value, T* out, INT size,     \
                                         INT n, INT heads, INT c,              \
                                         INT threads) {                        \
    small_attention(query, key, value, out, size, n, heads, c, threads);       \
  }                                                                            \
  extern "C" void small_attention_backward_##NAME(                             \
      const T* grad, const T* query, const T* key, const T* value,             \
      T* grad_query, T* grad_key, T* grad_value, INT size, INT n, INT heads,   \
      INT c, INT threads) {                                                    \
    small_attention_backward(grad, query, key, value, grad_query, grad_key,    \
                             grad_value, size, n, heads, c, threads);          \
  }                                                                            \
  extern "C" void selected_attention_##NAME(                                   \
      const T* x, const T* weight, const T* bias, const T* score_att,          \
      const T* score_bias, const T* att, const T* att_bias, const T* drop,     \
      double slope, INT scale_logits, INT m, INT keep_ties, T* out,            \
      T* selected, INT size, INT n, INT d, INT h, INT heads, INT threads) {    \
    selected_attention(x, weight, bias, score_att, score_bias, att, att_bias,  \
                       drop, slope, scale_logits, m, keep_ties, out, selected, \
                       size, n, d, h, heads, threads);                         \
  }                                                                            \
  extern "C" void selected_attention_backward_##NAME(                          \
      const T* grad, const T* selected, const T* x, const T* weight,           \
      const T* bias, const T* score_att, const T* att, const T* att_bias,      \
      const T* drop, double slope, INT scale_logits, T* grad_x,                \
      T* grad_weight, T* grad_bias, T* grad_score_att, T* grad_score_bias,     \
      T* grad_att, T* grad_att_bias, INT size, INT n, INT d, INT h, INT heads, \
      INT threads) {                                                           \
    selected_attention_backward(grad, selected, x, weight, bias, score_att,    \
                                att, att_bias, drop, slope, scale_logits,      \
                                grad_x, grad_weight, grad_bias,                \
                                grad_score_att, grad_score_bias, grad_att,     \
                                grad_att_bias, size, n, d, h, heads, threads); \
  }                                                                            \
  extern "C" void sum_softmax_##NAME(                                          \
      const T* target, const T* source, const uint8_t* keep, INT keep_row,     \
      double slope, T* out, INT size, INT n, INT m, INT threads) {             \
    sum_softmax(target, source, keep, keep_row, T(slope), out, size, n, m,     \
                threads);                                                      \
  }                                                                            \
  extern "C" void sum_softmax_backward_##NAME(                                 \
      const T* grad, const T* out, const T* target, const T* source,           \
      double slope, T* grad_target, T* grad_source, INT size, INT n, INT m,    \
      INT threads) {                                                           \
    sum_softmax_backward(grad, out, target, source, T(slope), grad_target,     \
                         grad_source, size, n, m, threads);                    \
  }

#define SETS                                                                   \
  const int64_t *shared, const int64_t *ptr, const int64_t *other,             \
      const int64_t *place, INT count, INT groups, INT num_shared

#define SET_KERNELS(T, NAME)                                                   \
  extern "C" void tuple_product_##NAME(const T* x, const T* weight, SETS,      \
                                       T* out, INT size, INT n, INT d,         \
                                       INT threads) {                          \
    const Sets sets{shared, ptr, other, place, count, groups, num_shared};     \
    tuple_product(x, weight, sets, out, size, n, d, threads);                  \
  }                                                                            \
  extern "C" void tuple_product_backward_##NAME(                               \
      const T* grad, const T* x, const T* weight, SETS, T* grad_x,             \
      T* grad_weight, INT size, INT n, INT d, INT threads) {                   \
    const Sets sets{shared, ptr, other, place, count, groups, num_shared};     \
    tuple_product_backward(grad, x, weight, sets, grad_x, grad_weight, size,   \
                           n, d, threads);                                     \
  }

KERNELS(float, f32)
KERNELS(double, f64)
SET_KERNELS(float, f32)
SET_KERNELS(double, f64)
