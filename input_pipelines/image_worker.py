"""A process that writes shards: tasks come in by standard input, and what became of them goes out by standard output.

Started by image_shards; a task and an answer are each a line of JSON. When the process that started it is gone, it ends
with its next answer, for which there is no reader, or for want of a task.
"""
import contextlib
import hashlib
import importlib
import json
import os
import sys
import time

from input_pipelines import example, image_file
from scoring.problem import Problem

WRITER_OPTIONS = 'group_size:1,uncompressed'  # JPEGs do not get smaller, and a record at a time can be read
ANSWER_SECONDS = 0.2  # between two counts


def main():
  answers = os.fdopen(os.dup(1), 'w', encoding='utf-8')
  os.dup2(2, 1)  # whatever else prints must not be taken for an answer

  def answer(**told):
    print(json.dumps(told), file=answers, flush=True)
  for line in sys.stdin:
    try:
      answer(done=write(json.loads(line), answer))
    except Problem as problem:
      answer(problem=str(problem))
    except BrokenPipeError:
      break
  with contextlib.suppress(BrokenPipeError):
    answers.close()


def write(task: dict, tell) -> dict:
  """Writes the shard task['file'] of task['members'] in their order: what image_shards keeps of it.

  tell: called now and then with the images and bytes done since it was last called

  Raises:
    Problem: an image that cannot be read or decoded, or a shard that cannot be written.
  """
  from array_record.python import array_record_module
  repack = importlib.import_module(task['repacker']).repack if task['repacker'] else None
  made = {'bytes': 0, 'digests': [], image_file.REENCODED: [], image_file.REPACKED: 0}
  images, read, spoke = 0, 0, time.monotonic()
  try:
    writer = array_record_module.ArrayRecordWriter(task['file'], WRITER_OPTIONS)
    for data, label, name, where in _contents(task['members']):
      try:
        image, done = image_file.fit(data, repack)
      except ValueError as error:
        raise Problem(f'{where}: {error}; get it again, or leave it out') from None
      if done == image_file.REENCODED:
        made[done].append(name)
      elif done == image_file.REPACKED:
        made[done] += 1
      record = example.encode(name.encode(), image, label)
      writer.write(record)
      made['bytes'] += len(image)
      made['digests'].append(hashlib.sha256(record).hexdigest())
      images, read = images + 1, read + len(data)
      if time.monotonic() - spoke > ANSWER_SECONDS:
        tell(images=images, bytes=read)
        images, read, spoke = 0, 0, time.monotonic()
    writer.close()
    made['file_bytes'] = _settled(task['file'], len(task['members']), array_record_module)
  except (RuntimeError, OSError) as error:
    if isinstance(error, BrokenPipeError):
      raise
    raise Problem(f"{task['file']}: cannot be written ({getattr(error, 'strerror', None) or error}); free space, or "
                  'name another --data_dir') from None
  tell(images=images, bytes=read)
  return made


def _settled(file: str, records: int, array_record_module) -> int:
  """The size of a shard, once it is on the disk and can be read."""
  with open(file, 'rb') as written:
    os.fsync(written.fileno())
    size = os.fstat(written.fileno()).st_size
  reader = array_record_module.ArrayRecordReader(file)
  if not reader.ok() or reader.num_records() != records:
    raise RuntimeError(f'No space left on device? {reader.num_records()} of {records} records are there')
  reader.close()
  return size


def _contents(members):
  """(content, label, name, where it was) of each; what lies side by side in one file is read with it open once."""
  path, descriptor = None, -1
  try:
    for member_path, offset, size, label, name in members:
      if member_path != path:
        if descriptor >= 0:
          os.close(descriptor)
        path, descriptor = member_path, -1
        descriptor = _open(path)
      where = path if path.endswith(name) else f'{path}: {name}'
      yield _read(descriptor, offset, size, where), label, name, where
  finally:
    if descriptor >= 0:
      os.close(descriptor)


def _open(path: str) -> int:
  try:
    return os.open(path, os.O_RDONLY)
  except OSError as error:
    raise Problem(f'{path}: cannot be read ({error.strerror}); it was there before') from None


def _read(descriptor: int, offset: int, size: int, where: str) -> bytes:
  try:
    data = os.pread(descriptor, size, offset)
    while len(data) < size:  # a signal, or a network's file system
      more = os.pread(descriptor, size - len(data), offset + len(data))
      if not more:
        raise Problem(f'{where}: {len(data):,} of its {size:,} bytes are there; it changed while being prepared')
      data += more
  except OSError as error:
    raise Problem(f'{where}: cannot be read ({error.strerror}); get it again') from None
  return data


if __name__ == '__main__':
  main()
