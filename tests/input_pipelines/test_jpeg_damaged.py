"""What a data set may hold beside clean JPEGs: the pixels that Pillow has for it, or a Problem of one line."""
import concurrent.futures
import functools
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

from input_pipelines import jpeg
from scoring.problem import Problem
from tests.input_pipelines import jpegs
from tests.input_pipelines.test_jpeg import needs_compiled, route  # noqa: F401

ODD = functools.cache(jpegs.odd)
# Pillow decodes these otherwise, or not at all, for reasons that are none of the pixels'.
OURS = {'PNG of 16 bits': lambda: np.repeat((np.arange(1200, dtype=np.uint16) * 50 >> 8).astype(np.uint8), 3),
        **{name: lambda: jpegs.by_pillow(jpegs.jpeg_bytes(64, 96)) for name in (
            'broken EXIF', 'EXIF cut short', 'broken MPF', 'broken ICC profile', 'broken Photoshop block',
            'short JFIF', 'turned by EXIF', 'comment of 64 KB')}}


def test_there_are_enough_of_them():
  assert len(ODD()) >= 60


@pytest.mark.parametrize('name', jpegs.odd())
def test_pixels_of_pillow_or_a_problem_of_one_line(name, route):  # noqa: F811
  data = ODD()[name]
  expected = OURS[name]() if name in OURS else jpegs.by_pillow(data)
  if name == 'PostScript':
    expected = None  # Pillow would run a program for it
  if expected is None:
    with pytest.raises(Problem) as caught:
      jpeg.decode(data, 'n01440764/x.JPEG')
    message = str(caught.value)
    assert message.startswith('n01440764/x.JPEG: ') and message.endswith('; replace the file, or leave it out')
    assert '0x' not in message and '<_io' not in message, 'no addresses of objects'
    return
  np.testing.assert_array_equal(jpeg.decode(data, name).reshape(-1), expected.reshape(-1))
  height, width = jpeg.size(data, name)
  box = (height // 3, width // 3, max(1, height // 2), max(1, width // 2))
  top, left, h, w = box
  np.testing.assert_array_equal(jpeg.crop(data, box, name),
                                expected.reshape(height, width, 3)[top:top + h, left:left + w])


@needs_compiled
@pytest.mark.parametrize('name', jpegs.odd())
def test_re_packing_keeps_what_it_cannot_improve(name):
  data = ODD()[name]
  packed = jpeg.repack(data)
  if packed is not None:
    np.testing.assert_array_equal(jpeg.decode(packed, name), jpeg.decode(data, name))


def _flip(data: bytes, random) -> bytes:
  if random.integers(4) == 0:
    return data[:random.integers(len(data))]
  changed = bytearray(data)
  for _ in range(random.integers(1, 6)):
    changed[random.integers(len(data) if random.integers(2) else min(len(data), 700))] = random.integers(256)
  return bytes(changed)


def test_thousands_of_flipped_bytes_end_in_pixels_or_one_line(route):  # noqa: F811
  """Nothing ends the process, and no decoder leaves a thread, a process or much memory behind."""
  random, memory = np.random.default_rng(0), Path('/proc/self/statm')
  seeds = [jpegs.jpeg_bytes(64, 96), jpegs.jpeg_bytes(41, 60, 'L'), jpegs.jpeg_bytes(50, 77, progressive=True),
           jpegs.jpeg_bytes(40, 375, subsampling=0)]
  seeds += [packed for data in seeds if route and (packed := jpeg.repack(data))]
  threads = threading.active_count()

  def decode_some(count):
    for _ in range(count):
      data = _flip(seeds[random.integers(len(seeds))], random)
      try:
        assert jpeg.crop_and_resize(data, (9, 5, 20, 30), (16, 16), True, 'x.JPEG').shape == (16, 16, 3)
      except (Problem, ValueError) as error:
        assert str(error).startswith('x.JPEG: ')

  decode_some(500)
  before = int(memory.read_text().split()[1]) if memory.exists() else 0
  decode_some(2000)
  after = int(memory.read_text().split()[1]) if memory.exists() else 0
  assert (after - before) * 4096 < 64e6
  assert threading.active_count() == threads and not multiprocessing.active_children()


def test_threads_decode_at_once(route):  # noqa: F811
  data = jpegs.jpeg_bytes(120, 160)
  forms = [data, jpeg.repack(data) if route else data, ODD()['CMYK'], ODD()['PNG with transparency in its palette']]
  whole = [jpeg.decode(form, '') for form in forms]

  def check(i):
    form, image = forms[i % 4], whole[i % 4]
    box = (i % 7, i % 11, 20, 25)
    return np.array_equal(jpeg.crop(form, box, ''), image[i % 7:i % 7 + 20, i % 11:i % 11 + 25])

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert all(pool.map(check, range(400)))
