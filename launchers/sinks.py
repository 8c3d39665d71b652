"""What people watch while a run trains: a progress line, and TensorBoard where it is installed."""
import importlib.util
import math
import sys

from launchers import machine

PLAIN_SECONDS = 10.0  # without a terminal, at least so far apart between evaluations


class Progress:
  """One live line on a terminal, plain lines elsewhere: step, images/s, metrics, and the latest time to the target.

  Args:
    num_steps: of the schedule; the target is reached at its end or before, or not at all.
    target: {'metric', 'value'}.
  """

  def __init__(self, num_steps: int, target: dict, stream=None):
    self.num_steps, self.target = num_steps, target
    self.stream = stream or sys.stderr
    self.live = self.stream.isatty()
    self._begin = self._train = None
    self._metric = self._rate = self._loss = ''
    self._shown = 0.0

  def __call__(self, event: dict):
    name, edge = event['event'], event.get('edge')
    if name == 'compile' and edge == 'stop':
      warm = 'cold' if not event['cache_hits'] else 'partly warm' if event['cache_misses'] else 'warm'
      self._end(f"compiled, {warm} cache: {event['cache_hits']} programs read, "
                f"{event['cache_misses']} made")
    elif name == 'process':
      devices = f"{event['hardware']['device_count']} x {event['hardware']['device_kind']}"
      imitated = event['hardware']['device_kind'] == 'cpu' and machine.bfloat16_instructions() == []
      if imitated and "compute_dtype = 'bfloat16'" in event['config']:
        self._end('this CPU has no instructions for bfloat16 and imitates it: --config.compute_dtype=float32 is faster')
      if event.get('resumed'):
        step = event['resumed']['step']
        self._end(f'resumed from step {step}' if step else 'begins anew: the run that is here had saved no step yet')
      self._end(f'compiling for {devices}')
    elif name == 'train' and edge == 'start':
      self._train = event
      self._begin, self._shown = self._begin or event, self._shown or event['time']
    elif name == 'train' and edge == 'stop':
      spent = event['time'] - self._train['time']
      self._rate = f"  {(event['samples'] - self._train['samples']) / spent:,.0f} samples/s" if spent > 0 else ''
      self._loss = f"  loss {event['metrics'].get('loss', math.nan):.4f}"
      if self.live or event['time'] - self._shown > PLAIN_SECONDS:  # an evaluation prints a line of its own
        self._show(event)
    elif name == 'eval' and edge == 'stop':
      self._metric = (f"  {self.target['metric']} {event['metrics'][self.target['metric']]:.4f} of "
                      f"{self.target['value']}")
      self._show(event)
    elif name == 'run_stop':
      self._end(f"target {'reached' if event['status'] == 'success' else 'not reached'} at step {event['step']}")

  def _show(self, event: dict):
    self._shown = event['time']
    begin = self._begin or event  # a run that was stopped before an evaluation resumes with it
    since = event['time'] - begin['time']
    done = event['step'] - begin['step']
    left = since / done * (self.num_steps - event['step']) if done else math.nan
    text = (f"step {event['step']}/{self.num_steps}  epoch {event['epoch']:.1f}{self._rate}{self._loss}{self._metric}  "
            f"to target <= {int(left // 60) if left == left else 0}:{int(left % 60) if left == left else 0:02d}")
    self.stream.write(f'\r\x1b[K{text}' if self.live else text + '\n')
    self.stream.flush()

  def _end(self, text: str):
    self.stream.write(('\n' if self.live and self._begin else '') + text + '\n')
    self.stream.flush()


class TensorBoard:
  """Writes the metrics of each chunk and evaluation, by step and at the tape's own time."""

  def __init__(self, directory):
    before = {name: sys.modules[name] for name in ('torch',) if name in sys.modules}
    sys.modules['torch'] = None  # which it imports where that is installed: a second of a start, for nothing used here
    try:
      from tensorboardX import SummaryWriter
    finally:
      del sys.modules['torch']
      sys.modules.update(before)
    self._writer = SummaryWriter(str(directory))

  def __call__(self, event: dict):
    if event['event'] in ('train', 'eval') and event.get('edge') == 'stop':
      for name, value in event['metrics'].items():
        self._writer.add_scalar(f"{event['event']}/{name}", value, event['step'], walltime=event['time'])
    elif event['event'] in ('run_stop', 'checkpoint'):
      self._writer.flush()


def tensorboard(directory) -> list[TensorBoard]:
  """A TensorBoard sink, or none where the extra `tensorboard` is not installed."""
  return [TensorBoard(directory)] if importlib.util.find_spec('tensorboardX') else []
