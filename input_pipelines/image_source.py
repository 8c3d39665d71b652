"""Where the images that are to be prepared lie: the index of a source, without their bytes."""
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scoring.problem import Problem

Entry = tuple[str, int, int, int]  # file name, byte at which its content begins, bytes, time of last change in ns
Member = tuple[str, int, int, int, str]  # path of the file to read, first byte, bytes, label, file name


@dataclasses.dataclass(frozen=True)
class Split:
  """The images of a split, by class, then by file name: an order that does not depend on how they are packed.

  where: the archive that holds them, or the folder with a folder of files for each class
  labels int32 [N]; offsets, sizes, stamps int64 [N]
  """
  where: Path
  packed: bool
  classes: tuple[str, ...]
  names: list[str]
  labels: np.ndarray
  offsets: np.ndarray
  sizes: np.ndarray
  stamps: np.ndarray

  def __len__(self) -> int:
    return len(self.names)

  def members(self, start: int, stop: int) -> list[Member]:
    """Images [start, stop), each with all that is needed to read it."""
    numbers = zip(self.labels[start:stop].tolist(), self.offsets[start:stop].tolist(), self.sizes[start:stop].tolist())
    return [(str(self.where) if self.packed else f'{self.where}/{self.classes[label]}/{name}', offset, size, label,
             name) for name, (label, offset, size) in zip(self.names[start:stop], numbers)]

  def class_counts(self) -> list[int]:
    return np.bincount(self.labels, minlength=len(self.classes)).tolist()


def split(where: Path, packed: bool, classes: Sequence[str], entries: Mapping[str, list[Entry]]) -> Split:
  """The split of which `entries` holds the images of each class.

  Raises:
    Problem: a class has two images of one name.
  """
  names, labels, numbers = [], [], []
  for label, name in enumerate(classes):
    own = sorted(entries.get(name, ()))
    for one, other in zip(own, own[1:]):
      if one[0] == other[0]:
        raise Problem(f'{where}: {one[0]} is there twice in class {name}; get it again')
    names += [entry[0] for entry in own]
    labels.append(np.full(len(own), label, np.int32))
    numbers.append(np.array([entry[1:] for entry in own], np.int64).reshape(-1, 3))
  columns = np.concatenate(numbers).T
  return Split(where, packed, tuple(classes), names, np.concatenate(labels), *map(np.ascontiguousarray, columns))


@dataclasses.dataclass(frozen=True)
class Source:
  """All that is to be prepared, and what to say of it.

  told: for the provenance file, and so for JSON; notes: lines for the person who prepares
  """
  classes: tuple[str, ...]
  splits: dict[str, Split]
  told: dict
  notes: list[str]

  def fingerprint(self) -> str:
    """sha256 over names, labels, places, sizes and times of all images, but not over where the source lies."""
    digest = hashlib.sha256(json.dumps([self.classes, list(self.splits)]).encode())
    for one in self.splits.values():
      digest.update('\n'.join(one.names).encode(errors='surrogateescape'))
      for column in (one.labels, one.offsets, one.sizes, one.stamps):
        digest.update(column.tobytes())
    return digest.hexdigest()


def check_class(name: str, where):
  """Raises Problem unless a file of names, one a line, in UTF-8, can hold this one."""
  if not name.isprintable() or name != name.strip():
    raise Problem(f'{where}: the class name {name!r} is blank at an end or not printable; rename it')


def check_image_name(name: str, where):
  """Raises Problem for a file name that is not text."""
  if not name.isprintable():
    raise Problem(f'{where}: the file name {name!r} is not printable text; rename it')
