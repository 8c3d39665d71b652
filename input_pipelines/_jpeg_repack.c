/* Re-packing: the same coefficients in segments that a decoder can start at, and the small JPEG of those that a box
   touches. jpeg_layout.py says how such a file looks, writes its table, and splices where there is no compiled part. */
#include "_jpeg.h"

#include <stdlib.h>
#include <string.h>

#define IDENTIFIER "daybreak\0\1" /* and version 1 */
#define TABLE 20                  /* bytes of APP10 before the lengths: marker, length, identifier and six more */
#define MAX_SEGMENTS ((65535 - (TABLE - 2)) / 2)

/* ---- writing ---- */

static void nothing(j_compress_ptr jpeg) {
  (void)jpeg;
}

static boolean no_more(j_compress_ptr jpeg) {
  refuse((Errors *)jpeg->err, "more than doubles when re-packed");
}

/* MCUs to a segment. A row of MCUs holds a whole number of segments, so that those of a box make a JPEG: `wanted` if
   it divides the row, or something near it, or, where no column depends on the next one, `wanted` in a padded row. */
static int choose_interval(int row, int rows, int wanted, int pad) {
  const int near[] = {wanted, 4, 3, 2, 5};
  for (int i = 0; i < 5; i++)
    if (near[i] <= row && row % near[i] == 0 && (int64_t)row / near[i] * rows <= MAX_SEGMENTS)
      return near[i];
  if (pad && wanted < row && ((int64_t)row + wanted - 1) / wanted * rows <= MAX_SEGMENTS)
    return wanted;
  for (int i = 1; i < row; i++)
    if (row % i == 0 && (int64_t)row / i * rows <= MAX_SEGMENTS)
      return i;
  return row;
}

typedef struct {
  struct jpeg_decompress_struct in;
  struct jpeg_compress_struct out;
  struct jpeg_destination_mgr destination;
} Transcoder;

/* Copies the blocks of a component into a wider array; what is added repeats the last mean, which costs least. */
static void widen(Transcoder *t, int c, jvirt_barray_ptr from, jvirt_barray_ptr to, JDIMENSION width) {
  jpeg_component_info *component = t->in.comp_info + c;
  for (JDIMENSION y = 0; y < component->height_in_blocks; y++) {
    JBLOCKROW old = t->in.mem->access_virt_barray((j_common_ptr)&t->in, from, y, 1, FALSE)[0];
    JBLOCKROW new = t->out.mem->access_virt_barray((j_common_ptr)&t->out, to, y, 1, TRUE)[0];
    memcpy(new, old, component->width_in_blocks * sizeof(JBLOCK));
    for (JDIMENSION x = component->width_in_blocks; x < width; x++)
      new[x][0] = old[component->width_in_blocks - 1][0];
  }
}

static void transcode(Transcoder *t, int wanted) {
  jvirt_barray_ptr *blocks = jpeg_read_coefficients(&t->in), wide[MAX_COMPONENTS];
  jpeg_copy_critical_parameters(&t->in, &t->out);
  jpeg_component_info *components = t->out.comp_info;
  int count = t->out.num_components, max_h = 1, max_v = 1, pad = 1;
  if (count == 1) /* the order of a single component's blocks is the same whatever its factors say */
    components->h_samp_factor = components->v_samp_factor = 1;
  for (int c = 0; c < count; c++) {
    max_h = components[c].h_samp_factor > max_h ? components[c].h_samp_factor : max_h;
    max_v = components[c].v_samp_factor > max_v ? components[c].v_samp_factor : max_v;
  }
  for (int c = 0; c < count; c++) /* else fancy upsampling would mix the padding into the last column */
    pad &= components[c].h_samp_factor == max_h;
  int mcu = DCTSIZE * max_h, row = (t->in.image_width + mcu - 1) / mcu;
  int rows = (t->in.image_height + DCTSIZE * max_v - 1) / (DCTSIZE * max_v);
  int interval = choose_interval(row, rows, wanted, pad);
  JDIMENSION whole = (row + interval - 1) / interval * interval;
  if (whole > (JDIMENSION)row) {
    t->out.image_width = whole * mcu;
    for (int c = 0; c < count; c++) {
      JDIMENSION v = components[c].v_samp_factor, high = (t->in.comp_info[c].height_in_blocks + v - 1) / v * v;
      wide[c] = t->out.mem->request_virt_barray((j_common_ptr)&t->out, JPOOL_IMAGE, TRUE, whole * max_h, high, v);
    }
  }
  t->out.restart_interval = interval;
  t->out.optimize_coding = TRUE;
  t->out.dest = &t->destination;
  jpeg_write_coefficients(&t->out, whole > (JDIMENSION)row ? wide : blocks);
  if (whole > (JDIMENSION)row)
    for (int c = 0; c < count; c++)
      widen(t, c, blocks[c], wide[c], whole * max_h);
  jpeg_finish_compress(&t->out);
}

