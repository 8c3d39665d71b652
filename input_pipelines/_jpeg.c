/* input_pipelines._jpeg: decodes no more of a JPEG than a box needs, and resizes it, without holding the GIL.

   Only what is clean, and what all decoders agree on, is decoded here: 8-bit Huffman-coded grey or three-component
   files. Anything else, and anything that libjpeg so much as warns of, is refused with _jpeg.Error, and jpeg.py asks
   Pillow. So damaged files come out the same with this module and without it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_jpeg.h"

#include <stdlib.h>

static PyObject *Error;

static PyObject *refused(const Errors *errors) {
  PyErr_SetString(Error, errors->message);
  return NULL;
}

/* Whether `out` holds three bytes for each pixel of a result of that size; sets ValueError if not. */
static int fits(const Py_buffer *out, int height, int width) {
  if (height >= 1 && width >= 1 && height <= JPEG_MAX_DIMENSION && width <= JPEG_MAX_DIMENSION &&
      out->len == (Py_ssize_t)height * width * 3)
    return 1;
  PyErr_Format(PyExc_ValueError, "%zd bytes to write %d x %d pixels to", out->len, height, width);
  return 0;
}

PyDoc_STRVAR(info_doc, "info(data) -> (height, width, components, colour space, whether it is progressive).\n\n"
             "The size is the stored one: re-packed data may be stored wider than they are.");

static PyObject *info(PyObject *self, PyObject *args) {
  static const char *const spaces[] = {"unknown", "grey", "RGB", "YCbCr"};
  Py_buffer data;
  if (!PyArg_ParseTuple(args, "y*", &data))
    return NULL;
  Errors errors;
  struct jpeg_decompress_struct jpeg = {.err = strict_errors(&errors)};
  PyObject *result;
  if (setjmp(errors.jump)) {
    result = refused(&errors);
  } else {
    jpeg_create_decompress(&jpeg);
    open_strictly(&jpeg, &errors, data.buf, data.len);
    result = Py_BuildValue("(IIisO)", jpeg.image_height, jpeg.image_width, jpeg.num_components,
                           spaces[jpeg.jpeg_color_space], jpeg.progressive_mode ? Py_True : Py_False);
  }
  jpeg_destroy_decompress(&jpeg);
  PyBuffer_Release(&data);
  return result;
}

static PyObject *decode_to(Py_buffer *data, Py_buffer *out, Box box, Goal goal) {
  PyObject *result = NULL;
  if (fits(out, goal.height, goal.width)) {
    Errors errors;
    int done;
    goal.pixels = out->buf;
    Py_BEGIN_ALLOW_THREADS
    done = decode_box(&errors, data->buf, data->len, box, &goal);
    Py_END_ALLOW_THREADS
    result = done ? Py_NewRef(Py_None) : refused(&errors);
  }
  PyBuffer_Release(data);
  PyBuffer_Release(out);
  return result;
}

PyDoc_STRVAR(crop_doc, "crop(data, (top, left, height, width), out): writes the RGB pixels of the box to out.\n\n"
             "out: a writable buffer of height * width * 3 bytes; undefined after an error.");

static PyObject *crop(PyObject *self, PyObject *args) {
  Py_buffer data, out;
  Box box;
  if (!PyArg_ParseTuple(args, "y*(iiii)w*", &data, &box.top, &box.left, &box.height, &box.width, &out))
    return NULL;
  return decode_to(&data, &out, box, (Goal){.height = box.height, .width = box.width});
}

PyDoc_STRVAR(crop_and_resize_doc, "crop_and_resize(data, (top, left, height, width), (height, width), mirrored, out).\n"
             "\nWrites the box, resized, to out: a writable buffer of three bytes a pixel; undefined after an error.");

static PyObject *crop_and_resize(PyObject *self, PyObject *args) {
  Py_buffer data, out;
  Box box;
  Goal goal = {.resized = 1};
  if (!PyArg_ParseTuple(args, "y*(iiii)(ii)pw*", &data, &box.top, &box.left, &box.height, &box.width, &goal.height,
                        &goal.width, &goal.mirrored, &out))
    return NULL;
  return decode_to(&data, &out, box, goal);
}

