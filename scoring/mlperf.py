"""A tape as an MLPerf training log: a pure function of its events, so that a live log and a later one are the same.

Format of a line: `:::MLLOG {json}` (mlcommons/logging, mllog.py); keys and metadata as the compliance checker's
ruleset 4.0.0 asks for. Training between two evaluations is a block, counted in samples.
"""
import json

from scoring import tape as tapes
from scoring.problem import Problem

NOTICE = '# Not an official MLPerf result: made by Daybreak, not submitted to nor verified by MLCommons Association.\n'
BENCHMARKS = {'imagenet': 'resnet'}  # where MLPerf's name for a benchmark is not ours


class Log:
  """Turns events, in order, into lines; give it only events that count (`scoring.tape.effective`)."""

  def __init__(self):
    self._block = None
    self._last_train_stop = None
    self._done = False
    self._begun = False

  def feed(self, event: dict) -> str:
    """The log's text for one event; empty for most."""
    name, edge = event['event'], event.get('edge')
    if self._done:
      return ''
    if name == 'process':
      return '' if self._begun else self._begin(event)
    if name == 'run_start':
      return _line(event, 'init_stop', None, 'INTERVAL_END') + _line(event, 'run_start', None, 'INTERVAL_START')
    if name == 'train' and edge == 'start' and self._block is None:
      self._block = event['samples']
      return _line(event, 'block_start', None, 'INTERVAL_START', samples_count=event['samples'])
    if name == 'train' and edge == 'stop':
      self._last_train_stop = event
    if name == 'eval' and edge == 'start':
      return self._end_block() + _line(event, 'eval_start', None, 'INTERVAL_START', **_where(event))
    if name == 'eval' and edge == 'stop':
      value = event['metrics'][self._metric]
      return (_line(event, 'eval_accuracy', value, **_where(event))
              + _line(event, 'eval_stop', None, 'INTERVAL_END', **_where(event)))
    if name == 'run_stop':
      self._done = True
      return self._end_block() + _line(event, 'run_stop', None, 'INTERVAL_END', status=event['status'],
                                       **_where(event))
    return ''

  def _begin(self, event: dict) -> str:
    self._begun, self._metric = True, event['target']['metric']
    hardware, submitter = event['hardware'], event['submitter']
    values = {
        'submission_benchmark': BENCHMARKS.get(event['benchmark'], event['benchmark']),
        'submission_division': event['division'],
        'submission_org': submitter['organization'],
        'submission_platform': f"{hardware['device_count']}x{hardware['device_kind']}",
        'submission_status': submitter['status'],
        'cache_clear': bool(event.get('caches_cleared', False)),
    }
    lines = [_line(event, key, value) for key, value in values.items()]
    lines.append(_line(event, 'init_start', None, 'INTERVAL_START'))
    values = {
        'seed': event['seed'], 'global_batch_size': event['batch_size'],
        'train_samples': event['num_train_examples'], 'eval_samples': event['target']['num_examples'],
        **event['hyperparameters'],
    }
    return NOTICE + ''.join(lines + [_line(event, key, value) for key, value in values.items()])

  def _end_block(self) -> str:
    if self._block is None:
      return ''
    self._block, stop = None, self._last_train_stop
    return _line(stop, 'block_stop', None, 'INTERVAL_END', samples_count=stop['samples'])


def _where(event: dict) -> dict:
  epoch = event['epoch']
  return {'epoch_num': int(epoch) if epoch == int(epoch) else epoch, 'samples_count': event['samples']}


def _line(event: dict, key: str, value, event_type: str = 'POINT_IN_TIME', **metadata) -> str:
  return ':::MLLOG ' + json.dumps({
      'namespace': '', 'time_ms': int(event['time'] * 1000), 'event_type': event_type, 'key': key, 'value': value,
      'metadata': {'file': event['file'], 'lineno': event['line'], **metadata}}) + '\n'


def text(events) -> str:
  """The whole log of a tape."""
  log = Log()
  return ''.join(log.feed(event) for event in tapes.effective(events))


class LiveLog:
  """A sink that keeps WORKDIR/result_0.txt equal to the log of the tape so far."""

  def __init__(self, path, events):
    self._log = Log()
    try:
      self._file = open(path, 'w', encoding='utf-8', newline='\n')  # after a restart, told anew without what was lost
    except OSError as error:
      raise Problem(f'{path}: cannot write the log ({error.strerror}); name another --workdir') from None
    for event in tapes.effective(events):
      self(event)

  def __call__(self, event: dict):
    try:
      self._file.write(self._log.feed(event))
      self._file.flush()
    except OSError as error:
      raise Problem(f'{self._file.name}: cannot write the log ({error.strerror}); free space, then run the same '
                    'command again: it resumes from the last checkpoint') from None