/* The transcoded JPEG, to be freed, or NULL with errors->message saying why it is refused. */
uint8_t *repack(const uint8_t *data, size_t size, int interval, size_t *written, Errors *errors) {
  Transcoder t;
  size_t room = 2 * size + 4096;
  uint8_t *const made = malloc(room);
  volatile int done = 0;
  memset(&t, 0, sizeof t);
  t.in.err = t.out.err = strict_errors(errors);
  t.destination = (struct jpeg_destination_mgr){made, room, nothing, no_more, nothing};
  if (!setjmp(errors->jump)) {
    if (!made || interval < 1)
      refuse(errors, made ? "cannot have such an interval" : "needs more memory than there is");
    jpeg_create_decompress(&t.in);
    jpeg_create_compress(&t.out);
    open_strictly(&t.in, errors, data, size);
    transcode(&t, interval);
    done = 1;
  }
  *written = room - t.destination.free_in_buffer;
  jpeg_destroy_compress(&t.out);
  jpeg_destroy_decompress(&t.in);
  if (done)
    return made;
  free(made);
  return NULL;
}

/* ---- reading ---- */

/* What a splice needs of a header. Nothing in it is trusted: every offset is checked before it is used. */
typedef struct {
  size_t table, sof, scan;                    /* where the table begins, the frame header, the coded data */
  int interval, height, width;                /* MCUs to a segment; the size that was there before padding */
  int stored_width, mcu_height, mcu_width;    /* in pixels */
  int margin_y, margin_x;                     /* pixels around a box that its own pixels depend on */
  int rows, row;                              /* rows of segments, segments in a row */
} Layout;

static int two(const uint8_t *data) {
  return data[0] << 8 | data[1];
}

/* Where APP10 of ours begins: behind the one marker, JFIF's or Adobe's, that libjpeg writes first; 0 if it is not. */
static size_t find_table(const uint8_t *data, size_t size) {
  if (size < 6 || two(data) != 0xFFD8 || data[2] != 0xFF || (data[3] != 0xE0 && data[3] != 0xEE))
    return 0;
  size_t at = 4 + two(data + 4);
  return at + TABLE <= size && two(data + at) == 0xFFEA && two(data + at + 2) >= TABLE - 2 &&
         !memcmp(data + at + 4, IDENTIFIER, 10) ? at : 0;
}

int is_repacked(const uint8_t *data, size_t size) {
  return find_table(data, size) != 0;
}

static int read_frame(const uint8_t *frame, int length, Layout *layout) {
  int count = length < 8 ? 0 : frame[9], max_h = 1, max_v = 1;
  if ((count != 1 && count != 3) || length != 8 + 3 * count || two(frame + 5) != layout->height)
    return 0;
  layout->stored_width = two(frame + 7);
  for (int c = 0; c < count; c++) {
    int h = frame[11 + 3 * c] >> 4, v = frame[11 + 3 * c] & 15;
    if (h < 1 || h > 4 || v < 1 || v > 4 || (count == 1 && h * v != 1))
      return 0;
    max_h = h > max_h ? h : max_h;
    max_v = v > max_v ? v : max_v;
  }
  for (int c = 0; c < count; c++) {
    if (frame[11 + 3 * c] >> 4 != max_h)
      layout->margin_x = MARGIN;
    if ((frame[11 + 3 * c] & 15) != max_v)
      layout->margin_y = MARGIN;
  }
  layout->mcu_height = DCTSIZE * max_v;
  layout->mcu_width = DCTSIZE * max_h;
  return 1;
}

