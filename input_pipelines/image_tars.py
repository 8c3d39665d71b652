"""The index of a tar archive, and of the archives within it, from their headers alone: nothing is unpacked."""
import contextlib
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from input_pipelines import image_source
from scoring.problem import Problem

AGAIN = 'get it again'
THREADS = 16  # headers lie far apart, and a disk answers many requests sooner than one after the other
_LONGEST_HEADER = 1 << 20  # bytes that a name or attribute may take; a damaged size must not fill the memory
_READ_BYTES = 4096


class _Window:
  """Bytes [start, stop) of a file, as tarfile wants to read them; many may be open on one descriptor."""

  def __init__(self, descriptor: int, start: int, stop: int):
    self._descriptor, self._start, self._stop, self._at = descriptor, start, stop, 0
    self._block, self._block_at = b'', 0

  def tell(self) -> int:
    return self._at

  def seek(self, at: int):
    self._at = at

  def read(self, size: int) -> bytes:
    if not 0 <= size <= _LONGEST_HEADER or self._at < 0:
      raise tarfile.ReadError(f'a header of {size} bytes')
    offset = self._at - self._block_at
    if not 0 <= offset <= offset + size <= len(self._block):
      want = max(0, min(max(size, _READ_BYTES), self._stop - self._start - self._at))
      self._block, self._block_at, offset = os.pread(self._descriptor, want, self._start + self._at), self._at, 0
    found = self._block[offset:offset + size]
    self._at += len(found)
    return found


@contextlib.contextmanager
def opened(archive: Path) -> Iterator[tuple[int, int, int]]:
  """(descriptor, size in bytes, time of last change in ns) of an archive.

  Raises:
    Problem: it cannot be opened.
  """
  try:
    descriptor = os.open(archive, os.O_RDONLY)
  except OSError as error:
    raise Problem(f'{archive}: cannot be read ({error.strerror}); {AGAIN}') from None
  try:
    status = os.fstat(descriptor)
    yield descriptor, status.st_size, status.st_mtime_ns
  finally:
    os.close(descriptor)


def files(descriptor: int, start: int, stop: int, where: str) -> Iterator[tuple[str, int, int]]:
  """(name without folders, first byte, bytes) of each plain file of the archive at [start, stop) of a file.

  Hidden files are passed over: they are what some systems add.

  Raises:
    Problem: damaged or cut short; or a member that is a link, a device, or outside the folder where it would unpack.
  """
  window = _Window(descriptor, start, stop)
  try:
    with tarfile.open(fileobj=window, mode='r:') as archive:
      for member in archive:
        _check(member, stop - start, where)
        name = PurePosixPath(member.name).name
        if member.isreg() and not name.startswith('.'):
          yield name, start + member.offset_data, member.size
      end = archive.offset  # where tarfile stopped, which it also does, without a word, at what is no header
      window.seek(end)
      if window.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise Problem(f'{where}: cut short or damaged at byte {end:,}; {AGAIN}')
  except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError, RecursionError, struct.error) as error:
    raise Problem(f'{where}: cut short, damaged or no tar archive ({error}); {AGAIN}') from None


def _check(member: tarfile.TarInfo, size: int, where: str):
  path = PurePosixPath(member.name)
  if path.is_absolute() or '..' in path.parts or '\0' in member.name:
    raise Problem(f'{where}: its member {member.name!r} points out of its folder; {AGAIN}')
  if member.issym() or member.islnk():
    raise Problem(f'{where}: its member {member.name!r} is a link to {member.linkname!r}; {AGAIN}')
  if member.issparse() or not (member.isreg() or member.isdir()):
    raise Problem(f'{where}: its member {member.name!r} is no plain file; {AGAIN}')
  if member.size < 0 or member.offset_data + member.size > size:
    raise Problem(f'{where}: cut short: its member {member.name!r} needs {member.offset_data + member.size:,} bytes, '
                  f'and there are {size:,}; {AGAIN}')


def images(archive: Path) -> list[image_source.Entry]:
  """The images of an archive that holds them side by side."""
  with opened(archive) as (descriptor, size, stamp):
    return [_entry(file, stamp, str(archive)) for file in files(descriptor, 0, size, str(archive))]


def classes(archive: Path, progress: Callable[[int], None]) -> dict[str, list[image_source.Entry]]:
  """The images of an archive of archives: CLASS.tar -> its images, their bytes counted from the outer one's start.

  progress: called with the number of images after each inner archive, in this thread

  Raises:
    Problem: as files; a member that is no CLASS.tar, or is there twice.
  """
  found = {}
  with opened(archive) as (descriptor, size, stamp), ThreadPoolExecutor(THREADS) as pool:
    inner = {}
    for name, start, length in files(descriptor, 0, size, str(archive)):
      if not name.endswith('.tar') or name in inner:
        raise Problem(f"{archive}: its member {name!r} is {'there twice' if name in inner else 'no archive'}, and it "
                      f'must hold one .tar for each class; {AGAIN}')
      inner[name] = (start, start + length)

    def walk(name: str) -> list[image_source.Entry]:
      where = f'{archive}: {name}'
      return [_entry(file, stamp, where) for file in files(descriptor, *inner[name], where)]
    try:
      for name, entries in zip(inner, pool.map(walk, inner)):
        found[name.removesuffix('.tar')] = entries
        progress(len(entries))
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  return found


def _entry(file: tuple[str, int, int], stamp: int, where: str) -> image_source.Entry:
  image_source.check_image_name(file[0], where)
  return *file, stamp
