"""Batches of photographs: each record exactly once an epoch, the same pixels whoever makes them, and clean ends."""
import io
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from input_pipelines import imagenet, synthetic
from input_pipelines.source import Once, Shuffled
from scoring.problem import Problem


def numbered(indices, epochs, images):
  """Fills each image with what its record and epoch say."""
  images[:] = (np.asarray(indices) * 7 + np.asarray(epochs) * 13)[:, None, None, None] % 251
  return np.asarray(indices) % 10


def batches(order, start, stop, process=(0, 1), fill=numbered, size_at=lambda step: 8):
  return list(imagenet.split(fill, order, size_at, 'x', process=process).batches(start, stop))


def joined(parts):
  """The batches of all processes as global ones."""
  return [{name: np.concatenate([part[name] for part in step]) for name in step[0]} for step in zip(*parts)]


def assert_same(a, b):
  assert len(a) == len(b)
  for x, y in zip(a, b):
    assert x.keys() == y.keys()
    for name in x:
      np.testing.assert_array_equal(x[name], y[name])


@pytest.mark.parametrize('count', [1, 2, 4])
def test_each_record_appears_once_an_epoch_over_all_processes(count):
  order = Shuffled(1003, 64, seed=5, remainder='carry')
  whole = joined([batches(order, 0, 48, (i, count)) for i in range(count)])
  index = np.concatenate([b['index'] for b in whole])
  epoch = np.concatenate([b['epoch'] for b in whole])
  for e in range(3):
    assert sorted(index[epoch == e]) == list(range(1003)), e
  assert all(np.all(b['image'][:, 0, 0, 0] == (b['index'] * 7 + b['epoch'] * 13) % 251) for b in whole)
  assert_same(whole, batches(order, 0, 48))


@pytest.mark.parametrize('before, after', [(1, 1), (1, 4), (4, 2)])
def test_a_stream_from_step_k_is_the_rest_of_the_whole_one(before, after):
  order = Shuffled(301, 16, seed=1, remainder='carry')
  whole = joined([batches(order, 0, 40, (i, before)) for i in range(before)])
  for k in (1, 18, 19, 39):
    rest = joined([batches(order, k, 40, (i, after)) for i in range(after)])
    assert_same(whole[k:], rest)


@pytest.mark.parametrize('count', [1, 2])
def test_evaluation_covers_each_record_once_with_padding_masked(count):
  order = Once(103, 16)
  whole = joined([batches(order, 0, order.num_steps, (i, count)) for i in range(count)])
  assert np.concatenate([b['index'][b['mask']] for b in whole]).tolist() == list(range(103))
  assert sum(b['mask'].sum() for b in whole) == 103 and not whole[-1]['image'][~whole[-1]['mask']].any()


def test_sizes_follow_the_step_and_the_spec():
  order = Shuffled(64, 16, 0, 'carry')
  split = imagenet.split(numbered, order, lambda step: 8 if step < 2 else 12, 'x', process=(0, 1))
  for step, batch in enumerate(split.batches(0, 4)):
    spec = split.spec(split.shape_at(step))
    assert {n: (x.shape, x.dtype) for n, x in batch.items()} == {n: (x.shape, x.dtype) for n, x in spec.items()}


def test_threads_change_nothing(monkeypatch):
  order, fill = Shuffled(200, 64, 3, 'carry'), synthetic.patterns(3, 5, 0)
  made = []
  for workers in (1, 7):
    monkeypatch.setattr(imagenet, 'workers', lambda: workers)
    made.append(batches(order, 0, 6, fill=fill))
  assert_same(*made)


def decoders():
  return [t for t in threading.enumerate() if t.name.startswith('decode')]


def test_an_error_arrives_where_its_batch_was_due_and_no_thread_stays():
  def broken(indices, epochs, images):
    if 77 in indices:
      raise Problem('shard-3 record 77: not an image')
    return numbered(indices, epochs, images)
  stream = imagenet.split(broken, Once(200, 20), lambda step: 8, 'x', process=(0, 1)).batches(0, 10)
  assert [next(stream)['index'][0] for _ in range(3)] == [0, 20, 40]
  with pytest.raises(Problem, match='record 77'):
    next(stream)
  assert not decoders()


