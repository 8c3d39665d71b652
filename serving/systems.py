"""Systems under test: how queries become batches, one way for each kind of traffic.

The answers of a batch are one array that a local name holds until LoadGen has copied them (serving/loadgen.py).
"""
import os
import queue
import threading
import traceback
from collections.abc import Callable, Sequence

import numpy as np

from scoring.problem import Problem
from serving.engine import Engine
from serving.samples import Samples

IN_FLIGHT = 2  # batches that wait for the device; more only take memory, and in the server scenario time
_END = None

# (ids, samples, answers [n, ...]): tells LoadGen that these are answered, and with what
Complete = Callable[[Sequence[int], Sequence[int], np.ndarray], None]


def abort(error: BaseException):
  """Ends the process with one line: left alone, LoadGen would wait for ever for a thread that died, or abort."""
  if not isinstance(error, Problem):
    at = traceback.extract_tb(error.__traceback__)[-1]
    error = f'{type(error).__name__}: {error} ({os.path.basename(at.filename)} line {at.lineno})'
  os.write(2, f'error: while answering: {error}\n'.encode())
  os._exit(1)


def aborts(function):
  """`function`, of which no exception comes out: see `abort`."""
  def guarded(*arguments):
    try:
      function(*arguments)
    except BaseException as error:
      abort(error)
  return guarded


class Inline:
  """Answers each query where it is issued: one sample at a time, nothing to wait for."""

  def __init__(self, engine: Engine, samples: Samples, complete: Complete):
    self.engine, self.samples, self.complete = engine, samples, complete

  @aborts
  def issue(self, ids, samples):
    for one, sample in zip(ids, samples):
      answers = np.asarray(self.engine(*self.samples.one(sample)))
      self.complete((one,), (sample,), answers)

  def close(self):
    pass


class _Drained:
  """Dispatches batches from one thread and completes them in another, IN_FLIGHT behind at most."""

  def __init__(self, engine: Engine, samples: Samples, complete: Complete):
    self.engine, self.samples, self.complete = engine, samples, complete
    self._running = queue.Queue(IN_FLIGHT)
    self._drain = threading.Thread(target=self._complete, name='drain', daemon=True)
    self._drain.start()

  def dispatch(self, ids, samples):
    bucket, rows = self.samples.batch(samples, self.engine.size(len(samples)))
    answers = self.engine(bucket, rows)
    answers.copy_to_host_async()
    self._running.put((ids, samples, answers, rows))  # rows: the device may still read them

  @aborts
  def _complete(self):
    while (batch := self._running.get()) is not _END:
      ids, samples, answers, _ = batch
      self.complete(ids, samples, np.asarray(answers)[:len(ids)])

  def close(self):
    self._running.put(_END)
    self._drain.join()


class Pipelined(_Drained):
  """Queries of many samples: sorted by length, cut into the largest batches, several on their way at once."""

  @aborts
  def issue(self, ids, samples):
    ids, samples = np.asarray(ids), np.asarray(samples)
    # By length alone: sorted by number, samples that a query holds twice would lie together, which the rules forbid.
    order = np.argsort(self.engine.served.lengths[samples], kind='stable')
    size = self.engine.batch_sizes[-1]
    for start in range(0, len(order), size):
      chosen = order[start:start + size]
      self.dispatch(ids[chosen].tolist(), samples[chosen])


class Queued(_Drained):
  """Queries of one sample at any time: whatever waits when the device can take it is the next batch."""

  def __init__(self, engine: Engine, samples: Samples, complete: Complete):
    super().__init__(engine, samples, complete)
    self._waiting = queue.SimpleQueue()
    self._batcher = threading.Thread(target=self._batch, name='batcher', daemon=True)
    self._batcher.start()

  @aborts
  def issue(self, ids, samples):
    for pair in zip(ids, samples):
      self._waiting.put(pair)

  @aborts
  def _batch(self):
    limit = self.engine.batch_sizes[-1]
    while (pair := self._waiting.get()) is not _END:
      batch = [pair]
      while len(batch) < limit:
        try:
          pair = self._waiting.get_nowait()
        except queue.Empty:
          break
        if pair is _END:
          self._waiting.put(_END)
          break
        batch.append(pair)
      self.dispatch(*zip(*batch))

  def close(self):
    self._waiting.put(_END)
    self._batcher.join()
    super().close()


KINDS = {'single_stream': Inline, 'multi_stream': Pipelined, 'offline': Pipelined, 'server': Queued}
