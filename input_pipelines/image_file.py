"""What is asked of an image file before it becomes a record, and what is done to the few that are not plain JPEGs.

As MLPerf's reference does (https://github.com/mlcommons/training/blob/master/retired_benchmarks/resnet-tf2/
tensorflow2/imagenet_to_gcs.py): a PNG and a JPEG of four colours become RGB JPEGs of quality 100, and all else is kept
byte for byte, broken EXIF included. Of ImageNet's, one and 22 are such; here they are known by content, not by name.
"""
import io
import warnings
from collections.abc import Callable

PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'
QUALITY = 100
REENCODED, REPACKED, KEPT = 'reencoded', 'repacked', 'kept'
_STANDALONE = frozenset((0x01, *range(0xd0, 0xd9)))  # markers without a length
_FRAMES = frozenset((0xc0, 0xc1, 0xc2))  # baseline, extended, progressive: what every decoder reads
_OTHER_FRAMES = frozenset(range(0xc0, 0xd0)) - _FRAMES - {0xc4, 0xc8, 0xcc}


def fit(data: bytes, repack: Callable[[bytes], bytes | None] | None) -> tuple[bytes, str]:
  """(bytes of the JPEG for the record, what was done to get them: KEPT, REPACKED or REENCODED).

  Headers are checked, pixels are not, unless something is odd; then Pillow decodes the image whole.

  Raises:
    ValueError: no image that can be decoded; its text says why.
  """
  done = KEPT
  if not plain(data):
    data, done = _decoded(data)
  packed = repack(data) if repack else None
  if packed is None:
    return data, done
  return packed, REPACKED if done == KEPT else done


def plain(data: bytes) -> bool:
  """Whether these are a JPEG of one or three 8-bit components, with a size, a scan and an end."""
  try:
    height, width, components, precision, scan = frame(data)
  except (ValueError, IndexError):
    return False
  return height > 0 and width > 0 and components in (1, 3) and precision == 8 and data.rfind(b'\xff\xd9', scan) >= 0


def frame(data: bytes) -> tuple[int, int, int, int, int]:
  """(height, width, components, bits, where the first scan begins) that a JPEG's headers tell.

  Raises:
    ValueError or IndexError: no JPEG of a kind that every decoder reads, or one cut short before its first scan.
  """
  if not data.startswith(JPEG):
    raise ValueError('no JPEG')
  at, found = 2, None
  while True:
    if data[at] != 0xff:
      raise ValueError(f'no marker at byte {at}')
    while data[at] == 0xff:  # markers may be padded
      at += 1
    marker = data[at]
    at += 1
    if marker in _STANDALONE:
      continue
    if marker == 0xda:
      if found is None:
        raise ValueError('no size before the first scan')
      return *found, at
    if marker in _OTHER_FRAMES or marker == 0xd9:
      raise ValueError(f'marker {marker:#x}')
    length = data[at] << 8 | data[at + 1]
    if marker in _FRAMES:
      found = (data[at + 3] << 8 | data[at + 4], data[at + 5] << 8 | data[at + 6], data[at + 7], data[at + 2])
    at += length


def _decoded(data: bytes) -> tuple[bytes, str]:
  """As fit, for what is no plain JPEG: kept if Pillow decodes it as one, re-encoded if of four colours or a PNG."""
  from PIL import Image
  if not data:
    raise ValueError('empty')
  if not data.startswith((PNG, JPEG)):
    raise ValueError(f'neither JPEG nor PNG: begins with {data[:8]!r}')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of broken EXIF, which decoding does not need
      with Image.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as image:
        image.load()
        if image.format == 'JPEG' and image.mode in ('L', 'RGB'):
          return data, KEPT
        file = io.BytesIO()
        image.convert('RGB').save(file, 'JPEG', quality=QUALITY)
  except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError) as error:
    raise ValueError(f'cannot be decoded ({error})') from None
  return file.getvalue(), REENCODED