/* Fills layout from the header; returns 0 if it does not hold together. */
static int read_layout(const uint8_t *data, size_t size, Layout *layout) {
  size_t at = layout->table = find_table(data, size);
  int interval = 0;
  layout->interval = two(data + at + 14);
  layout->height = two(data + at + 16);
  layout->width = two(data + at + 18);
  while (!layout->scan) {
    if (at + 4 > size || data[at] != 0xFF)
      return 0;
    int marker = data[at + 1], length = two(data + at + 2);
    if (length < 2 || at + 2 + length > size)
      return 0;
    if (marker == 0xC0 || marker == 0xC1) {
      if (layout->sof || !read_frame(data + at, length, layout))
        return 0;
      layout->sof = at;
    } else if (marker == 0xDD && length == 4) {
      interval = two(data + at + 4);
    } else if (marker == 0xDA) {
      layout->scan = at + 2 + length;
    } else if (marker != 0xEA && marker != 0xDB && marker != 0xC4) {
      return 0; /* nothing else is written by us */
    }
    at += 2 + length;
  }
  if (!layout->sof || !interval || interval != layout->interval || !layout->width || !layout->height)
    return 0;
  int step = interval * layout->mcu_width, mcus = (layout->stored_width + layout->mcu_width - 1) / layout->mcu_width;
  layout->rows = (layout->height + layout->mcu_height - 1) / layout->mcu_height;
  layout->row = mcus / interval;
  return mcus % interval == 0 && layout->width <= layout->stored_width && layout->width > layout->stored_width - step &&
         two(data + layout->table + 2) == TABLE - 2 + 2 * (int64_t)layout->rows * layout->row;
}

/* An ordinary JPEG of the segments that the box touches, to be freed, and the box within it; NULL if the data are
   damaged. It is never larger than the data: of the header all but the table is copied, each segment at most once. */
uint8_t *splice_box(const uint8_t *data, size_t size, Box *box, size_t *written) {
  Layout l = {0};
  if (!read_layout(data, size, &l) || box->top < 0 || box->left < 0 || box->height < 1 || box->width < 1 ||
      box->height > l.height - box->top || box->width > l.width - box->left)
    return NULL;
  int step = l.interval * l.mcu_width, bottom = box->top + box->height + l.margin_y, n = 0;
  int right = box->left + box->width + l.margin_x;
  int row = (box->top > l.margin_y ? box->top - l.margin_y : 0) / l.mcu_height;
  int column = (box->left > l.margin_x ? box->left - l.margin_x : 0) / step;
  int end_row = ((bottom < l.height ? bottom : l.height) + l.mcu_height - 1) / l.mcu_height;
  int end_column = ((right < l.width ? right : l.width) + step - 1) / step;
  int end_y = end_row * l.mcu_height, end_x = end_column * step;
  uint8_t *made = malloc(size), *to = made;
  if (!made)
    return NULL;
  size_t behind = l.table + 2 + two(data + l.table + 2);
  memcpy(to, data, l.table);
  memcpy(to + l.table, data + behind, l.scan - behind);
  uint8_t *frame = to + l.sof - (behind - l.table);
  int height = (end_y < l.height ? end_y : l.height) - row * l.mcu_height;
  int width = (end_x < l.stored_width ? end_x : l.stored_width) - column * step;
  frame[5] = height >> 8, frame[6] = height & 255, frame[7] = width >> 8, frame[8] = width & 255;
  to += l.table + l.scan - behind;
  const uint8_t *lengths = data + l.table + TABLE, *from = data + l.scan, *end = data + size;
  for (int r = 0, i = 0; r < end_row; r++)
    for (int c = 0; c < l.row; c++, i++) {
      int length = two(lengths + 2 * i), marker = i == l.rows * l.row - 1 ? JPEG_EOI : JPEG_RST0 + i % 8;
      if (length > end - from)
        goto damaged;
      if (r >= row && c >= column && c < end_column) {
        if (length < 2 || from[length - 2] != 0xFF || from[length - 1] != marker)
          goto damaged;
        memcpy(to, from, length);
        to += length;
        to[-1] = JPEG_RST0 + n++ % 8;
      }
      from += length;
    }
  to[-1] = JPEG_EOI;
  *written = to - made;
  box->top -= row * l.mcu_height;
  box->left -= column * step;
  return made;
damaged:
  free(made);
  return NULL;
}
