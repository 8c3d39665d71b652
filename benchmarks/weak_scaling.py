"""Weak scaling of local pods: seconds an image at 2 and 4 processes, the batch a process and the cores held constant.

  python -m benchmarks.weak_scaling [--processes=2,4] [--rows_a_process=64] [--steps=60] [--skip_steps=20]
                                    [--runs=3] [--width=32]

A small ResNet on made-up images (references/resnet_imagenet/configs/smoke.py) is trained by `launchers.pod
--cluster=local`, and by one process, in turn. All share the cores that this command may use, so more processes bring no
more of them: ideal is what one process does, and the ratio is the share of it that is left (gloo's collectives, and
processes in each other's way). From the train spans of the tapes, without the first --skip_steps steps.
"""
import statistics

from absl import flags

from benchmarks import progress, runs
from benchmarks.report import report
from launchers import command

FLAGS = flags.FLAGS
EVERY = 10  # steps of a train span


def define_flags():
  """In a function, since other commands have some of these names too."""
  flags.DEFINE_list('processes', ['2', '4'], 'pods of so many')
  flags.register_validator('processes', lambda given: all(n.isdecimal() and int(n) > 1 for n in given),
                           'must be numbers above 1, which each is compared with')
  flags.DEFINE_integer('rows_a_process', 64, 'images a step of each process', lower_bound=32)
  flags.DEFINE_integer('steps', 60, 'of a run', lower_bound=1)
  flags.DEFINE_integer('skip_steps', 20, 'first steps that do not count', lower_bound=0)
  flags.DEFINE_integer('runs', 3, 'of each', lower_bound=1)
  flags.DEFINE_integer('width', 32, 'channels of the first stage', lower_bound=1)


def seconds_an_image(processes: int) -> float:
  """Of one run, by a pod of so many processes or, for 1, by a process alone."""
  rows = FLAGS.rows_a_process * processes
  events = runs.train(
      '--config=references/resnet_imagenet/configs/smoke.py', '--config.depth=14', f'--config.batch_size={rows}',
      f'--config.width={FLAGS.width}', f'--config.num_train_examples={rows * FLAGS.steps}', '--config.num_epochs=1',
      '--config.warmup_epochs=0', '--config.optimizer=sgd', '--config.learning_rate=0.01',
      '--config.eval_every_epochs=0', '--config.num_eval_examples=64', f'--log_every_steps={EVERY}', '--nocheckpoints',
      processes=processes if processes > 1 else 0)
  return runs.seconds_a_sample(events, skip_steps=FLAGS.skip_steps)


def main() -> int:
  counts = [1, *map(int, FLAGS.processes)]
  seconds = {count: [] for count in counts}
  for _ in progress.told(FLAGS.runs, 'run'):
    for count in counts:
      seconds[count].append(seconds_an_image(count))
  for count in counts[1:]:
    report('weak_scaling', ours=seconds[count], peer=seconds[1], peer_name='ideal: one process on the same cores',
           unit='s/image', what=f'{count} processes', rows_a_process=FLAGS.rows_a_process, width=FLAGS.width,
           images_per_second={n: round(1 / statistics.median(seconds[n]), 1) for n in (1, count)})
  return 0


if __name__ == '__main__':
  define_flags()
  command.script(main, __doc__)
