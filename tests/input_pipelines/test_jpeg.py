"""Every way to decode gives the same bits: compiled or not, original or re-packed, a crop or the whole."""
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from input_pipelines import jpeg, jpeg_layout
from scoring.problem import Problem
from tests.input_pipelines import jpegs

needs_compiled = pytest.mark.skipif(not jpeg.compiled(), reason='needs the compiled part: a C compiler, libjpeg-turbo')


@pytest.fixture(params=[pytest.param(True, marks=needs_compiled, id='compiled'), pytest.param(False, id='by Pillow')])
def route(request, monkeypatch):
  """Runs the test with the compiled part, and without it."""
  if not request.param:
    monkeypatch.setattr(jpeg, '_jpeg', None)
  return request.param


@functools.cache
def clean(name):
  """(bytes, pixels as Pillow decodes them, bytes re-packed or None) of one of jpegs.CLEAN."""
  data = jpegs.CLEAN[name]()
  return data, jpegs.by_pillow(data), jpeg.repack(data) if jpeg.compiled() else None


def boxes(height, width, count, seed=0):
  """Boxes at corners, one pixel wide, whole, and anywhere: (top, left, height, width)."""
  random = np.random.default_rng(seed)
  yield from ((0, 0, height, width), (0, 0, 1, 1), (height - 1, width - 1, 1, 1), (0, width - 1, height, 1))
  for i in range(count):
    h, w = random.integers(1, min(height, 9 if i % 3 == 0 else height) + 1), random.integers(1, width + 1)
    at_end = i % 4 == 0
    yield (int(height - h if at_end else random.integers(0, height - h + 1)),
           int(width - w if at_end else random.integers(0, width - w + 1)), int(h), int(w))


def cut(image, box):
  top, left, height, width = box
  return image[top:top + height, left:left + width]


@pytest.mark.parametrize('name', jpegs.CLEAN)
def test_crops_of_originals_and_re_packed_are_those_of_the_whole(name, route):
  data, pixels, packed = clean(name)
  for form in filter(None, (data, packed)):
    assert jpeg.size(form, name) == pixels.shape[:2]
    np.testing.assert_array_equal(jpeg.decode(form, name), pixels)
    for box in boxes(*pixels.shape[:2], 40 if route else 10):
      np.testing.assert_array_equal(jpeg.crop(form, box, name), cut(pixels, box), err_msg=str(box))


@needs_compiled
@pytest.mark.parametrize('name', jpegs.CLEAN)
@pytest.mark.parametrize('interval', [2, 3, 4])
def test_re_packing_is_lossless_and_leaves_an_ordinary_jpeg(name, interval):
  data, pixels, _ = clean(name)
  packed = jpeg.repack(data, interval)
  assert jpeg.is_repacked(packed) and not jpeg.is_repacked(data)
  assert jpeg.repack(packed) == packed
  assert len(packed) < 1.3 * len(data) + 1000 + 4 * pixels.size // 64, 'two bytes a segment, as many in the table'
  shown = jpegs.by_pillow(packed)  # the same pixels to one who knows nothing of ours, perhaps padded
  np.testing.assert_array_equal(shown[:, :pixels.shape[1]], pixels)
  assert shown.shape[1] - pixels.shape[1] < 8 * 5
  np.testing.assert_array_equal(jpeg.decode(packed, name), pixels)
  layout = jpeg_layout.read(packed)
  assert layout.size == pixels.shape[:2] and layout.scan + layout.ends[-1, -1] == len(packed)


@needs_compiled
def test_every_sampling_that_opencv_writes():
  cv2 = pytest.importorskip('cv2')
  image = np.asarray(jpegs.picture(75, 149))
  for name in ('411', '420', '422', '440', '444'):
    factor = getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{name}')
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()
    pixels, packed = jpegs.by_pillow(data), jpeg.repack(data)
    for box in boxes(75, 149, 60):
      for form in (data, packed):
        np.testing.assert_array_equal(jpeg.crop(form, box, name), cut(pixels, box), err_msg=f'{name} {box}')


@needs_compiled
def test_python_splices_as_the_compiled_part_does(monkeypatch):
  for name in jpegs.CLEAN:
    _, pixels, packed = clean(name)
    for box in boxes(*pixels.shape[:2], 10, seed=1):
      spliced, within = jpeg_layout.splice(packed, box)
      assert not jpeg.is_repacked(spliced) and len(spliced) < len(packed)
      np.testing.assert_array_equal(cut(jpegs.by_pillow(spliced), within), cut(pixels, box), err_msg=f'{name} {box}')


@needs_compiled
def test_a_damaged_table_is_never_believed(monkeypatch):
  """Whatever it says, a crop is right, or taken from the whole, or a Problem; no byte beyond the data is touched."""
  random = np.random.default_rng(0)
  for name in ('4:2:0', 'grey', 'a prime number of blocks, 4:4:4'):
    _, pixels, packed = clean(name)
    table = jpeg_layout.find_table(packed)
    end = table + 2 + int.from_bytes(packed[table + 2:table + 4])
    for i in range(300):
      at, box = int(random.integers(table + 20, end)), list(boxes(*pixels.shape[:2], 3, seed=i))[-1]
      damaged = jpegs.patched(packed, at, random.integers(0, 256, 1, np.uint8).tobytes())
      for compiled in (True, False):
        with monkeypatch.context() as patch:
          if not compiled:
            patch.setattr(jpeg, '_jpeg', None)
          np.testing.assert_array_equal(jpeg.crop(damaged, box, name), cut(pixels, box))
    for at in range(table, table + 20):
      for value in (0, 1, 0x7F, 0xFF):
        damaged = jpegs.patched(packed, at, bytes([value]))
        try:
          jpeg.crop(damaged, (0, 0, 5, 5), name)
        except (Problem, ValueError) as error:
          assert str(error).startswith(f'{name}: ')


