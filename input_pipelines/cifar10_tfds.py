"""Writes CIFAR-10 as TFDS's own builder does, but without TensorFlow, which that one needs to unpack and to encode.

Same name, version, features and ids. Needs the extra `data`; imported only to prepare.
"""
import contextlib
import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from input_pipelines import cifar10

CITATION = """@TECHREPORT{Krizhevsky09learningmultiple,
  author = {Alex Krizhevsky}, title = {Learning multiple layers of features from tiny images}, year = {2009}
}"""

with tfds.core.registered.skip_registration():  # `tfds.builder('cifar10')` stays TFDS's own
  class Cifar10(tfds.core.GeneratorBasedBuilder):
    """CIFAR-10 from what cifar10.npy holds."""
    VERSION = tfds.core.Version(cifar10.VERSION)

    def __init__(self, array: np.ndarray, **kwargs):
      self._images, self._labels = cifar10.parts(array)
      super().__init__(**kwargs)

    def _info(self):
      return tfds.core.DatasetInfo(
          builder=self, description='60,000 colour images, 32 x 32, of ten classes: 50,000 to train, 10,000 to test.',
          features=tfds.features.FeaturesDict({
              'id': tfds.features.Text(),
              'image': tfds.features.Image(shape=cifar10.IMAGE),
              'label': tfds.features.ClassLabel(names=list(cifar10.CLASSES))}),
          supervised_keys=('image', 'label'), homepage='https://www.cs.toronto.edu/~kriz/cifar.html',
          citation=CITATION)

    def _split_generators(self, dl_manager):
      return {'train': self._examples('train', slice(0, cifar10.NUM_TRAIN)),
              'test': self._examples('test', slice(cifar10.NUM_TRAIN, None))}

    def _generate_examples(self):
      raise NotImplementedError('see _examples')

    def _examples(self, split: str, part: slice):
      # i is the key, as it is TFDS's: the key decides the order on disk
      for i, (image, label) in enumerate(zip(self._images[part], self._labels[part])):
        yield i, {'id': f'{split}_{i:05d}', 'image': _png(image), 'label': int(label)}


def write(array: np.ndarray, data_dir: Path):
  """Writes an array as in cifar10.npy into data_dir/cifar10/3.0.2, which must not be there yet."""
  tfds.disable_progress_bar()
  with contextlib.redirect_stdout(io.StringIO()):  # it says that it downloads, into a folder that will not stay
    Cifar10(array, data_dir=data_dir, file_format='array_record').download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False))


def _png(image: np.ndarray) -> io.BytesIO:
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'PNG')
  file.seek(0)
  return file
