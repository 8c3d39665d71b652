"""Who of a pod is there: asked before JAX's coordination service starts, at the same address, by one short line each.

The service itself waits for everybody and then aborts, without a word of who was missing.
"""
import contextlib
import re
import socket
import time

from scoring.problem import Problem

GRACE_SECONDS = 10  # how much longer than process 0 the others wait for its answer


def roll_call(address: str, count: int, index: int, seconds: float):
  """Returns once all processes have called at process 0's address; raises Problem, in each, that names who did not."""
  host, _, port = address.rpartition(':')
  end = time.monotonic() + seconds
  if index:
    answer = _call(host.strip('[]'), int(port), f'daybreak {index} of {count}\n', end)
    if answer is None:
      raise Problem(f'process 0 of {count} did not answer at {address} within {seconds:.0f} s; look at its output, and '
                    'whether its name and port can be reached from here')
  else:
    answer = _be_called(int(port), count, seconds, end)
  if answer != 'go':
    raise Problem(answer or 'process 0 ended during the roll call; look at its output')


def _call(host: str, port: int, line: str, end: float) -> str | None:
  """What process 0 says once all are there; None if it never answers."""
  while time.monotonic() < end:
    try:
      with socket.create_connection((host, port), 5) as connection:
        connection.settimeout(max(end - time.monotonic(), 0) + GRACE_SECONDS)
        connection.sendall(line.encode())
        with connection.makefile() as file:
          return file.readline().strip()
    except OSError:
      time.sleep(0.1)
  return None


def _be_called(port: int, count: int, seconds: float, end: float) -> str:
  """Waits for the others' calls and answers all of them: 'go', or what is wrong."""
  try:
    dual = socket.has_dualstack_ipv6()
    server = socket.create_server(('', port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual)
  except OSError as error:
    raise Problem(f'port {port}: process 0 cannot listen there ({error.strerror}); is another run at work on this '
                  'machine? choose another port') from None
  here, callers, answer = set(), [], 'go'
  with server, contextlib.ExitStack() as kept:
    while len(here) < count - 1 and answer == 'go':
      server.settimeout(max(end - time.monotonic(), 0.001))
      try:
        connection = kept.enter_context(server.accept()[0])
        connection.settimeout(5)
        file = kept.enter_context(connection.makefile())
        found = re.fullmatch(r'daybreak (\d+) of (\d+)\n', file.readline(100))
      except TimeoutError:
        if time.monotonic() >= end:
          missing = ', '.join(str(n) for n in range(1, count) if n not in here)
          answer = f'process {missing} of {count} did not come within {seconds:.0f} s; look at its output'
        continue
      except (OSError, UnicodeDecodeError):
        continue
      if not found:  # somebody else's call
        continue
      number, theirs = int(found[1]), int(found[2])
      if theirs != count or number >= count or number in here:
        answer = (f'process 0 counts {count} processes, and process {number} counts {theirs}' if theirs != count else
                  f'two processes say that they are process {number} of {count}')
      here.add(number)
      callers.append((connection, file))
    for connection, file in callers:
      with contextlib.suppress(OSError):
        connection.sendall(f'{answer}\n'.encode())
        connection.shutdown(socket.SHUT_WR)
        file.read()  # until they have closed: the port is then free for JAX's service
  return answer
