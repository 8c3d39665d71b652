"""What the processes of a pod conclude of each other, under simulated time, and how they call the roll."""
import json
import socket
import threading
import time

import pytest

from launchers import distributed
from scoring.problem import Problem
from training.pod import Agreed, Pod
from training.roll_call import roll_call
from training.watch import Watch


class Simulated:
  """Three processes that beat each second, until one does not, and go on, until one does not."""

  def __init__(self, timeout_seconds=10, stall_seconds=20):
    self.time, self.beats, self.ticks, self.where, self.broken = 0.0, [0] * 3, [0] * 3, ['train'] * 3, [False] * 3
    self.reports = []
    self.watch = Watch(3, timeout_seconds, stall_seconds, lambda *report: self.reports.append(report),
                       now=lambda: self.time)

  def second(self, *, silent=(), still=()):
    """One second in which some do not beat, and some do not get on; the verdict."""
    self.time += 1
    for n in range(3):
      self.beats[n] += n not in silent
      self.ticks[n] += n not in still
    return self.watch.look({n: json.dumps([self.beats[n], self.ticks[n], self.where[n], self.ticks[n], self.broken[n]])
                            for n in range(3)})

  def seconds(self, count, **what):
    """The verdicts of so many seconds."""
    return [self.second(**what) for _ in range(count)]


def test_all_is_well():
  pod = Simulated()
  assert not any(pod.seconds(1000)) and pod.reports == []


def test_a_silent_process_is_lost_after_the_timeout_and_no_sooner():
  pod = Simulated(timeout_seconds=10)
  pod.seconds(5)
  verdicts = pod.seconds(11, silent=[1], still=[0, 1, 2])
  assert not any(verdicts[:10])
  assert verdicts[10].startswith('process 1 of 3 lost: not heard of for 11 s, last at step 5 (train)')


def test_two_silent_processes_are_both_named():
  assert Simulated(timeout_seconds=3).seconds(5, silent=[0, 2])[-1].startswith('processes 0, 2 of 3 lost')


def test_one_that_never_came_is_lost_too():
  time_ = [0.0]
  watch = Watch(2, 10, 20, None, now=lambda: time_[0])
  time_[0] = 11.0
  assert watch.look({0: json.dumps([1, 0, 'init', 0, False])}).startswith('process 1 of 2 lost')


def test_once_a_collective_broke_the_lost_one_is_found_sooner():
  pod = Simulated(timeout_seconds=100)
  pod.seconds(5)
  pod.broken[0] = True
  verdicts = pod.seconds(6, silent=[2], still=[0, 1, 2])
  assert not any(verdicts[:5]) and verdicts[5].startswith('process 2 of 3 lost')


def test_a_process_that_stands_still_is_reported_with_those_that_wait_left_out():
  pod = Simulated(stall_seconds=20)
  pod.seconds(5)
  pod.seconds(2, still=[1])  # the others go on as far as they can without it
  assert not any(pod.seconds(21, still=[0, 1, 2]))
  assert pod.reports == [([1], 'train', 5, 21.0)]
  pod.seconds(21, still=[0, 1, 2])
  assert len(pod.reports) == 1  # again once it has doubled
  pod.seconds(2, still=[0, 1, 2])
  assert [report[3] for report in pod.reports] == [21.0, 43.0]
  pod.seconds(5)
  assert len(pod.reports) == 2


def test_all_that_stand_still_are_reported_together():
  pod = Simulated(stall_seconds=20)
  pod.seconds(22, still=[0, 1, 2])
  assert pod.reports[0][0] == [0, 1, 2]


def test_chunks_that_take_long_are_no_stall_and_neither_is_compiling():
  pod = Simulated(stall_seconds=20)
  pod.seconds(5)
  pod.seconds(19, still=[0, 1, 2])  # a chunk of 19 s
  pod.seconds(1)
  pod.seconds(55, still=[0, 1, 2])
  assert pod.reports == []
  pod.seconds(6, still=[0, 1, 2])
  assert len(pod.reports) == 1
  pod = Simulated(stall_seconds=20)
  pod.where = ['train', 'compile', 'train']
  pod.seconds(199, still=[0, 1, 2])
  assert pod.reports == []


