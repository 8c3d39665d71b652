"""The bytes of a JPEG: its header, and the table by which re-packed data find the segments that a crop touches.

Re-packed data are an ordinary baseline JPEG in which a restart marker ends each segment of K MCUs, and K divides the
row of MCUs. Right behind the first marker (JFIF's or Adobe's) lies one of ours, big-endian:

  FF EA, length, b'daybreak\\0', version 1, K, height, width: uint16 each, but for the name and the byte of the version
  for each segment: uint16, its bytes, with the two of the marker that ends it

Where no K nearby divides the row, and no column of pixels depends on the next one, the row is padded with MCUs. Our
marker holds the width without them; any other decoder shows them too.
"""
import struct
from dataclasses import dataclass

import numpy as np

IDENTIFIER = b'daybreak\0\1'
FIELDS = struct.Struct('>2sH10sHHH')  # marker, length, identifier and version, K, height, width
MARGIN = 4  # pixels around a box that its own may depend on, where chroma is upsampled; _jpeg.h has the same
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the markers that hold a size
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # the markers that hold nothing
METADATA = frozenset((0xFE, *range(0xE1, 0xF0))) - {0xEE}  # neither JFIF nor Adobe, which say what colours mean


@dataclass(frozen=True)
class Layout:
  """Where the parts of re-packed data lie, and what a segment is; lengths in pixels."""
  table: int  # offset of our marker
  frame: int  # offset of the frame header
  scan: int  # offset of the first segment
  size: tuple[int, int]  # of the image: height, width
  stored_width: int
  mcu_height: int
  step: int  # width of a segment
  margin: tuple[int, int]  # above and below, left and right
  ends: np.ndarray  # int64 [rows, segments in a row]: offset behind each segment, from `scan`


def markers(data):
  """Yields (marker, offset, end) up to the start of the first scan, which comes last; ends where it is not a header."""
  view, at = memoryview(data), 2
  while at + 4 <= len(view) and view[at] == 0xFF:
    marker = view[at + 1]
    if marker == 0xFF or marker in ALONE:  # the first is a byte of filling
      at += 1 if marker == 0xFF else 2
      continue
    end = at + 2 + int.from_bytes(view[at + 2:at + 4])
    if end < at + 4 or end > len(view):
      return
    yield marker, at, end
    if marker == 0xDA:
      return
    at = end


def stored_size(data) -> tuple[int, int] | None:
  """(height, width) in the frame header of a JPEG; None where there is none to be found."""
  for marker, at, end in markers(data):
    if marker in FRAMES and end - at >= 9:
      return struct.unpack_from('>HH', data, at + 5)
  return None


def without_metadata(data) -> bytes:
  """The same JPEG without comments, EXIF, profiles and the like, so that damage to those cannot matter."""
  kept, last = [bytes(memoryview(data)[:2])], 2
  for marker, at, end in markers(data):
    if marker not in METADATA and (marker != 0xE0 or end - at >= 18):  # a shorter JFIF says nothing, and stops Pillow
      kept.append(bytes(memoryview(data)[at:end]))
    last = end
  return b''.join([*kept, memoryview(data)[last:]])


def find_table(data) -> int:
  """Offset of our marker; 0 in data that are not re-packed."""
  view = memoryview(data)
  if len(view) < 6 or view[:3] != b'\xff\xd8\xff' or view[3] not in (0xE0, 0xEE):
    return 0
  at = 4 + int.from_bytes(view[4:6])
  return at if view[at:at + 2] == b'\xff\xea' and view[at + 4:at + 14] == IDENTIFIER and len(view) >= at + 20 else 0


def true_size(data, table: int) -> tuple[int, int]:
  """(height, width) that our marker at `table` tells."""
  return struct.unpack_from('>HH', data, table + 16)


def add_table(data: bytes, interval: int, size: tuple[int, int]) -> bytes:
  """The JPEG that the compiled part made, with our marker in it.

  Raises:
    ValueError: it has too many segments, or too long ones, for one marker.
  """
  first, scan = 4 + int.from_bytes(data[4:6]), [end for marker, _, end in markers(data) if marker == 0xDA][0]
  coded = np.frombuffer(data, np.uint8)[scan:]
  seconds = coded[1:][coded[:-1] == 0xFF]
  behind = np.flatnonzero(coded[:-1] == 0xFF)[((seconds & 0xF8) == 0xD0) | (seconds == 0xD9)] + 2
  lengths = np.diff(behind, prepend=0)
  if 18 + 2 * len(lengths) > 0xFFFF or lengths.max() > 0xFFFF:
    raise ValueError(f'{len(lengths)} segments of up to {lengths.max()} bytes do not fit the table')
  table = FIELDS.pack(b'\xff\xea', 18 + 2 * len(lengths), IDENTIFIER, interval, *size) + lengths.astype('>u2').tobytes()
  return data[:first] + table + data[first:]


