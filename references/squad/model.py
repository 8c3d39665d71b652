"""A reader without recurrence: convolutions and attention find where in a paragraph the answer starts and ends.

After QANet (Yu et al., arXiv 1804.09541): word and character embeddings, an encoder for each side, context-query
attention, one stack of blocks passed several times, a start and an end pointer. Trained without word vectors, it gets
two helps of DrQA's (Chen et al., arXiv 1704.00051): which words of the context occur in the question, and for each of
them the question's words, weighted by how alike their embeddings are.
"""
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from layers import dense
from layers.dropout import dropout

NEVER = -1e9  # the logit of what may not be chosen; finite in bfloat16 as well


def positions(length: int, width: int):
  """Sines and cosines of each position (Vaswani et al., arXiv 1706.03762): float32 [length, width]."""
  rate = jnp.exp(-math.log(10_000.0) * jnp.arange(0, width, 2) / width)
  angle = jnp.arange(length)[:, None] * rate
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)[:, :width]


def masked_softmax(logits, mask, axis: int = -1):
  """float32 softmax over what `mask` lets through; zeros where it lets nothing through."""
  logits = jnp.where(mask, logits.astype(jnp.float32), NEVER)
  return jnp.where(mask, jax.nn.softmax(logits, axis), 0.0)


class Dropout(nn.Module):
  """layers/dropout.py's while training, with keys of the stream `dropout`."""
  rate: float
  broadcast_dims: tuple[int, ...] = ()

  def __call__(self, x, train: bool):
    return dropout(x, self.rate, self.make_rng('dropout'), self.broadcast_dims) if train and self.rate else x


class Dense(nn.Module):
  """A dense layer with the parameters of flax's, of the products and sums of layers/dense.py."""
  features: int
  use_bias: bool = True
  dtype: Any = jnp.float32
  kernel_init: Callable = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, x):
    kernel = self.param('kernel', self.kernel_init, (x.shape[-1], self.features))
    y = dense.product(x.astype(self.dtype), kernel.astype(self.dtype))
    return dense.plus(y, self.param('bias', nn.initializers.zeros, (self.features,))) if self.use_bias else y


class SeparableConv(nn.Module):
  """A depthwise convolution over the words around each word, then a mix of channels: [B, L, C] -> [B, L, width].

  The depthwise part is a sum of shifted products: XLA's grouped convolution is many times slower on CPUs.
  """
  width: int
  kernel_size: int
  dtype: Any

  @nn.compact
  def __call__(self, x):
    taps = self.param('depthwise', nn.initializers.variance_scaling(1.0, 'fan_in', 'normal', in_axis=0, out_axis=()),
                      (self.kernel_size, x.shape[-1])).astype(self.dtype)
    reach = self.kernel_size // 2
    padded = jnp.pad(x, ((0, 0), (reach, self.kernel_size - 1 - reach), (0, 0)))
    x = sum(padded[:, k:k + x.shape[1]] * taps[k] for k in range(self.kernel_size))
    return nn.relu(Dense(self.width, dtype=self.dtype, name='pointwise')(x))


class SelfAttention(nn.Module):
  """Multi-head attention of a text to itself: [B, L, C] -> [B, L, C]; `mask`: bool [B, L], what is no padding."""
  num_heads: int
  dtype: Any

  @nn.compact
  def __call__(self, x, mask):
    batch, length, width = x.shape
    heads = Dense(3 * width, use_bias=False, dtype=self.dtype, name='query_key_value')(x)
    query, key, value = jnp.split(heads.reshape(batch, length, 3 * self.num_heads, -1), 3, axis=2)
    mixed = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
    return Dense(width, use_bias=False, dtype=self.dtype, name='out')(mixed.reshape(batch, length, width))


