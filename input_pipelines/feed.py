"""From host to device: a bounded number of batches made and placed ahead of the step that needs them."""
import queue
import threading
import time
from collections.abc import Callable, Iterator


class Feed:
  """Iterates over `place(batch)` for each batch, and measures what it kept waiting.

  Batches are made `depth` ahead by a thread, and `wait_seconds` is the time that the consumer waited for it. With depth
  0 they are made where they are due, as part of the step: quicker when they cost next to nothing. An exception is
  raised where the batch was due. Leaving its `with` block ends the thread.
  """

  def __init__(self, batches: Iterator, place: Callable, depth: int = 2):
    self.wait_seconds = 0.0
    self._placed = map(place, batches)
    self._queue = queue.Queue(depth)
    self._closed = threading.Event()
    self._thread = threading.Thread(target=self._work, daemon=True, name='feed') if depth else None
    if self._thread:
      self._thread.start()

  def _put(self, item):
    while not self._closed.is_set():
      try:
        return self._queue.put(item, timeout=0.1)
      except queue.Full:
        continue

  def _work(self):
    try:
      for batch in self._placed:
        self._put((batch, None))
        if self._closed.is_set():
          return
      self._put((None, StopIteration()))
    except BaseException as error:  # whatever it was belongs to the consumer, not to a thread that nobody watches
      self._put((None, error))

  def __iter__(self):
    return self

  def __next__(self):
    if self._thread is None:
      return next(self._placed)
    begin = time.perf_counter()
    batch, error = self._queue.get()
    self.wait_seconds += time.perf_counter() - begin
    if error is not None:
      raise error
    return batch

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._closed.set()
    if self._thread:
      self._thread.join()
