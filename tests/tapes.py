"""Made-up tapes for tests: every one says that it is a fixture."""
import contextlib

from scoring import mlperf
from scoring import tape as tapes
from scoring.tape import Tape

HEADER = {
    'fixture': True, 'tape_version': 1, 'benchmark': 'cifar10', 'model': 'fixture', 'division': 'closed',
    'target': {'metric': 'accuracy', 'value': 0.94, 'num_examples': 10000},
    'num_train_examples': 50000, 'batch_size': 500, 'seed': 7, 'config': 'seed = 7\n', 'command': ['fixture'],
    'git_commit': '0' * 40, 'git_dirty': False, 'versions': {'jax': '0.10.2', 'python': '3.11.7'},
    'hardware': {'platform': 'cpu', 'device_kind': 'cpu', 'device_count': 1, 'process_count': 1, 'host': 'fixture CPU',
                 'host_cores': 2},
    'xla_flags': '', 'price': None, 'tricks': {}, 'resumed': None,
    'hyperparameters': {'opt_name': 'sgd', 'opt_base_learning_rate': 0.1, 'gradient_accumulation_steps': 1},
    'submitter': {'organization': 'Daybreak', 'author': 'A. Tester', 'author_email': 'tester@example.org',
                  'hardware': '', 'status': 'onprem'},
}


class Simulated:
  """A clock that stands still until it is told to advance."""

  def __init__(self, start=1_790_000_000.0):
    self.time = start

  def __call__(self):
    return self.time

  def advance(self, seconds):
    self.time += seconds


def record(metrics, *, path=None, train_seconds=10.0, eval_seconds=2.0, start=1_790_000_000.0, stop_at_target=True,
           sinks=(), **header):
  """A tape of one process: 1 s import, 2 s init, 3 s compile, 1 s data, then training and evaluation in turn.

  metrics: one dict an evaluation, e.g. `{'accuracy': 0.91}`; one epoch of 100 steps before each.
  """
  now = Simulated(start)
  tape = Tape(path, now=now)
  tape.attach(*sinks)
  header = {**HEADER, **header}
  tape.event('process', **header)

  def span(name, seconds, fields=None, results=None):
    with tape.span(name, **(fields or {})) as stop:
      now.advance(seconds)
      stop.update(results or {})

  span('import', 1.0)
  span('init', 2.0)
  span('compile', 3.0, results={'program_sha256': 'f' * 64, 'cache_hits': 0, 'cache_misses': 3})
  tape.event('run_start', step=0)
  span('data', 1.0)
  target, hit = header['target'], False
  steps_per_epoch = header['num_train_examples'] // header['batch_size']
  for epoch, values in enumerate(metrics, 1):
    step = epoch * steps_per_epoch
    done = {'step': step, 'epoch': float(epoch), 'samples': step * header['batch_size']}
    before = step - steps_per_epoch
    span('train', train_seconds,
         {'step': before, 'epoch': float(epoch - 1), 'samples': before * header['batch_size']},
         {**done, 'metrics': {'loss': 1.0 / epoch}})
    span('eval', eval_seconds, done, {'metrics': values, 'num_evaluated': target['num_examples']})
    if values[target['metric']] >= target['value'] and not hit:
      hit = True
      tape.event('run_stop', status='success', **done)
      if stop_at_target:
        break
  if not hit:
    tape.event('run_stop', status='aborted', **done)
  tape.event('result', step=done['step'], parameters_sha256='a' * 64, state_sha256='b' * 64)
  tape.event('exit', status='complete')
  tape.deliver()
  return tape


class Story:
  """Tells a tape by hand, under simulated time: spans, gaps, kills and restarts, each as long as the test says."""

  def __init__(self, path=None, *, start=1_790_000_000.0, **header):
    self.path, self.now, self.header, self.step = path, Simulated(start), {**HEADER, **header}, 0
    self.tape = Tape(path, now=self.now)
    self.tape.event('process', **self.header)

  @property
  def events(self):
    return self.tape.events

  def gap(self, seconds):
    self.now.advance(seconds)
    return self

  def point(self, name, **fields):
    self.tape.event(name, **fields)
    return self

  def span(self, name, seconds, results=None, **fields):
    with self.tape.span(name, **fields) as stop:
      self.now.advance(seconds)
      stop.update(results or {})
    return self

  def set_up(self, imported=1.0, init=2.0, compiled=3.0):
    self.span('import', imported).span('init', init)
    return self.span('compile', compiled, {'program_sha256': 'f' * 64, 'cache_hits': 0, 'cache_misses': 3})

  def where(self):
    return {'step': self.step, 'epoch': self.step / 100, 'samples': self.step * self.header['batch_size']}

  def train(self, seconds, steps=100, **results):
    start, self.step = self.where(), self.step + steps
    return self.span('train', seconds, {**self.where(), 'metrics': {'loss': 1.0}, **results}, **start)

  def eval(self, seconds, value):
    results = {'metrics': {'accuracy': value}, 'num_evaluated': self.header['target']['num_examples']}
    return self.span('eval', seconds, results, **self.where())

  def checkpoint(self, seconds):
    """Saves as the loop does, inside the span; returns what a process that restores this one is told."""
    with self.tape.span('checkpoint', step=self.step):
      saved = {'step': self.step, 'line': len(self.events)}
      self.now.advance(seconds)
    return saved

  def killed_in(self, name, seconds, **fields):
    self.tape.event(name, edge='start', **fields)
    return self.gap(seconds)

  def restart(self, resumed=None, after=0.0):
    """A new process, from a checkpoint or from nothing."""
    self.gap(after)
    resumed = resumed or {'step': 0, 'line': 1}
    self.step = resumed['step']
    self.tape = Tape(self.path, text='' if self.path else self.tape.text(), now=self.now)
    self.tape.event('process', **{**self.header, 'resumed': resumed})
    return self

  def finish(self, status='success', exit_status='complete'):
    self.point('run_stop', status=status, **self.where())
    self.point('result', step=self.step, parameters_sha256='a' * 64, state_sha256='b' * 64)
    return self.point('exit', status=exit_status)


@contextlib.contextmanager
def closing_files(monkeypatch):
  """Closes at the end what tapes and logs opened, which as a rule stays open as long as the process; yields it."""
  opened = []
  for module in (tapes, mlperf):
    monkeypatch.setattr(module, 'open', lambda *args, **kw: opened.append(open(*args, **kw)) or opened[-1],
                        raising=False)
  yield opened
  for file in opened:
    with contextlib.suppress(OSError):
      file.close()
