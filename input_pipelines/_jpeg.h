/* What the parts of input_pipelines._jpeg share: the box, the strict errors of libjpeg, and their calls. */
#ifndef DAYBREAK_JPEG_H
#define DAYBREAK_JPEG_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>

#ifndef JCS_EXTENSIONS
#error "needs libjpeg-turbo: the plain libjpeg has neither jpeg_crop_scanline nor four-byte pixels"
#endif

#define MAX_PIXELS ((uint64_t)1 << 28) /* a larger claim is taken for a decompression bomb; jpeg_layout.py agrees */
#define MARGIN 4 /* pixels around a box: what fancy upsampling looks at, and enough for it to be chosen at all */

typedef struct { int top, left, height, width; } Box;

/* Every error and every warning of libjpeg ends in one jump: what it warns of is Pillow's to judge (see jpeg.py). */
typedef struct {
  struct jpeg_error_mgr manager; /* first: libjpeg hands out its address */
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
} Errors;

typedef struct {
  uint8_t *pixels; /* RGB */
  int height, width, mirrored, resized;
} Goal;

/* _jpeg_decode.c */
int decode_box(Errors *errors, const uint8_t *data, size_t size, Box box, const Goal *goal);
struct jpeg_error_mgr *strict_errors(Errors *errors);
void open_strictly(struct jpeg_decompress_struct *jpeg, Errors *errors, const uint8_t *data, size_t size);
_Noreturn void refuse(Errors *errors, const char *message);

/* _jpeg_repack.c */
uint8_t *repack(const uint8_t *data, size_t size, int interval, size_t *written, Errors *errors);
int is_repacked(const uint8_t *data, size_t size);
uint8_t *splice_box(const uint8_t *data, size_t size, Box *box, size_t *written);

/* _jpeg_resize.c: weights of one direction, as Pillow computes them */
typedef struct {
  int *first;       /* for each result: where its samples begin */
  int32_t *weights; /* `taps` for each result */
  int taps, size;
} Filter;

int make_filter(Filter *filter, int from, int to, int mirrored);
void free_filter(Filter *filter);
size_t padded(int width);
void resize_rows(const Filter *filter, const uint8_t *upper, const uint8_t *lower, int width, int32_t *wide,
                 uint8_t *to_upper, uint8_t *to_lower);
void resize_columns(const Filter *filter, const uint8_t *rows, int width, uint8_t *out);

#endif
