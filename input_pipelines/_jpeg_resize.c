/* Pillow's antialiased bilinear resize of 8-bit pixels, bit for bit: the rows first, then the columns, both in fixed
   point (Pillow 13, src/libImaging/Resample.c). Faster than Pillow because both passes work on vectors. */
#include "_jpeg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PRECISION (32 - 8 - 2) /* bits behind the point: Pillow's */
#define BLOCK 32               /* bytes of a row that the second pass holds in registers */

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(DAYBREAK_ONE_TARGET)
#define FOR_EACH_TARGET __attribute__((target_clones("avx2", "default"))) /* chosen when the module is loaded */
#else
#define FOR_EACH_TARGET
#endif

#if defined(__has_builtin) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#if __has_builtin(__builtin_shufflevector)
#define NARROW_BY_SHUFFLE
#endif
#endif

/* A pixel of one row, and the pixel below it: red, green, blue and nothing, twice. */
typedef int32_t Pair __attribute__((vector_size(32), aligned(4)));
typedef uint8_t Bytes __attribute__((vector_size(32)));

static double triangle(double x) {
  return fabs(x) < 1.0 ? 1.0 - fabs(x) : 0.0;
}

/* The samples that result i is made of, as Pillow rounds them: from *first, the number that is returned. */
static int window(int i, int from, double scale, double support, int *first) {
  double center = (i + 0.5) * scale;
  int begin = (int)(center - support + 0.5), end = (int)(center + support + 0.5);
  *first = begin < 0 ? 0 : begin;
  return (end > from ? from : end) - *first;
}

/* Weights that take `from` samples to `to`, for the results in the other order if mirrored; 0 without memory. All
   results get the same number of weights, some of them zero: a loop whose length changes costs more than it saves. */
int make_filter(Filter *filter, int from, int to, int mirrored) {
  double scale = (double)from / to, support = scale < 1.0 ? 1.0 : scale;
  int first, taps = 1;
  for (int i = 0; i < to; i++) {
    int count = window(i, from, scale, support, &first);
    taps = count > taps ? count : taps;
  }
  *filter = (Filter){malloc(sizeof(int) * to), calloc((size_t)to * taps, sizeof(int32_t)), taps, to};
  double *exact = malloc(sizeof(double) * taps);
  int whole = filter->first && filter->weights && exact;
  for (int i = 0; whole && i < to; i++) {
    int place = mirrored ? to - 1 - i : i, count = window(i, from, scale, support, &first);
    int shift = first + taps > from ? first + taps - from : 0; /* no weight, not even a zero, beyond the last sample */
    int32_t *weights = filter->weights + (size_t)place * taps + shift;
    double center = (i + 0.5) * scale, total = 0.0, step = 1.0 / support;
    for (int k = 0; k < count; k++)
      total += exact[k] = triangle((k + first - center + 0.5) * step);
    for (int k = 0; k < count; k++)
      weights[k] = (int32_t)(0.5 + (total != 0.0 ? exact[k] / total : exact[k]) * (1 << PRECISION));
    filter->first[place] = first - shift;
  }
  free(exact);
  if (!whole)
    free_filter(filter);
  return whole;
}

void free_filter(Filter *filter) {
  free(filter->first);
  free(filter->weights);
  memset(filter, 0, sizeof *filter);
}

/* Bytes from one row of resize_rows to the next: room for whole blocks, and for the fourth byte of the last pixel. */
size_t padded(int width) {
  return ((size_t)width * 3 + 1 + BLOCK - 1) / BLOCK * BLOCK;
}

/* Two rows at once, four bytes a pixel to three; `wide` is scratch, 8 * width. Nothing is clipped: the weights are not
   negative, and sum to 1 but for less than rounding can make 256 of. */
FOR_EACH_TARGET
void resize_rows(const Filter *filter, const uint8_t *upper, const uint8_t *lower, int width, int32_t *wide,
                 uint8_t *to_upper, uint8_t *to_lower) {
  for (size_t x = 0; x < (size_t)width; x++)
    for (size_t c = 0; c < 4; c++) {
      wide[8 * x + c] = upper[4 * x + c];
      wide[8 * x + 4 + c] = lower[4 * x + c];
    }
  const int32_t *weights = filter->weights;
  int taps = filter->taps, half = 1 << (PRECISION - 1);
  for (int i = 0; i < filter->size; i++, weights += taps, to_upper += 3, to_lower += 3) {
    const Pair *from = (const Pair *)wide + filter->first[i];
    Pair sum = {half, half, half, 0, half, half, half, 0};
    for (int k = 0; k < taps; k++)
      sum += from[k] * weights[k];
    sum >>= PRECISION;
#ifdef NARROW_BY_SHUFFLE
    Bytes bytes = (Bytes)sum; /* the low byte of each: the fourth is overwritten by the next pixel */
    bytes = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12,
                                    16, 20, 24, 28, 16, 20, 24, 28, 16, 20, 24, 28, 16, 20, 24, 28);
    memcpy(to_upper, &bytes, 4);
    memcpy(to_lower, (const uint8_t *)&bytes + 16, 4);
#else
    for (int c = 0; c < 3; c++) {
      to_upper[c] = (uint8_t)sum[c];
      to_lower[c] = (uint8_t)sum[4 + c];
    }
#endif
  }
}

/* All columns of rows that resize_rows made, to `filter->size` rows of 3 * width bytes that follow each other. */
FOR_EACH_TARGET
void resize_columns(const Filter *filter, const uint8_t *rows, int width, uint8_t *out) {
  size_t stride = padded(width), bytes = (size_t)width * 3;
  for (int i = 0; i < filter->size; i++) {
    const int32_t *weights = filter->weights + (size_t)i * filter->taps;
    for (size_t at = 0; at < bytes; at += BLOCK) {
      const uint8_t *from = rows + filter->first[i] * stride + at;
      int32_t sums[BLOCK];
      uint8_t results[BLOCK];
      for (int j = 0; j < BLOCK; j++)
        sums[j] = 1 << (PRECISION - 1);
      for (int k = 0; k < filter->taps; k++, from += stride)
        for (int j = 0; j < BLOCK; j++)
          sums[j] += from[j] * weights[k];
      for (int j = 0; j < BLOCK; j++)
        results[j] = (uint8_t)(sums[j] >> PRECISION);
      if (bytes - at >= BLOCK)
        memcpy(out + at, results, BLOCK);
      else
        memcpy(out + at, results, bytes - at);
    }
    out += bytes;
  }
}