def test_resizing_is_pillows(route):
  random = np.random.default_rng(0)
  shapes = [(270, 267), (1, 1), (5, 300), (300, 5), (64, 64), (33, 3), (3, 500)]
  for height, width in shapes:
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    for size in ((224, 224), (1, 1), (height, width), (64, 3), (7, 301)):
      rows = Image.fromarray(image).resize((size[1], height), Image.Resampling.BILINEAR, reducing_gap=None)
      expected = np.asarray(rows.resize(size[::-1], Image.Resampling.BILINEAR, reducing_gap=None))
      np.testing.assert_array_equal(jpeg.resize(image, size), expected)
      at_once = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
      assert np.abs(at_once - expected).max() <= 1, 'Pillow may do columns first'
  for level in (0, 255):
    assert (jpeg.resize(np.full((97, 31, 3), level, np.uint8), (13, 301)) == level).all()
  turned = random.integers(0, 256, (20, 30, 3), np.uint8).transpose(1, 0, 2)
  np.testing.assert_array_equal(jpeg.resize(turned, (9, 8)), jpeg.resize(turned.copy(), (9, 8)))


@pytest.mark.parametrize('name', ['4:2:0', 'grey', '4:4:4', 'progressive 4:2:0', '1 x 1', '7 x 5'])
def test_crop_and_resize_is_crop_then_resize(name, route):
  data, pixels, packed = clean(name)
  batch = np.zeros((2, 24, 32, 3), np.uint8)
  for box in boxes(*pixels.shape[:2], 12):
    expected = jpeg.resize(np.ascontiguousarray(cut(pixels, box)), (24, 32))
    for form in filter(None, (data, packed)):
      np.testing.assert_array_equal(jpeg.crop_and_resize(form, box, (24, 32), False, name), expected)
      assert jpeg.crop_and_resize(form, box, (24, 32), True, name, out=batch[1]).base is batch
      np.testing.assert_array_equal(batch[1], expected[:, ::-1])
  assert not batch[0].any()


def test_a_box_beyond_the_image_is_a_defect_of_ours(route):
  data, _, packed = clean('4:2:0')
  for form in filter(None, (data, packed)):
    for box in ((0, 0, 76, 1), (0, 0, 1, 102), (-1, 0, 1, 1), (0, -1, 1, 1), (75, 0, 1, 1), (0, 2 ** 31 - 1, 1, 1)):
      with pytest.raises(ValueError, match='leaves the image of 75 x 101 pixels'):
        jpeg.crop(form, box, 'x.JPEG')


@needs_compiled
def test_the_compiled_part_checks_what_it_is_given():
  from input_pipelines import _jpeg
  data, room = clean('4:2:0')[0], bytearray(30)
  assert _jpeg.info(data) == (75, 101, 3, 'YCbCr', False)
  assert _jpeg.info(jpegs.CLEAN['progressive 4:4:4']()) == (50, 67, 3, 'YCbCr', True)
  for call in (lambda: _jpeg.crop(data, (0, 0, 5, 5), room), lambda: _jpeg.crop(data, (0, 0, -5, -2), room),
               lambda: _jpeg.crop_and_resize(data, (0, 0, 5, 5), (0, 0), False, bytearray()),
               lambda: _jpeg.resize(bytes(30), (2, 5), (2, 6), room), lambda: _jpeg.repack(data, 0)):
    with pytest.raises(ValueError):
      call()
  with pytest.raises(BufferError if sys.version_info >= (3, 14) else (TypeError, BufferError)):
    _jpeg.crop(data, (0, 0, 2, 5), bytes(30))


def test_without_the_compiled_part_re_packing_says_what_it_needs(monkeypatch):
  monkeypatch.setattr(jpeg, '_jpeg', None)
  assert not jpeg.compiled()
  with pytest.raises(Problem, match='needs it; install a C compiler'):
    jpeg.repack(b'')


def test_what_cannot_be_imported_is_not_missed():
  code = ("import sys; sys.modules['input_pipelines._jpeg'] = None; from input_pipelines import jpeg; "
          'assert not jpeg.compiled()')
  subprocess.run([sys.executable, '-c', code], check=True, cwd=Path(__file__).parents[2])


def test_photographs(data_dir, monkeypatch):
  folder = Path(data_dir) / 'imagenet_originals'
  if not folder.is_dir():
    pytest.skip(f'needs photographs: {folder}')
  before = after = 0
  for i, file in enumerate(sorted(folder.glob('*.JPEG'))):
    data = file.read_bytes()
    pixels = jpegs.by_pillow(data)
    packed = jpeg.repack(data) if jpeg.compiled() else None
    before, after = before + len(data), after + len(packed or data)
    for form in filter(None, (data, packed)):
      np.testing.assert_array_equal(jpeg.decode(form, file), pixels)
      for box in boxes(*pixels.shape[:2], 8, seed=i):
        np.testing.assert_array_equal(jpeg.crop(form, box, file), cut(pixels, box), err_msg=f'{file} {box}')
    if packed:
      with monkeypatch.context() as patch:
        patch.setattr(jpeg, '_jpeg', None)
        box = list(boxes(*pixels.shape[:2], 2, seed=i))[-1]
        np.testing.assert_array_equal(jpeg.crop(packed, box, file), cut(pixels, box), err_msg=f'{file} {box}')
  assert after < 1.05 * before
