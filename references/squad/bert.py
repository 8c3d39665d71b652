"""BERT (Devlin et al., arXiv 1810.04805) with a span head, to the numbers of transformers' model in PyTorch.

One module for each tensor group of transformers' BertForQuestionAnswering, so that weights come and go by name.
"""
import functools
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from layers import attention, platforms
from references.squad.model import NEVER, Dense, Dropout
from serving import products


@dataclass(frozen=True)
class Sizes:
  """Layers, width, attention heads and the feed-forward width of a BERT; vocabulary, positions and types are uncased's.
  """
  num_layers: int = 12
  width: int = 768
  num_heads: int = 12
  feed_forward: int = 3072
  vocabulary: int = 30_522
  positions: int = 512
  types: int = 2


BASE, LARGE = Sizes(), Sizes(24, 1024, 16, 4096)


def _dense(width: int, dtype, name: str):
  return Dense(width, dtype=dtype, kernel_init=nn.initializers.normal(0.02), name=name)


def _norm(dtype, name: str):
  return nn.LayerNorm(epsilon=1e-12, dtype=dtype, name=name)


_exact_gelu = functools.partial(nn.gelu, approximate=False)


def _wide_gelu(x):
  return _exact_gelu(x.astype(jnp.float32)).astype(x.dtype)


_rounded_once = jax.custom_vjp(_wide_gelu)
_rounded_once.defvjp(lambda x: (_wide_gelu(x), x), lambda x, dy: jax.vjp(_wide_gelu, x)[1](dy))


def gelu(x):
  """The exact GELU; on CPUs in float32, rounded once, with a gradient of x alone, which is a twentieth of a step."""
  return platforms.dependent(x, cpu=_rounded_once, default=_exact_gelu)


def for_all(rows, batch_size: int):
  """[L, C] -> [B, L, C], on CUDA's GPUs by a product with ones and zeros.

  The gradient of a plain broadcast is a sum over the batch, for which XLA lays all activations out with the batch
  innermost on GPUs, and transposes them at each dense layer (benchmarks/NOTES.md).
  """
  def by_product(rows):
    ones = jnp.broadcast_to(jnp.eye(len(rows), dtype=rows.dtype), (batch_size, len(rows), len(rows)))
    return jnp.matmul(ones, rows, precision='highest')
  return platforms.dependent(rows, cuda=by_product,
                             default=lambda rows: jnp.broadcast_to(rows, (batch_size, *rows.shape)))


class Layer(nn.Module):
  """Self-attention and a feed-forward layer, each added and normalised after: [B, L, C] -> [B, L, C]."""
  sizes: Sizes
  dropout: float
  dtype: Any
  folded: bool

  @nn.compact
  def __call__(self, x, valid, train: bool):
    batch, length, width = x.shape
    drop = lambda x: Dropout(self.dropout)(x, train)
    heads = lambda name: self._dense(x, width, name).reshape(batch, length, self.sizes.num_heads, -1)
    query, key, value = heads('query'), heads('key'), heads('value')
    mixed = self._attend(query, key, value, valid, train).reshape(batch, length, width)
    x = _norm(self.dtype, 'attention_norm')(x + drop(self._dense(mixed, width, 'attention_out')))
    wide = self._dense(x, self.sizes.feed_forward, 'feed_forward_in', with_gelu=True)
    return _norm(self.dtype, 'feed_forward_norm')(x + drop(self._dense(wide, width, 'feed_forward_out')))

  def _dense(self, x, width: int, name: str, with_gelu: bool = False):
    if self.folded:
      return products.dense(x, **self.get_variable('params', name), activation='gelu' if with_gelu else '')
    x = _dense(width, self.dtype, name)(x)
    return gelu(x) if with_gelu else x

  def _attend(self, query, key, value, valid, train: bool):
    """Attention to what is valid; with dropout of the weights, as BERT trains, they must be written out."""
    mask = valid[:, None, None, :]
    if self.folded:
      return products.attention(query, key, value, mask)
    if not (train and self.dropout):
      return jax.nn.dot_product_attention(query, key, value, mask=mask)
    logits = attention.logits(query, key) * query.shape[-1]**-0.5
    weights = jax.nn.softmax(jnp.where(mask, logits, NEVER)).astype(self.dtype)
    weights = Dropout(self.dropout)(weights, train)
    return attention.mixed(weights, value)


class Bert(nn.Module):
  """tokens, types: int32 [B, L], valid: bool [B, L] -> (start, end): float32 [B, L], NEVER at padding.

  Attributes:
    remat: computes each layer again in the backward pass instead of keeping what is inside it.
    folded: for inference alone; the parameters are then those that serving/folding.py makes.
  """
  sizes: Sizes
  dropout: float = 0.1
  dtype: Any = jnp.float32
  remat: bool = False
  folded: bool = False

  @nn.compact
  def __call__(self, tokens, types, valid, train: bool):
    sizes = self.sizes
    # Looked up in float32, since its gradient adds up what a row, such as the padding's, is looked up for: GPUs have no
    # addition in bfloat16 for that, and add one after the other.
    table = lambda size, name: nn.Embed(size, sizes.width, dtype=jnp.float32, name=name,
                                        embedding_init=nn.initializers.normal(0.02))
    words = table(sizes.vocabulary, 'word_embeddings')(tokens).astype(self.dtype)
    # Two rows for thousands of lookups: a product, and positions are not looked up at all (benchmarks/NOTES.md).
    rows = lambda size, name: table(size, name).embedding.astype(self.dtype)
    which = jax.nn.one_hot(types, sizes.types, dtype=self.dtype)
    x = words + jnp.matmul(which, rows(sizes.types, 'token_type_embeddings'), precision='highest')
    positions = rows(sizes.positions, 'position_embeddings')[:tokens.shape[1]]
    x = x + (for_all(positions, len(tokens)) if train else positions)
    x = Dropout(self.dropout)(_norm(self.dtype, 'embeddings_norm')(x), train)
    layer = nn.remat(Layer, static_argnums=(3,)) if self.remat else Layer
    for n in range(sizes.num_layers):
      x = layer(sizes, self.dropout, self.dtype, self.folded, name=f'layer_{n}')(x, valid, train)
    logits = _dense(2, jnp.float32, 'qa_outputs')(x.astype(jnp.float32))
    return tuple(jnp.where(valid, logits[..., n], NEVER) for n in range(2))