class Block(nn.Module):
  """Convolutions, self-attention and a feed-forward layer, each normalised before and added to what it got.

  While training, a layer is left out (stochastic depth, Huang et al., arXiv 1603.09382) the more often the later it
  stands: layer number n of N with probability dropout * n / N.
  """
  num_convs: int
  kernel_size: int
  num_heads: int
  dropout: float
  dtype: Any

  @nn.compact
  def __call__(self, x, mask, train: bool, first: int, total: int):
    """x: [B, L, C]; `first`: number of this block's first layer among the stack's `total`."""
    width = x.shape[-1]
    keep = mask[..., None].astype(self.dtype)

    def add(x, layer, number):
      normed = nn.LayerNorm(dtype=self.dtype, name=f'norm_{number}')(x) * keep
      change = Dropout(self.dropout)(layer(normed), train)
      rate = self.dropout * (first + number) / total
      return x + Dropout(rate, (1, 2))(change, train)

    x = x + positions(x.shape[1], width).astype(self.dtype)
    for n in range(self.num_convs):
      x = add(x, SeparableConv(width, self.kernel_size, self.dtype, name=f'conv_{n}'), n)
    if self.num_heads:
      attend = SelfAttention(self.num_heads, self.dtype, name='attention')
      x = add(x, lambda y: attend(y, mask), self.num_convs)
    wide = Dense(width, dtype=self.dtype, name='feed_forward_in')
    back = Dense(width, dtype=self.dtype, name='feed_forward_out')
    return add(x, lambda y: back(nn.relu(wide(y))), self.num_convs + 1)


class Encoder(nn.Module):
  """A stack of blocks: [B, L, C] -> [B, L, C]."""
  num_blocks: int
  num_convs: int
  kernel_size: int
  num_heads: int
  dropout: float
  dtype: Any

  @nn.compact
  def __call__(self, x, mask, train: bool):
    layers = self.num_convs + 2
    for n in range(self.num_blocks):
      block = Block(self.num_convs, self.kernel_size, self.num_heads, self.dropout, self.dtype, name=f'block_{n}')
      x = block(x, mask, train, n * layers, self.num_blocks * layers)
    return x


class Embedding(nn.Module):
  """Words as vectors: learned ones of the frequent words, given ones (frozen) where there are any, and of characters.

  words: int32 [B, L]; characters: integers [B, L, 16] -> [B, L, word_width + vector_width + char_width].
  """
  num_words: int
  num_chars: int
  word_width: int
  char_width: int
  vector_width: int
  dropout: float
  dtype: Any

  @nn.compact
  def __call__(self, words, characters, train: bool):
    known = jnp.where(words < self.num_words, words, 1)
    # In float32, as of bert.py: padding is one row that most lookups are of.
    x = nn.Embed(self.num_words, self.word_width, dtype=jnp.float32, name='words',
                 embedding_init=nn.initializers.normal(0.1))(known).astype(self.dtype)
    x = x * (words > 0)[..., None].astype(self.dtype)
    parts = [Dropout(self.dropout)(x, train)]
    if self.vector_width:
      table = self.variable('vectors', 'table', jnp.zeros, (self.num_words, self.vector_width), jnp.float32)
      parts.append(Dropout(self.dropout)(table.value[known].astype(self.dtype), train))
    if self.char_width:
      c = nn.Embed(self.num_chars, 32, dtype=jnp.float32, name='characters',
                   embedding_init=nn.initializers.normal(0.1))(characters.astype(jnp.int32)).astype(self.dtype)
      c = Dropout(self.dropout / 2)(c * (characters > 0)[..., None].astype(self.dtype), train)
      windows = jnp.concatenate([c[:, :, k:c.shape[2] - 4 + k] for k in range(5)], axis=-1)
      parts.append(nn.relu(Dense(self.char_width, dtype=self.dtype, name='char_conv')(windows)).max(2))
    return jnp.concatenate(parts, axis=-1)


def context_query_attention(context, question, similarity, context_mask, question_mask):
  """What of the question each context word asks for, and what of the context that question is about.

  Seo et al., arXiv 1611.01603, as Xiong et al., arXiv 1611.01604, attend back: (question_by_context,
  context_by_context), both [B, L, C]; similarity: [B, L, Q].
  """
  over_question = masked_softmax(similarity, question_mask[:, None, :], 2).astype(context.dtype)
  over_context = masked_softmax(similarity, context_mask[:, :, None], 1).astype(context.dtype)
  asked = jnp.einsum('blq,bqc->blc', over_question, question)
  about = jnp.einsum('blq,bqc->blc', over_question, jnp.einsum('blq,blc->bqc', over_context, context))
  return asked, about