def interval(data) -> int:
  """MCUs to a segment, as the JPEG's own restart interval says; 0 without one."""
  return next((int.from_bytes(memoryview(data)[at + 4:at + 6]) for marker, at, _ in markers(data) if marker == 0xDD), 0)


def read(data) -> Layout | None:
  """The layout of re-packed data; None where header and table do not hold together."""
  view, table = memoryview(data), find_table(data)
  found = {marker: (at, end) for marker, at, end in markers(data)}
  frame, frame_end = found.get(0xC0) or found.get(0xC1) or (0, 0)
  if not table or not frame or 0xDA not in found:
    return None
  (height, width), mcus = true_size(data, table), int.from_bytes(view[table + 14:table + 16])
  stored_height, stored_width, count = struct.unpack_from('>HHB', data, frame + 5)
  h, v = [b >> 4 for b in view[frame + 11:frame_end:3]], [b & 15 for b in view[frame + 11:frame_end:3]]
  if stored_height != height or count not in (1, 3) or len(h) != count or min(*h, *v, height, width, mcus) < 1:
    return None
  mcu_height, mcu_width = 8 * max(v), 8 * max(h)
  rows, row, step = -(-height // mcu_height), -(-stored_width // mcu_width), mcus * mcu_width
  if row % mcus or not stored_width - step < width <= stored_width or interval(data) != mcus:
    return None
  scan, segments = found[0xDA][1], rows * (row // mcus)
  if int.from_bytes(view[table + 2:table + 4]) != 18 + 2 * segments or table + 20 + 2 * segments > len(view):
    return None
  ends = np.cumsum(np.frombuffer(view, '>u2', segments, table + 20), dtype=np.int64)
  margin = (MARGIN * (min(v) < max(v)), MARGIN * (min(h) < max(h)))
  return Layout(table, frame, scan, (height, width), stored_width, mcu_height, step, margin,
                ends.reshape(rows, row // mcus))


def splice(data, box) -> tuple[bytes, tuple[int, int, int, int]] | None:
  """An ordinary JPEG of the segments that the box (top, left, height, width) touches, and the box within it.

  None where the table does not lead to the markers that it should: such data can only be decoded whole.
  """
  layout = read(data)
  if layout is None:
    return None
  top, left, height, width = box
  (above, beside), (true_height, true_width) = layout.margin, layout.size
  row, column = max(0, top - above) // layout.mcu_height, max(0, left - beside) // layout.step
  end_row = -(-min(true_height, top + height + above) // layout.mcu_height)
  end_column = -(-min(true_width, left + width + beside) // layout.step)
  ends = layout.ends[row:end_row, column:end_column]
  before = np.concatenate(([0], layout.ends.reshape(-1)))
  starts = before[np.arange(row, end_row) * layout.ends.shape[1] + column]
  coded = memoryview(data)[layout.scan:]
  if before[-1] > len(coded) or np.any(np.diff(ends, axis=1) < 2) or np.any(ends[:, 0] - starts < 2):
    return None
  made = np.frombuffer(b''.join([coded[a:b] for a, b in zip(starts.tolist(), ends[:, -1].tolist())]), np.uint8).copy()
  places = np.cumsum(np.diff(np.concatenate((starts[:, None], ends), axis=1), axis=1).reshape(-1))
  number = (np.arange(row, end_row)[:, None] * layout.ends.shape[1] + np.arange(column, end_column)).reshape(-1)
  expected = np.where(number == layout.ends.size - 1, 0xD9, 0xD0 + number % 8)
  if np.any(made[places - 2] != 0xFF) or np.any(made[places - 1] != expected):
    return None
  made[places - 1] = 0xD0 + np.arange(len(places)) % 8
  made[-1] = 0xD9
  behind = layout.table + 20 + 2 * layout.ends.size
  header = bytearray(b''.join([memoryview(data)[:layout.table], memoryview(data)[behind:layout.scan]]))
  struct.pack_into('>HH', header, layout.frame - (behind - layout.table) + 5,
                   min(end_row * layout.mcu_height, true_height) - row * layout.mcu_height,
                   min(end_column * layout.step, layout.stored_width) - column * layout.step)
  return bytes(header) + made.tobytes(), (top - row * layout.mcu_height, left - column * layout.step, height, width)