/* Resizes RGB pixels; returns 0 without memory. */
static int resize_pixels(const uint8_t *rgb, int height, int width, const Goal *goal) {
  Filter across = {0}, down = {0};
  size_t stride = padded(goal->width);
  uint8_t *row = calloc(width, 8), *rows = malloc(stride * (height + 1));
  int32_t *wide = malloc(sizeof(int32_t) * 8 * width);
  int done = row && rows && wide && make_filter(&across, width, goal->width, 0) &&
             make_filter(&down, height, goal->height, 0);
  for (int i = 0; done && i < height; i += 2) {
    for (int x = 0; x < (i + 1 < height ? 2 : 1) * width; x++, rgb += 3)
      memcpy(row + 4 * x, rgb, 3);
    resize_rows(&across, row, row + 4 * width, width, wide, rows + i * stride, rows + (i + 1) * stride);
  }
  if (done)
    resize_columns(&down, rows, goal->width, goal->pixels);
  free(row);
  free(rows);
  free(wide);
  free_filter(&across);
  free_filter(&down);
  return done;
}

PyDoc_STRVAR(resize_doc, "resize(rgb, (height, width), (height, width), out): antialiased bilinear, as Pillow's.\n\n"
             "rgb, out: contiguous buffers of three bytes a pixel, the second writable.");

static PyObject *resize(PyObject *self, PyObject *args) {
  Py_buffer rgb, out;
  Goal goal = {0};
  int height, width, done = 0;
  if (!PyArg_ParseTuple(args, "y*(ii)(ii)w*", &rgb, &height, &width, &goal.height, &goal.width, &out))
    return NULL;
  goal.pixels = out.buf;
  if (fits(&rgb, height, width) && fits(&out, goal.height, goal.width)) {
    Py_BEGIN_ALLOW_THREADS
    done = resize_pixels(rgb.buf, height, width, &goal);
    Py_END_ALLOW_THREADS
    if (!done)
      PyErr_NoMemory();
  }
  PyBuffer_Release(&rgb);
  PyBuffer_Release(&out);
  return done ? Py_NewRef(Py_None) : NULL;
}

PyDoc_STRVAR(repack_doc, "repack(data, interval) -> bytes: the same coefficients, a restart marker every few MCUs.\n\n"
             "Baseline, optimal Huffman codes; the table of segments is not in it yet (see jpeg_layout.py).");

static PyObject *repack_(PyObject *self, PyObject *args) {
  Py_buffer data;
  int interval;
  if (!PyArg_ParseTuple(args, "y*i", &data, &interval))
    return NULL;
  Errors errors;
  uint8_t *made;
  size_t size = 0;
  Py_BEGIN_ALLOW_THREADS
  made = repack(data.buf, data.len, interval, &size, &errors);
  Py_END_ALLOW_THREADS
  PyBuffer_Release(&data);
  PyObject *result = made ? PyBytes_FromStringAndSize((char *)made, size) : refused(&errors);
  free(made);
  return result;
}

static PyMethodDef methods[] = {
    {"info", info, METH_VARARGS, info_doc},
    {"crop", crop, METH_VARARGS, crop_doc},
    {"crop_and_resize", crop_and_resize, METH_VARARGS, crop_and_resize_doc},
    {"resize", resize, METH_VARARGS, resize_doc},
    {"repack", repack_, METH_VARARGS, repack_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_jpeg", "JPEG of which no more is decoded than needed.", -1,
                                    methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__jpeg(void) {
  PyObject *made = PyModule_Create(&module);
  Error = PyErr_NewExceptionWithDoc("input_pipelines._jpeg.Error", "Refused: a line says why.", PyExc_ValueError, NULL);
  if (made && PyModule_AddObjectRef(made, "Error", Error) < 0)
    Py_CLEAR(made);
  return made;
}
