// The loops behind kernels.h for float32 on the processor. Raw pointers, one thread: the callers cut the work.
#pragma once

#include <cstdint>

namespace introspect::kernel {

// One sequence and one key-value head of attention.
struct AttentionItem {
  const float* query;  // first query row of this sequence, first head of the group; rows are query_stride apart
  const float* key;    // own keys of this head, rows key_stride apart
  const float* value;
  const float* prefix_key;  // rows in front of the own ones, or null
  const float* prefix_value;
  const int64_t* visible;  // [queries] how many own keys each query sees
  int64_t queries, keys, prefix, group, head_dim;
  int64_t query_stride, key_stride;
  float scale;
  float* output;   // like query
  float* log_sum;  // [queries] of the first head of the group, rows log_sum_stride apart
  int64_t log_sum_stride;
};
void attention_forward(const AttentionItem& item);

struct AttentionGradient {
  AttentionItem item;            // output and log_sum as the forward pass left them
  const float* output_gradient;  // like query
  float* query_gradient;         // like query, written
  float* key_gradient;           // like key, written
  float* value_gradient;
};
void attention_backward(const AttentionGradient& gradient);

void rms_norm_forward(const float* x, const float* weight, float* y, float* inverse, int64_t rows, int64_t width,
                      float epsilon);
// weight_gradient is added to.
void rms_norm_backward(const float* x, const float* weight, const float* inverse, const float* dy, float* dx,
                       float* weight_gradient, int64_t rows, int64_t width);

// Rotates [rows, heads, head_dim] by the angles of each row (half-split layout); sign -1 rotates back.
void rotate(const float* x, const float* cosine, const float* sine, float* y, int64_t rows, int64_t heads,
            int64_t head_dim, float sign);

void gated_silu_forward(const float* gate, const float* up, float* y, int64_t count);
void gated_silu_backward(const float* gate, const float* up, const float* dy, float* dgate, float* dup, int64_t count);

// log(sum(exp(row))) of each row.
void log_sum_exp(const float* logits, float* result, int64_t rows, int64_t width);
// gradient[i] = (softmax(logits[i]) - onehot(target[i])) * weight[i]; may be written in place.
void cross_entropy_backward(const float* logits, const float* log_sums, const int64_t* targets, const float* weights,
                            float* gradient, int64_t rows, int64_t width);

// Few rows x [rows, in] times a weight [out, in] of 16-bit or scaled 8-bit numbers, y[r * y_stride + o]: each weight is
// read once from memory for four rows at a time.
void few_rows_bf16(const float* x, int64_t rows, int64_t in, const uint16_t* weight, int64_t out, float* y,
                   int64_t y_stride);
void few_rows_int8(const float* x, int64_t rows, int64_t in, const int8_t* weight, const float* scale, int64_t out,
                   float* y, int64_t y_stride);
// weight [rows, in] in steps of a 127th of each row's largest absolute number. False where a number is not finite.
bool quantise_int8(const float* weight, int8_t* result, float* scale, int64_t rows, int64_t in);
// weight [rows, in] times its rows' scales as bfloat16, rounded to nearest even.
void widen_int8(const int8_t* weight, const float* scale, uint16_t* result, int64_t rows, int64_t in);

}  // namespace introspect::kernel
