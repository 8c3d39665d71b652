"""Training batches/s of the whole input pipeline, records to uint8 batches, on one core and on two, and its memory.

  python -m launchers.prepare --dataset=image_folder --name=imagenette --from_dir=DIR
  python -m benchmarks.pipeline --name=imagenette [--data_dir=DIR] [--image_size=224] [--batch_size=128]
                                [--images=20000] [--turns=3]

The process is pinned to one core, then to two, in turns; a decoding thread belongs to each. The peer is the pipeline on
one core, so the ratio is what the second core gains, 2 at best. Memory is the process's resident size after a tenth of
the images and after all of them.
"""
import itertools
import os
import statistics
import time

from absl import flags

from benchmarks import progress
from benchmarks.report import report
from input_pipelines import imagenet, images, jpeg
from input_pipelines.source import Shuffled
from launchers import command
from scoring.problem import Problem

FLAGS = flags.FLAGS
flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets')
flags.DEFINE_string('name', 'imagenet2012', 'data set')
flags.DEFINE_integer('image_size', 224, 'rows and columns of a crop', lower_bound=1)
flags.DEFINE_integer('batch_size', 128, 'images a batch', lower_bound=1)
flags.DEFINE_integer('images', 20_000, 'images in all, over all turns', lower_bound=1)
flags.DEFINE_integer('turns', 3, 'turns of each number of cores', lower_bound=1)


def resident_bytes() -> int:
  """Resident memory of this process (Linux)."""
  with open('/proc/self/statm') as fields:
    return int(fields.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def main() -> int:
  if len(os.sched_getaffinity(0)) < 2:
    raise Problem('this process may use one core alone, and one is compared with two; start it on a machine with more')
  records = images.Records(FLAGS.data_dir, FLAGS['name'].value, 'train')
  order = Shuffled(len(records), FLAGS.batch_size, seed=0, remainder='carry')
  split = imagenet.split(imagenet.random_crops(records, 0, 0.05), order, lambda step: FLAGS.image_size, '',
                         process=(0, 1))
  all_cores = os.sched_getaffinity(0)
  cores = sorted(all_cores)[:2]
  steps = max(FLAGS.images // FLAGS.batch_size // (2 * FLAGS.turns), 2)
  seconds, memory, first = {1: [], 2: []}, [], itertools.count(0, steps)
  for _ in progress.told(FLAGS.turns, 'turn'):
    for number in (1, 2):
      os.sched_setaffinity(0, cores[:number])
      start, at = time.perf_counter(), next(first)
      for _ in split.batches(at, at + steps):
        memory.append(resident_bytes())
      seconds[number].append((time.perf_counter() - start) / steps)
  os.sched_setaffinity(0, all_cores)  # the line names the machine by them
  tenth, last = memory[len(memory) // 10], memory[-1]
  report('pipeline', ours=seconds[2], peer=seconds[1], peer_name='the same on one core', unit='s/batch',
         images_per_second=[round(FLAGS.batch_size / statistics.median(seconds[n]), 1) for n in (1, 2)],
         images=len(memory) * FLAGS.batch_size, image_size=FLAGS.image_size, compiled_decoder=jpeg.compiled(),
         resident_mb=[round(x / 1e6, 1) for x in (tenth, last)])
  return 0


if __name__ == '__main__':
  command.script(main, __doc__)
