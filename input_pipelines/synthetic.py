"""Made-up photographs, for trying a recipe without data: each class has its coarse pattern of colours, under noise."""
import numpy as np

from input_pipelines.imagenet import Fill

TILES = 4  # a pattern is so many tiles high and wide


def patterns(seed: int, num_classes: int, split: int) -> Fill:
  """Fills with images of class index % num_classes; `split`, 0 or 1, decides the noise."""
  colours = np.random.Generator(np.random.Philox(key=[seed, 0])).integers(
      64, 192, (num_classes, TILES, TILES, 3), dtype=np.int16)

  def fill(indices, epochs, images):
    del epochs
    size, labels = images.shape[1], np.asarray(indices) % num_classes
    tile = np.arange(size) * TILES // size
    for image, index, label in zip(images, indices, labels):
      rng = np.random.Generator(np.random.Philox(key=[seed, 1 + 2 * int(index) + split]))
      image[:] = colours[label][tile[:, None], tile] + rng.integers(-63, 64, (size, size, 3), dtype=np.int16)
    return labels

  return fill
