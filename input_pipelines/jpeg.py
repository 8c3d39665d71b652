"""The one place where images are decoded: JPEG, ordinary or re-packed, and what else lies in files named .JPEG.

The compiled part decodes what is clean; anything else, and everything where it was not built, Pillow decodes. Both give
the same bits, EXIF's orientation is not applied, and what Pillow refuses is a Problem of one line.
"""
import io
import threading
import warnings

import numpy as np

from input_pipelines import jpeg_layout
from scoring.problem import Problem

try:
  from input_pipelines import _jpeg
except ImportError:  # there was no compiler, or no libjpeg-turbo: see setup.py
  _jpeg = None

MAX_PIXELS = 2 ** 28  # more is taken for a decompression bomb; _jpeg.h has the same
OTHERS = ('PNG', 'GIF', 'WEBP', 'BMP', 'TIFF')  # what else is decoded; Pillow knows formats that run programs
_filters = threading.Lock()  # warnings.catch_warnings changes the process


def compiled() -> bool:
  """Whether the compiled part is there; without it everything but `repack` works, slower and to the same bits."""
  return _jpeg is not None


def is_repacked(data) -> bool:
  """Whether the bytes are a JPEG that `repack` made."""
  return jpeg_layout.find_table(data) > 0


def size(data, where) -> tuple[int, int]:
  """(height, width) of the image, of re-packed data that of the original.

  Raises:
    Problem: no image, or one that claims more than MAX_PIXELS.
  """
  table = jpeg_layout.find_table(data)
  found = jpeg_layout.true_size(data, table) if table else _is_jpeg(data) and jpeg_layout.stored_size(data)
  height, width = found or _open(data, where).size[::-1]
  if not 0 < height * width <= MAX_PIXELS:
    raise _problem(where, f'an image of {height} x {width} pixels')
  return height, width


def decode(data, where) -> np.ndarray:
  """The whole image: uint8 [height, width, 3], RGB.

  Raises:
    Problem: Pillow does not decode it either.
  """
  return crop(data, (0, 0, *size(data, where)), where)


def crop(data, box, where) -> np.ndarray:
  """The pixels of the box as they are in the whole image: uint8 [height, width, 3], RGB.

  Damage outside the box may go unnoticed.

  Args:
    data: bytes of one image file, or anything with the buffer protocol.
    box: (top, left, height, width), in pixels.
    where: what the Problem calls the data, say the path.

  Raises:
    Problem: Pillow does not decode the image either.
    ValueError: the box leaves the image.
  """
  if _jpeg:
    out = np.empty((*box[2:], 3), np.uint8)
    try:
      _jpeg.crop(data, box, out)
      return out
    except _jpeg.Error:
      pass
  return np.array(_crop_by_pillow(data, box, where))


def crop_and_resize(data, box, size, mirrored: bool, where, out=None) -> np.ndarray:
  """`resize(crop(data, box, where), size)`, its columns in the other order if mirrored, in one go without the GIL.

  Args:
    size: (height, width) of the result.
    out: uint8 [height, width, 3], contiguous, to be written and returned; None makes one.
    data, box, where: as for `crop`, as are the errors.
  """
  out = np.empty((*size, 3), np.uint8) if out is None else out
  if _jpeg:
    try:
      _jpeg.crop_and_resize(data, box, size, mirrored, out)
      return out
    except _jpeg.Error:
      pass
  resized = _resize_by_pillow(_crop_by_pillow(data, box, where), size)
  out[:] = resized[:, ::-1] if mirrored else resized
  return out


def resize(image: np.ndarray, size) -> np.ndarray:
  """Pillow's antialiased bilinear resize, first of rows, then of columns, bit for bit.

  Args:
    image: uint8 [height, width, 3].
    size: (height, width) of the result.
  """
  if not _jpeg:
    from PIL import Image
    return np.array(_resize_by_pillow(Image.fromarray(image), size))
  out = np.empty((*size, 3), np.uint8)
  _jpeg.resize(np.ascontiguousarray(image), image.shape[:2], size, out)
  return out


