"""Where compiled programs are kept from one process to the next."""
from pathlib import Path

from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_string('compilation_cache_dir', '~/.cache/daybreak/programs', 'keeps compiled programs; empty: no cache')


def set_cache():
  """Has jax keep every program that it compiles in --compilation_cache_dir."""
  import jax
  if FLAGS.compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', str(Path(FLAGS.compilation_cache_dir).expanduser()))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