class Reader(nn.Module):
  """Logits of where the answer starts and ends.

  context: int32 [B, L], context_chars: integers [B, L, 16], question: int32 [B, Q], question_chars: [B, Q, 16],
  match: [B, L, 3], whether the word occurs in the question exactly, in lower case, as a stem; 0 is padding
  -> (start, end): float32 [B, L], NEVER at padding.

  Attributes:
    width: of every layer between embedding and pointers; `num_heads`: 0 leaves self-attention out.
    encoder_convs, model_blocks, model_convs, passes: depth of the encoders of both sides (one block), of the stack
      after attention, and how often that is passed; its outputs are the pointers' inputs.
  """
  num_words: int
  num_chars: int
  word_width: int
  char_width: int
  vector_width: int
  width: int
  num_heads: int
  encoder_convs: int
  model_blocks: int
  model_convs: int
  passes: int
  dropout: float
  dtype: Any

  def setup(self):
    self.embed = Embedding(self.num_words, self.num_chars, self.word_width, self.char_width, self.vector_width,
                           self.dropout, self.dtype)
    dense = lambda width: Dense(width, dtype=self.dtype)
    self.align, self.narrow, self.narrow_features = dense(self.width), dense(self.width), dense(self.width)
    self.encoder = Encoder(1, self.encoder_convs, 7, self.num_heads, self.dropout, self.dtype)
    self.similarity_parts = [Dense(1, use_bias=False, dtype=self.dtype) for _ in range(2)]
    self.similarity_product = self.param('similarity_product', nn.initializers.normal(1 / math.sqrt(self.width)),
                                         (self.width,))
    self.join = dense(self.width)
    self.model = Encoder(self.model_blocks, self.model_convs, 5, self.num_heads, self.dropout, self.dtype)
    self.pointers = [Dense(1, use_bias=False, dtype=jnp.float32) for _ in range(2)]
    self.drop = Dropout(self.dropout)

  def __call__(self, context, context_chars, question, question_chars, match, train: bool):
    context_mask, question_mask = context > 0, question > 0
    c = self.embed(context, context_chars, train)
    q = self.embed(question, question_chars, train)
    aligned = self.aligned(c, q, question_mask)
    extra = jnp.concatenate([match.astype(self.dtype), aligned], axis=-1)
    c = self.narrow(c) + self.narrow_features(extra)  # both sides share `narrow`
    q = self.narrow(q)
    c, q = self.encoder(c, context_mask, train), self.encoder(q, question_mask, train)
    asked, about = context_query_attention(c, q, self.similarity(c, q, train), context_mask, question_mask)
    x = self.drop(self.join(jnp.concatenate([c, asked, c * asked, c * about], axis=-1)), train)
    outputs = []
    for _ in range(self.passes):
      x = self.model(x, context_mask, train)
      outputs.append(x)
    ends = [jnp.concatenate([outputs[0], outputs[max(len(outputs) - 2, 0)]], axis=-1),
            jnp.concatenate([outputs[0], outputs[-1]], axis=-1)]
    return tuple(jnp.where(context_mask, pointer(x.astype(jnp.float32))[..., 0], NEVER)
                 for pointer, x in zip(self.pointers, ends))

  def aligned(self, c, q, question_mask):
    """For each context word the question's embeddings, weighted by likeness: [B, L, C]."""
    keys, queries = nn.relu(self.align(q)), nn.relu(self.align(c))
    weights = masked_softmax(jnp.einsum('blc,bqc->blq', queries, keys) / math.sqrt(self.width),
                             question_mask[:, None, :])
    return jnp.einsum('blq,bqc->blc', weights.astype(self.dtype), q)

  def similarity(self, c, q, train: bool):
    """w1 c + w2 q + w3 (c * q) of each pair of words: [B, L, Q]."""
    c, q = (self.drop(x, train) for x in (c, q))
    product = jnp.einsum('blc,bqc->blq', c * self.similarity_product.astype(self.dtype), q)
    return product + self.similarity_parts[0](c) + self.similarity_parts[1](q)[..., 0][:, None, :]


def best_span(start, end, longest: int):
  """The span of at most `longest` words with the largest sum of logits, exactly: (first, last: int32 [B]).

  start, end: float32 [B, L].
  """
  length = start.shape[1]
  later = jnp.pad(end, ((0, 0), (0, longest - 1)), constant_values=2 * NEVER)
  scores = jnp.stack([start + later[:, k:k + length] for k in range(longest)], axis=-1).reshape(len(start), -1)
  best = scores.argmax(1)
  first, extra = best // longest, best % longest
  return first.astype(jnp.int32), (first + extra).astype(jnp.int32)
