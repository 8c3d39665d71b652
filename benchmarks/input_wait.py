"""How much of training a ResNet-50 on photographs is waiting for input: with batches made ahead, and without.

  python -m launchers.prepare --dataset=image_folder --name=imagenette --from_dir=DIR
  python -m benchmarks.input_wait [--name=imagenette] [--data_dir=DIR] [--depth=50] [--image_size=64]
                                  [--batch_size=32] [--steps=10] [--turns=5]

Our loop, our pipeline, one compiled step; `waiting` is the share of the `data` span (scoring/clocks.py) in training.
The peer makes each batch when its step is due, and waits for each step, in turn: what it waits is what the pipeline
takes for a batch, `pipeline_seconds`. Ours should be below 2 % wherever that is less than `step_seconds`. The second
line is seconds a step: where the cores that train also decode, making batches ahead cannot save what decoding takes.
"""
import contextlib
import statistics
import time
from pathlib import Path
from unittest import mock

from absl import flags

from benchmarks import progress
from benchmarks.report import report
from input_pipelines import feed, imagenet, images
from launchers import command
from references.resnet_imagenet.task import Config
from scoring.tape import Tape, spans
from training import loop, mesh
from training.chunks import Cadence
from training.pod import Pod

FLAGS = flags.FLAGS
WARM_UP = 2  # steps at the beginning of a turn that do not count: the pipeline begins


def define_flags():
  """In a function, since other commands have some of these names too."""
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets')
  flags.DEFINE_string('name', 'imagenette', 'data set')
  flags.DEFINE_integer('depth', 50, 'of the ResNet')
  flags.DEFINE_integer('image_size', 64, 'rows and columns of a crop', lower_bound=1)
  flags.DEFINE_integer('batch_size', 32, 'images a step', lower_bound=1)
  flags.DEFINE_integer('steps', 10, 'steps a turn', lower_bound=1)
  flags.DEFINE_integer('turns', 5, 'of each', lower_bound=1)


class WhenDue(feed.Feed):
  """A Feed that makes each batch when it is asked for, and says how long that took."""

  def __init__(self, batches, place, depth=0):
    super().__init__(batches, place, depth=0)

  def __next__(self):
    begin = time.perf_counter()
    try:
      return super().__next__()
    finally:
      self.wait_seconds += time.perf_counter() - begin


@contextlib.contextmanager
def nothing_ahead():
  """Within it batches are made when they are due, and a step has ended before the next batch is made."""
  with contextlib.ExitStack() as stack:
    for module, name, value in ((loop, 'Feed', WhenDue), (loop, 'IN_FLIGHT', 0), (imagenet, 'AHEAD', 0)):
      stack.enter_context(mock.patch.object(module, name, value))
    yield


def recipe(data_dir: str, name: str, total_steps: int) -> Config:
  """A ResNet on that data set, with a schedule of at least so many steps."""
  found = images.metadata(data_dir, name)
  examples = found.num_examples['train']
  return Config(dataset=name, num_train_examples=examples, num_eval_examples=found.num_examples['validation'],
                num_classes=len(found.class_names), depth=FLAGS.depth, batch_size=FLAGS.batch_size, optimizer='sgd',
                learning_rate=0.01, warmup_epochs=0.0, num_epochs=1 + total_steps * FLAGS.batch_size / examples,
                image_sizes=(FLAGS.image_size,), eval_image_size=FLAGS.image_size, eval_batch_size=FLAGS.batch_size,
                eval_resize=FLAGS.image_size, compute_dtype='float32')


class Training:
  """One model, trained on in turns."""

  def __init__(self, config: Config, data_dir: str):
    task = config.make_task(data_dir)
    self.loop = loop.Loop(task, config, mesh.make_mesh(), Tape(), checkpoints=None, cadence=Cadence(), pod=Pod(),
                          device_loop=False)
    self.loop.compile()
    self.state, self.step = self.loop.load(self.loop.start()), 0

  def turn(self, steps: int) -> tuple[float, float]:
    """(seconds a step, seconds of them that it waited) of the next steps, after those that do not count."""
    first, last = self.step + WARM_UP, self.step + WARM_UP + steps
    with self.loop.feed('train', self.step, last) as self.loop.inputs:
      self.state, _ = self.loop.train(self.state, self.step, first)
      begun = len(self.loop.tape.events)
      self.state, self.step = self.loop.train(self.state, first, last)
    spent = {'train': 0.0, 'data': 0.0}
    for span in spans(self.loop.tape.events[begun:]):
      spent[span.name] += span.seconds
    return (spent['train'] + spent['data']) / steps, spent['data'] / steps


def main() -> int:
  data_dir = str(Path(FLAGS.data_dir).expanduser())
  turns = 2 * FLAGS.turns
  training = Training(recipe(data_dir, FLAGS['name'].value, turns * (FLAGS.steps + WARM_UP)), data_dir)
  ahead, due = [], []
  for _ in progress.told(FLAGS.turns, 'turn'):
    ahead.append(training.turn(FLAGS.steps))
    with nothing_ahead():
      due.append(training.turn(FLAGS.steps))
  share = lambda turns: [100 * waited / seconds for seconds, waited in turns]
  more = {'peer_name': 'the same, nothing made ahead', 'batch_size': FLAGS.batch_size, 'image_size': FLAGS.image_size,
          'pipeline_seconds': round(statistics.median(waited for _, waited in due), 4),
          'step_seconds': round(statistics.median(seconds - waited for seconds, waited in due), 4)}
  report('input_wait', what='waiting', ours=share(ahead), peer=share(due), unit='%', **more)
  report('input_wait', what='step', ours=[s for s, _ in ahead], peer=[s for s, _ in due], unit='s/step', **more)
  return 0


if __name__ == '__main__':
  define_flags()
  command.script(main, __doc__)
