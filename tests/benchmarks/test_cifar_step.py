"""The step against its author's: which images both can take."""
import subprocess
import sys


def test_images_that_the_authors_network_cannot_take_are_one_line():
  done = subprocess.run([sys.executable, '-m', 'benchmarks.cifar_step', '--peer_dir=/dev', '--image_size=20'],
                        capture_output=True, text=True)
  assert done.returncode == 1 and not done.stdout
  assert done.stderr.splitlines()[-1].startswith("error: --image_size=20: the author's network takes 28 or more")
  assert 'Traceback' not in done.stderr
