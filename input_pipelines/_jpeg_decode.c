/* The box of a JPEG, as it is or resized: rows above it are skipped, blocks beside it are not transformed, and of
   re-packed data nothing else is looked at. libjpeg is kept from ending the process, and from guessing. */
#include "_jpeg.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  Errors *errors;
  struct jpeg_decompress_struct jpeg;
  uint8_t *spliced, *row, *rows; /* the smaller JPEG; what is read at a time; rows resized across */
  int32_t *wide;                 /* scratch of resize_rows */
  Filter across, down;
} Work;

/* ---- libjpeg, strictly ---- */

static _Noreturn void on_error(j_common_ptr jpeg) {
  Errors *errors = (Errors *)jpeg->err;
  jpeg->err->format_message(jpeg, errors->message);
  longjmp(errors->jump, 1);
}

static void on_message(j_common_ptr jpeg, int level) {
  if (level < 0) /* a warning; the others trace */
    on_error(jpeg);
}

static void print_nothing(j_common_ptr jpeg) {
  (void)jpeg;
}

_Noreturn void refuse(Errors *errors, const char *message) {
  snprintf(errors->message, sizeof errors->message, "%s", message);
  longjmp(errors->jump, 1);
}

struct jpeg_error_mgr *strict_errors(Errors *errors) {
  jpeg_std_error(&errors->manager);
  errors->manager.error_exit = on_error; /* libjpeg's own ends the process */
  errors->manager.emit_message = on_message;
  errors->manager.output_message = print_nothing;
  return &errors->manager;
}

/* A decoder that has read the header and found nothing to refuse. */
void open_strictly(struct jpeg_decompress_struct *jpeg, Errors *errors, const uint8_t *data, size_t size) {
  int ends = 0; /* a file cut short is found before anything is decoded; no image has EOI within its data */
  for (size_t at = size > 64 ? size - 64 : 0; at + 1 < size; at++)
    ends |= data[at] == 0xFF && data[at + 1] == JPEG_EOI;
  if (!ends)
    refuse(errors, "does not end as a JPEG does");
  jpeg_mem_src(jpeg, (uint8_t *)data, size);
  jpeg_read_header(jpeg, TRUE);
  if ((uint64_t)jpeg->image_height * jpeg->image_width > MAX_PIXELS)
    refuse(errors, "claims too many pixels");
  if (jpeg->data_precision != 8 || jpeg->arith_code)
    refuse(errors, "is not of 8 bits in Huffman code");
  if (jpeg->jpeg_color_space != JCS_GRAYSCALE && jpeg->jpeg_color_space != JCS_YCbCr &&
      jpeg->jpeg_color_space != JCS_RGB)
    refuse(errors, "is neither grey, YCbCr nor RGB");
}

/* ---- a box, as it is or resized ---- */

/* Reads rows of a box, from `left` on, two at a time as they are resized; the last one alone if their number is odd. */
static void read_resized(Work *work, int left, Box box, const Goal *goal) {
  struct jpeg_decompress_struct *jpeg = &work->jpeg;
  size_t row = (size_t)jpeg->output_width * 4, stride = padded(goal->width);
  for (int i = 0; i < box.height; i += 2) {
    uint8_t *upper = work->row, *lower = i + 1 < box.height ? upper + row : upper, *to = work->rows + i * stride;
    jpeg_read_scanlines(jpeg, &upper, 1);
    if (lower != upper)
      jpeg_read_scanlines(jpeg, &lower, 1);
    resize_rows(&work->across, upper + 4 * left, lower + 4 * left, box.width, work->wide, to, to + stride);
  }
  resize_columns(&work->down, work->rows, goal->width, goal->pixels);
}

static void read_plain(Work *work, int left, Box box, const Goal *goal) {
  size_t wanted = (size_t)box.width * 3;
  for (int i = 0; i < box.height; i++) {
    jpeg_read_scanlines(&work->jpeg, &work->row, 1);
    memcpy(goal->pixels + i * wanted, work->row + 3 * left, wanted);
  }
}

static void decode_rows(Work *work, Box box, const Goal *goal) {
  struct jpeg_decompress_struct *jpeg = &work->jpeg;
  jpeg->out_color_space = goal->resized ? JCS_EXT_RGBX : JCS_RGB; /* four bytes a pixel make a vector */
  jpeg->dct_method = JDCT_ISLOW;
  jpeg->do_fancy_upsampling = TRUE;
  jpeg_start_decompress(jpeg);
  JDIMENSION left = box.left > MARGIN ? box.left - MARGIN : 0, end = box.left + box.width + MARGIN;
  JDIMENSION width = (end < jpeg->output_width ? end : jpeg->output_width) - left;
  jpeg_crop_scanline(jpeg, &left, &width); /* moves left to where blocks begin */
  if (box.top)
    jpeg_skip_scanlines(jpeg, box.top);
  work->row = malloc((size_t)jpeg->output_width * (goal->resized ? 8 : 3));
  if (goal->resized) {
    work->wide = malloc(sizeof(int32_t) * 8 * box.width);
    work->rows = malloc(padded(goal->width) * (box.height + 1)); /* one more for the pair of the last */
  }
  if (!work->row || (goal->resized && (!work->wide || !work->rows)))
    refuse(work->errors, "needs more memory than there is");
  (goal->resized ? read_resized : read_plain)(work, box.left - left, box, goal);
}

/* Writes the box of data to goal; returns 0 if it is refused, with errors->message saying why. */
int decode_box(Errors *errors, const uint8_t *data, size_t size, Box box, const Goal *goal) {
  Work state = {.errors = errors, .jpeg.err = strict_errors(errors)}, *work = &state;
  volatile int done = 0;
  if (!setjmp(errors->jump)) {
    jpeg_create_decompress(&work->jpeg);
    if (is_repacked(data, size)) {
      if (!(work->spliced = splice_box(data, size, &box, &size)))
        refuse(errors, "has a damaged table of segments");
      data = work->spliced;
    }
    open_strictly(&work->jpeg, errors, data, size);
    if (box.top < 0 || box.left < 0 || box.height < 1 || box.width < 1 ||
        box.height > (int)work->jpeg.image_height - box.top || box.width > (int)work->jpeg.image_width - box.left)
      refuse(errors, "does not hold the box");
    if (goal->resized && (!make_filter(&work->across, box.width, goal->width, goal->mirrored) ||
                          !make_filter(&work->down, box.height, goal->height, 0)))
      refuse(errors, "needs more memory than there is");
    decode_rows(work, box, goal);
    done = 1;
  }
  jpeg_destroy_decompress(&work->jpeg);
  free(work->spliced);
  free(work->row);
  free(work->rows);
  free(work->wide);
  free_filter(&work->across);
  free_filter(&work->down);
  return done;
}
