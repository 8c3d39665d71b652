"""How CIFAR-10's training images are shifted, mirrored and jittered: which values, how often, and in which epoch.

What the sources do: each image moves by -2..2 pixels each way, all 25 moves alike, anew each epoch, what lies outside
mirrored at the edge; half the images are mirrored in the first epoch, the other half in the next, and so on in turn;
the speedrun adds a brightness and multiplies by a contrast, both uniform, anew for each image and epoch.
  https://github.com/KellerJordan/cifar10-airbench, https://github.com/hiverge/cifar10-speedrun
"""
import functools

import jax
import numpy as np
import pytest
from scipy import stats

from references.cifar import images as ops
from references.cifar.cifar10 import Shape
from references.cifar.configs import airbench94, airbench94_muon, fastest, resnet18
from training.step import record_keys

NUMBER = 4096
RARE = 1e-4  # a test of a distribution fails at less likely data; the seeds are fixed, so it does so always or never
FILES = (airbench94, airbench94_muon, fastest)


@functools.cache
def program(config):
  """What training does to a batch, compiled once for all epochs and seeds."""
  task = config.make_task('')
  return jax.jit(lambda batch, seed: task.prepare(batch, record_keys(seed, batch), Shape(32, True))['image'])


@functools.cache
def prepared(config, epoch: int, seed: int = 0, grey: bool = False):
  """What training sees of images that tell where each pixel was: float32 [N, 32, 32, 3], normalised.

  Row and column are 8 times the first two channels; `grey`: two constant channels instead.
  """
  image = np.zeros((32, 32, 3), np.uint8)
  image[..., 0], image[..., 1] = (50, 200) if grey else (8 * np.arange(32)[:, None], 8 * np.arange(32))
  batch = {'image': np.broadcast_to(image, (NUMBER, 32, 32, 3)), 'index': np.arange(NUMBER, dtype=np.int32),
           'epoch': np.full(NUMBER, epoch, np.int32)}
  return np.asarray(program(config)(batch, np.uint32(seed)))


def moves(config, epoch: int, seed: int = 0):
  """(down, right, mirrored) of each image, [N], from plain formulas; the whole image is checked to be that."""
  if config.brightness or config.contrast:
    image = prepared(config, epoch, seed)
    turned = image[:, 16, 20, 1] < image[:, 16, 12, 1]
    return None, None, turned
  pixels = np.rint((prepared(config, epoch, seed) * ops.STD + ops.MEAN) * 255 / 8).astype(int)[..., :2]
  turned = pixels[:, 16, 20, 1] < pixels[:, 16, 12, 1]
  upright = np.where(turned[:, None, None, None], pixels[:, :, ::-1], pixels)
  down, right = 16 - upright[:, 16, 16, 0], 16 - upright[:, 16, 16, 1]
  inside = lambda x: 31 - np.abs(31 - np.abs(x))  # an edge is not repeated
  rows, columns = (inside(np.arange(32) - shift[:, None]) for shift in (down, right))
  np.testing.assert_array_equal(upright[..., 0], np.broadcast_to(rows[:, :, None], upright.shape[:3]))
  np.testing.assert_array_equal(upright[..., 1], np.broadcast_to(columns[:, None, :], upright.shape[:3]))
  return down, right, turned


def cells(*columns):
  """How often each combination of values occurs."""
  return np.unique(np.stack(columns), axis=1, return_counts=True)


def test_all_25_shifts_are_alike_and_none_is_another():
  down, right, _ = moves(airbench94.get_config(), 0)
  values, counts = cells(down, right)
  assert sorted(map(tuple, values.T.tolist())) == [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
  assert stats.chisquare(counts).pvalue > RARE


def test_shifts_are_drawn_anew_each_epoch_and_seed_and_apart_from_the_mirroring():
  config = airbench94.get_config()
  down, right, turned = moves(config, 0)
  for other in (moves(config, 1), moves(config, 2), moves(config, 0, seed=1)):
    for mine, theirs in ((down, other[0]), (right, other[1])):
      assert stats.chi2_contingency(stats.contingency.crosstab(mine, theirs).count).pvalue > RARE
  for shift in (down, right):
    assert stats.chi2_contingency(stats.contingency.crosstab(shift, turned).count).pvalue > RARE


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.__name__.split('.')[-1])
def test_each_image_is_mirrored_every_other_epoch(file):
  first, second, third = (moves(file.get_config(), epoch)[2] for epoch in range(3))
  assert stats.binomtest(int(first.sum()), NUMBER).pvalue > RARE
  np.testing.assert_array_equal(second, ~first)
  np.testing.assert_array_equal(third, first)


def test_another_seed_mirrors_other_images():
  config = airbench94.get_config()
  same = moves(config, 0)[2] == moves(config, 0, seed=1)[2]
  assert stats.binomtest(int(same.sum()), NUMBER).pvalue > RARE


def test_random_mirroring_is_drawn_anew_each_epoch():
  first, second = (moves(resnet18.get_config(), epoch)[2] for epoch in range(2))
  for drawn in (first, second, first == second):
    assert stats.binomtest(int(drawn.sum()), NUMBER).pvalue > RARE


def jitter(epoch: int, seed: int = 0):
  """(brightness added, contrast's share added) of each image, [N], solved from two constant channels."""
  image = prepared(fastest.get_config(), epoch, seed, grey=True)
  assert (np.ptp(image, (1, 2)) < 1e-6).all()  # the same everywhere in an image
  dark, light = (np.float64(value) for value in ops.normalized(np.array([50, 200, 0], np.uint8))[:2])
  scale = (image[:, 0, 0, 1] - image[:, 0, 0, 0]) / (light - dark)
  return image[:, 0, 0, 0] / scale - dark, scale - 1


def test_jitter_is_uniform_in_the_sources_ranges():
  for drawn, reach in zip(jitter(0), (0.1399, 0.1308)):
    assert np.abs(drawn).max() <= reach + 2e-6  # float32 of what was divided
    assert stats.kstest(drawn, stats.uniform(-reach, 2 * reach).cdf).pvalue > RARE


def test_jitter_is_drawn_anew_and_brightness_apart_from_contrast():
  brightness, contrast = jitter(0)
  for one, other in ((brightness, contrast), (brightness, jitter(1)[0]), (contrast, jitter(1)[1]),
                     (brightness, jitter(0, seed=1)[0]), (contrast, jitter(0, seed=1)[1])):
    assert stats.spearmanr(one, other).pvalue > RARE