def test_leaving_early_ends_the_threads():
  stream = imagenet.split(numbered, Shuffled(200, 20, 0), lambda step: 8, 'x', process=(0, 1)).batches(0, 1000)
  next(stream)
  assert decoders()
  stream.close()
  assert not decoders()


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_a_random_box_lies_within_the_image(height, width, seed):
  top, left, h, w = imagenet.random_box(height, width, np.random.default_rng(seed))
  assert 0 <= top and 0 <= left and 0 < h and 0 < w and top + h <= height and left + w <= width


def test_boxes_are_distributed_as_tensorflows():
  """Moments of the algorithm in tensorflow/core/kernels/image/sample_distorted_bounding_box_op.cc, by its own words."""
  rng = np.random.default_rng(0)
  boxes = np.array([imagenet.random_box(375, 500, rng) for _ in range(20_000)], float)
  top, left, h, w = boxes.T
  area, ratio = h * w / (375 * 500), w / h
  assert area.min() >= 0.1 and area.max() <= 1
  assert ratio.min() > 0.74 and ratio.max() < 1.34
  # For each ratio r the height is uniform from that of 5 % of the image to what fits; below 10 % it is drawn again.
  r = rng.uniform(0.75, 1.33, 200_000)
  low, high = np.sqrt(0.05 * 375 * 500 / r), np.minimum(375, 500 / r)
  theirs = low + (high - low) * rng.random(len(r))
  kept = theirs * theirs * r >= 0.1 * 375 * 500
  np.testing.assert_allclose(h.mean(), theirs[kept].mean(), rtol=0.01)
  np.testing.assert_allclose(h.std(), theirs[kept].std(), rtol=0.02)
  np.testing.assert_allclose(np.mean(top / np.maximum(375 - h, 1)), 0.5, atol=0.02)
  np.testing.assert_allclose(np.mean(left / np.maximum(500 - w, 1)), 0.5, atol=0.02)


class Made:
  """Records of made JPEGs."""

  def __init__(self, count, size=(60, 80)):
    rng = np.random.default_rng(0)
    self.images = []
    for _ in range(count):
      coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
      file = io.BytesIO()
      coarse.resize(size[::-1], Image.BICUBIC).save(file, 'JPEG', quality=95)
      self.images.append(file.getvalue())

  def __len__(self):
    return len(self.images)

  def read(self, indices):
    return [(self.images[i], int(i) % 10) for i in indices]

  def where(self, index):
    return f'made record {index}'


def test_training_crops_are_functions_of_seed_record_and_epoch():
  records = Made(6)
  image = lambda seed, index, epoch: _filled(imagenet.random_crops(records, seed, 0.05), [index], [epoch])[0][0]
  first = image(1, 4, 2)
  np.testing.assert_array_equal(first, image(1, 4, 2))
  for other in ((2, 4, 2), (1, 5, 2), (1, 4, 3)):
    assert np.any(first != image(*other))


def test_evaluation_takes_the_centre_of_the_resized_image():
  records = Made(2, size=(60, 80))
  (image, _), labels = _filled(imagenet.centre_crops(records, 48), [0, 1], [0, 0], size=40)
  whole = Image.open(io.BytesIO(records.images[0])).resize((64, 48), Image.BILINEAR)
  np.testing.assert_array_equal(image, np.asarray(whole)[4:44, 12:52])
  assert list(labels) == [0, 1]


def _filled(fill, indices, epochs, size=32):
  images = np.zeros((len(indices), size, size, 3), np.uint8)
  labels = fill(indices, epochs, images)
  return images, labels


def test_a_record_that_cannot_be_decoded_is_named():
  records = Made(3)
  records.images[2] = records.images[2][:100]
  stream = imagenet.split(imagenet.random_crops(records, 0, 0.05), Once(3, 3), lambda step: 16, 'x',
                          process=(0, 1)).batches(0, 1)
  with pytest.raises(Problem, match='made record 2'):
    next(stream)


def test_made_up_classes_differ_and_splits_do_too():
  images = np.zeros((8, 16, 16, 3), np.uint8)
  labels = synthetic.patterns(0, 4, 0)(range(8), [0] * 8, images)
  other = np.zeros_like(images)
  synthetic.patterns(0, 4, 1)(range(8), [0] * 8, other)
  assert list(labels) == [0, 1, 2, 3] * 2 and np.any(images != other)
  tiles = [image.reshape(4, 4, 4, 4, 3).mean((1, 3)) for image in images]
  assert np.abs(tiles[0] - tiles[4]).mean() < 0.5 * np.abs(tiles[0] - tiles[1]).mean()