def repack(data, interval: int = 4) -> bytes | None:
  """The same image as data of which a crop is decoded faster, a little larger; jpeg_layout says what they are.

  That every pixel is the same is checked, by decoding both. Metadata that do not change pixels are dropped.

  Args:
    data: bytes of one image file.
    interval: MCUs to a segment, 2 to 4: fewer make smaller pieces to decode and more bytes to keep.

  Returns:
    None where the original has to be kept: not a clean JPEG of 8 bits, grey or of three components.

  Raises:
    Problem: the compiled part is not there.
  """
  if not _jpeg:
    raise Problem('input_pipelines._jpeg: not compiled, and re-packing needs it; install a C compiler and the headers '
                  "of libjpeg-turbo (Debian: gcc libjpeg-dev), then run pip install again")
  if is_repacked(data):
    return bytes(data)
  try:
    box = (0, 0, *_jpeg.info(data)[:2])
    made = _jpeg.repack(data, interval)
    made = jpeg_layout.add_table(made, jpeg_layout.interval(made), box[2:])
    pixels = np.empty((2, *box[2:], 3), np.uint8)
    _jpeg.crop(data, box, pixels[0])
    _jpeg.crop(made, box, pixels[1])
  except ValueError:  # _jpeg.Error is one
    return None
  return made if np.array_equal(*pixels) else None


def _is_jpeg(data) -> bool:
  return memoryview(data)[:2] == b'\xff\xd8'


def _problem(where, what) -> Problem:
  return Problem(f'{where}: {what}; replace the file, or leave it out')


def _open(data, where):
  """The image as Pillow opens it, not decoded yet.

  Raises:
    Problem: Pillow does not.
  """
  try:
    from PIL import Image, JpegImagePlugin
  except ImportError as error:
    raise Problem(f"{where}: Pillow is needed to decode it ({error}); pip install -e .") from None
  if not len(memoryview(data)):
    raise _problem(where, 'is empty')
  try:
    if _is_jpeg(data):  # not by Image.open, which warns of large photographs, and fails at metadata
      return JpegImagePlugin.JpegImageFile(io.BytesIO(jpeg_layout.without_metadata(data)))
    with _filters, warnings.catch_warnings():
      warnings.simplefilter('ignore')
      return Image.open(io.BytesIO(data), formats=OTHERS)
  except Image.UnidentifiedImageError:
    raise _problem(where, f'is neither a JPEG nor one of {", ".join(OTHERS)}') from None
  except Exception as error:  # what Pillow raises at damaged bytes is no closed set
    raise _problem(where, f'cannot be opened as an image ({error})') from None


def _crop_by_pillow(data, box, where):
  """The box of the image, decoded by Pillow: its Image, of mode RGB."""
  top, left, height, width = box
  true_height, true_width = size(data, where)
  if min(top, left) < 0 or min(height, width) < 1 or top + height > true_height or left + width > true_width:
    raise ValueError(f'{where}: box {tuple(box)} leaves the image of {true_height} x {true_width} pixels')
  repacked = is_repacked(data)
  spliced = jpeg_layout.splice(data, box) if repacked else None
  data, (top, left, *_) = spliced or (data, box)
  image = _open(data, where)
  if repacked and not spliced and (image.height != true_height or image.width < true_width):
    raise _problem(where, 'is re-packed, and its size is damaged')
  try:
    return _rgb(image).crop((left, top, left + width, top + height))
  except Exception as error:  # as above
    raise _problem(where, f'cannot be decoded ({error})') from None


def _rgb(image):
  if image.format == 'JPEG':
    return image.convert('RGB')
  from PIL import Image
  with _filters, warnings.catch_warnings():
    warnings.simplefilter('ignore')  # transparency that is dropped
    if image.mode.startswith('I;16'):  # the upper byte, as TensorFlow has it; Pillow would make all but black white
      image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert('RGB')


def _resize_by_pillow(image, size) -> np.ndarray:
  from PIL import Image
  (height, width), bilinear = size, Image.Resampling.BILINEAR
  # one direction at a time: which comes first, and so the last bit, depends on shapes and on Pillow's version
  return np.asarray(image.resize((width, image.height), bilinear).resize((width, height), bilinear))
