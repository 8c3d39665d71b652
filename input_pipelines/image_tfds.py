"""Writes what TFDS must know of a folder of shards, so that it takes it for a data set; needs no TensorFlow.

Needs the extra `data`; imported only to prepare.
"""
import os
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from etils import epath

FORMAT = 'array_record'


def write_metadata(folder: Path, name: str, version: str, classes: Sequence[str], *, description: str, homepage: str,
                   shard_lengths: dict[str, list[int]], num_bytes: dict[str, int]):
  """Writes features.json, label.labels.txt and, last, dataset_info.json: features as TFDS's own imagenet2012 has them.

  shard_lengths: split -> records of each of its shards; num_bytes: split -> bytes of its records
  """
  features = tfds.features.FeaturesDict({
      'image': tfds.features.Image(encoding_format='jpeg'),
      'label': tfds.features.ClassLabel(names=list(classes)),
      'file_name': tfds.features.Text()})
  identity = tfds.core.dataset_info.DatasetIdentity(
      name=name, version=tfds.core.Version(version), data_dir=os.fspath(folder), module_name=__name__)
  info = tfds.core.DatasetInfo(builder=identity, description=description, features=features, homepage=homepage,
                               supervised_keys=('image', 'label'))
  info.set_file_format(FORMAT)
  template = tfds.core.ShardedFileTemplate(data_dir=epath.Path(folder), dataset_name=name, filetype_suffix=FORMAT)
  info.set_splits(tfds.core.splits.SplitDict([
      tfds.core.splits.SplitInfo(name=split, shard_lengths=lengths, num_bytes=num_bytes[split],
                                 filename_template=template.replace(split=split))
      for split, lengths in shard_lengths.items()]))
  info.write_to_directory(folder)
