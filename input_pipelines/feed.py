"""From host to device: a bounded number of batches made and placed ahead of the step that needs them."""
import queue
import threading
import time
from collections.abc import Callable, Iterator


class Feed:
  """Iterates over `place(batch)` for each batch, made `depth` ahead by one thread; measures what it kept waiting.

  `wait_seconds` is the time that the consumer waited for input. An exception in the thread is raised where the batch
  was due. Leaving its `with` block ends the thread.
  """

  def __init__(self, batches: Iterator, place: Callable, depth: int = 2):
    self.wait_seconds = 0.0
    self._queue = queue.Queue(depth)
    self._closed = threading.Event()
    self._thread = threading.Thread(target=self._work, args=(batches, place), daemon=True, name='feed')
    self._thread.start()

  def _put(self, item):
    while not self._closed.is_set():
      try:
        return self._queue.put(item, timeout=0.1)
      except queue.Full:
        continue

  def _work(self, batches, place):
    try:
      for batch in batches:
        self._put((place(batch), None))
        if self._closed.is_set():
          return
      self._put((None, StopIteration()))
    except BaseException as error:  # whatever it was belongs to the consumer, not to a thread that nobody watches
      self._put((None, error))

  def __iter__(self):
    return self

  def __next__(self):
    begin = time.perf_counter()
    batch, error = self._queue.get()
    self.wait_seconds += time.perf_counter() - begin
    if error is not None:
      self._put((batch, error))  # it stays ended, or broken
      raise error
    return batch

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._closed.set()
    self._thread.join()