# -- the roll

def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


def call(count, present, seconds=3.0, *, counts=None, port=None):
  """What each of `present` says: None, or its Problem."""
  port, said = port or free_port(), {}

  def one(place, number):
    try:
      said[place] = roll_call(f'127.0.0.1:{port}', (counts or {}).get(number, count), number, seconds)
    except Problem as problem:
      said[place] = str(problem)
  threads = [threading.Thread(target=one, args=pair) for pair in enumerate(present)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return [said[place] for place in range(len(present))]


def test_all_come_in_any_order_and_the_port_is_free_again():
  port = free_port()
  assert call(4, [3, 1, 0, 2], port=port) == [None] * 4
  assert call(4, [0, 1, 2, 3], port=port) == [None] * 4


def test_who_does_not_come_is_named_to_all_that_came():
  said = call(5, [0, 1, 3], seconds=1.0)
  assert len(set(said)) == 1 and said[0].startswith('process 2, 4 of 5 did not come within 1 s')


def test_process_0_that_does_not_come_is_named():
  assert all('process 0 of 3 did not answer' in text for text in call(3, [1, 2], seconds=0.5))


def test_two_with_the_same_number_and_another_count():
  assert all('two processes say that they are process 1' in text for text in call(3, [0, 1, 1]))
  assert all('process 0 counts 2 processes, and process 1 counts 3' in text for text in call(2, [0, 1], counts={1: 3}))


def test_a_stranger_at_the_door_is_ignored():
  port = free_port()

  def knock():
    while True:
      try:
        with socket.create_connection(('127.0.0.1', port), 1) as stranger:
          stranger.sendall(b'GET / HTTP/1.1\r\n\r\n')
          return
      except OSError:
        time.sleep(0.01)
  stranger = threading.Thread(target=knock)
  stranger.start()
  time.sleep(0.1)
  assert call(2, [0], seconds=1.5, port=port) == ['process 1 of 2 did not come within 2 s; look at its output']
  stranger.join()


def test_a_port_that_is_taken_is_named():
  with socket.create_server(('', 0)) as taken:
    with pytest.raises(Problem, match='process 0 cannot listen there'):
      roll_call(f'127.0.0.1:{taken.getsockname()[1]}', 2, 0, 1.0)


# -- agreement

class Two(Pod):
  """Process 1 of two, the other of which is made up: it finds no problem, and says what it is told to."""
  index, count = 1, 2

  def __init__(self, first):
    super().__init__()
    self.first = first

  def first_says(self, value=None):
    return self.first

  def agree(self, problem=None):
    return problem and f'process 1: {problem}'


def test_a_process_that_differs_says_in_what():
  Two({'a': '1', 'b': '2'}).alike({'a': '1', 'b': '2'})
  with pytest.raises(Agreed, match=r"process 1: .*b was '2' in process 0, is '3' here"):
    Two({'a': '1', 'b': '2'}).alike({'a': '1', 'b': '3'})


def test_a_folder_that_is_not_the_one_that_process_0_sees_is_refused(tmp_path):
  (tmp_path / '.shared-abc').write_text('')
  distributed.check_shared(Two('abc'), tmp_path)
  with pytest.raises(Agreed, match='is not the folder that process 0 sees'):
    distributed.check_shared(Two('another'), tmp_path)
  with pytest.raises(Agreed, match='is not the folder that process 0 sees'):
    distributed.check_shared(Two('abc'), tmp_path / 'not there')


def test_alone_every_question_answers_itself(tmp_path):
  pod, asked = Pod(), []
  assert pod.first_says(3) == 3 and pod.agree() is None and not pod.preempted(0)
  assert Pod(asked).preempted(0) is False
  asked.append(15)
  assert Pod(asked).preempted(0) is True
  distributed.check_shared(pod, tmp_path / 'not there')
  with pytest.raises(Problem, match='wrong'):
    pod.check(lambda: (_ for _ in ()).throw(Problem('wrong')))
