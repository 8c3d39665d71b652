"""launchers.train with the loop of accelerators: a chunk of resident data in one compiled program, here on CPUs."""
import functools

from launchers import command, train
from training import loop

if __name__ == '__main__':
  loop.run = functools.partial(loop.run, device_loop=True)
  command.run(train.main, train.__doc__)
