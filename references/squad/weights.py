"""BERT's weights as a safetensors file in transformers' layout, in and out. Nothing is ever unpickled."""
import os
import re
from pathlib import Path

import numpy as np

from scoring.problem import Problem

# What pretrained files hold beside the encoder: of other tasks, or no parameters at all.
_OTHERS = re.compile(r'(cls\.|bert\.pooler\.|bert\.embeddings\.position_ids$)')
_DENSE = {'query': 'attention.self.query', 'key': 'attention.self.key', 'value': 'attention.self.value',
          'attention_out': 'attention.output.dense', 'feed_forward_in': 'intermediate.dense',
          'feed_forward_out': 'output.dense'}
_NORM = {'attention_norm': 'attention.output.LayerNorm', 'feed_forward_norm': 'output.LayerNorm'}


def names(num_layers: int) -> dict[str, tuple[str, ...]]:
  """transformers' name of each tensor -> where it is in our parameters; a `kernel` is the transpose of a `weight`."""
  found = {f'bert.embeddings.{name}.weight': (name, 'embedding')
           for name in ('word_embeddings', 'token_type_embeddings', 'position_embeddings')}
  dense, norm = {'qa_outputs': ('qa_outputs',)}, {'bert.embeddings.LayerNorm': ('embeddings_norm',)}
  for n in range(num_layers):
    dense |= {f'bert.encoder.layer.{n}.{theirs}': (f'layer_{n}', ours) for ours, theirs in _DENSE.items()}
    norm |= {f'bert.encoder.layer.{n}.{theirs}': (f'layer_{n}', ours) for ours, theirs in _NORM.items()}
  for group, first in ((dense, 'kernel'), (norm, 'scale')):
    for theirs, ours in group.items():
      found[f'{theirs}.weight'], found[f'{theirs}.bias'] = (*ours, first), (*ours, 'bias')
  return found


def _num_layers(params) -> int:
  return sum(name.startswith('layer_') for name in params)


def _leaf(params, path):
  for key in path:
    params = params[key]
  return params


def load(path, params) -> dict:
  """`params` with the file's weights, float32; without a head in the file, `qa_outputs` stays as it is.

  Files with and without the prefix `bert.` are read, and LayerNorm's old names gamma and beta; heads of other tasks and
  the pooler are passed over.

  Raises:
    Problem: no safetensors file, or a tensor that is missing, unknown, there twice, misshapen, or of integers.
  """
  tensors = _read(Path(path).expanduser())
  known = names(_num_layers(params))
  bare = not any(name.startswith('bert.') for name in tensors)
  found = {}
  for name, tensor in tensors.items():
    full = f'bert.{name}' if bare and not name.startswith(('qa_outputs.', 'cls.')) else name
    full = re.sub(r'LayerNorm\.(gamma|beta)$', lambda m: f"LayerNorm.{dict(gamma='weight', beta='bias')[m[1]]}", full)
    if _OTHERS.match(full):
      continue
    if full not in known:
      raise Problem(f'{path}: tensor {name} is not of a BERT with {_num_layers(params)} layers and a span head; name '
                    'another file, or the config of its size')
    if full in found:
      raise Problem(f'{path}: tensor {name} is there twice, under an old and a new name; name another file')
    found[full] = tensor
  head = {name for name in known if name.startswith('qa_outputs.')}
  missing = sorted(known.keys() - found.keys() - (head if head.isdisjoint(found) else set()))
  if missing:
    raise Problem(f'{path}: tensor {missing[0]} is missing ({len(missing)} are); name another file')
  made = {}
  for name, where in known.items():
    before = _leaf(params, where)
    value = before if name not in found else _fitted(path, name, found[name], where[-1] == 'kernel', np.shape(before))
    at = made
    for key in where[:-1]:
      at = at.setdefault(key, {})
    at[where[-1]] = value
  return made


def _fitted(path, name: str, tensor: np.ndarray, transpose: bool, shape) -> np.ndarray:
  value = tensor.T if transpose and tensor.ndim == 2 else tensor
  if value.shape != shape:
    wanted = shape[::-1] if transpose else shape
    raise Problem(f'{path}: tensor {name} is {tuple(tensor.shape)}, expected {tuple(wanted)}; name another file, or '
                  'the config of its size')
  if value.dtype.kind != 'f' and value.dtype.name != 'bfloat16':
    raise Problem(f'{path}: tensor {name} is {value.dtype}, not of floating point; name another file')
  value = np.ascontiguousarray(value, np.float32)
  if not np.isfinite(value).all():
    raise Problem(f'{path}: tensor {name} holds numbers that are not finite; get the file again')
  return value


def _read(path: Path) -> dict[str, np.ndarray]:
  try:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
  except ImportError:
    raise Problem("init_from: the package safetensors is not installed; pip install -e '.[data]'") from None
  try:
    return load_file(path)
  except (OSError, SafetensorError, ValueError, KeyError) as error:
    raise Problem(f'{path}: is no whole safetensors file ({str(error).splitlines()[0]}); convert the weights, or get '
                  'the file again') from None


def save(path, params):
  """Writes float32 weights under transformers' names, whole or not at all; `load` of it gives the same bits.

  Raises:
    Problem: the file cannot be written.
  """
  from safetensors.numpy import save_file
  path = Path(path).expanduser()
  part = path.with_name(path.name + '.part')
  tensors = {name: np.asarray(_leaf(params, where), np.float32) for name, where in names(_num_layers(params)).items()}
  tensors = {name: np.ascontiguousarray(x.T if _is_transposed(name, x) else x) for name, x in tensors.items()}
  try:
    save_file(tensors, part, metadata={'format': 'pt'})
    os.replace(part, path)
  except OSError as error:
    part.unlink(missing_ok=True)
    raise Problem(f'{path}: cannot write ({error.strerror}); free space or name another') from None


def _is_transposed(name: str, tensor: np.ndarray) -> bool:
  """Whether the tensor of that name is a matrix that we keep transposed."""
  return tensor.ndim == 2 and not name.startswith('bert.embeddings.')
