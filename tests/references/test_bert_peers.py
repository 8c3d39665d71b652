"""BERT beside transformers' own, in torch, with the same random weights."""
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from references.squad import weights
from references.squad.bert import Bert, Sizes
from tests.references import vision_ops

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings('ignore')]
torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')


def theirs(num_layers, tmp_path, attention='eager'):
  from safetensors.torch import save_file
  vision_ops.declare(torch)
  torch.manual_seed(0)
  config = transformers.BertConfig(num_hidden_layers=num_layers, hidden_dropout_prob=0.0,
                                   attention_probs_dropout_prob=0.0, attn_implementation=attention)
  model = transformers.BertForQuestionAnswering(config)
  for parameter in model.parameters():  # as they begin, vectors are all ones or zeros, which would hide a mix-up
    torch.nn.init.normal_(parameter, std=0.03) if parameter.ndim > 1 else parameter.data.add_(
        0.05 * torch.randn_like(parameter))
  save_file({name: x.contiguous() for name, x in model.state_dict().items()}, tmp_path / 'theirs.safetensors')
  return model


@pytest.mark.parametrize('num_layers, batch, length', [(2, 3, 96), (12, 2, 128)])
def test_logits_and_gradients_are_transformers(num_layers, batch, length, tmp_path):
  from safetensors.torch import load_file
  model = theirs(num_layers, tmp_path)
  dice = np.random.default_rng(0)
  tokens, types = dice.integers(0, 30_522, (batch, length)), dice.integers(0, 2, (batch, length))
  valid = np.arange(length) < np.array([length, *dice.integers(length // 3, length, batch - 1)])[:, None]
  places = dice.integers(1, length // 3, (2, batch))
  network = Bert(Sizes(num_layers=num_layers), dropout=0.0)
  inputs = (jnp.asarray(tokens), jnp.asarray(types), jnp.asarray(valid))
  empty = jax.eval_shape(lambda key: network.init(key, *inputs, train=False), jax.random.key(0))['params']
  params = weights.load(tmp_path / 'theirs.safetensors', jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), empty))
  assert sum(x.size for x in jax.tree.leaves(params)) == sum(p.numel() for p in model.parameters())

  def loss(params):
    start, end = network.apply({'params': params}, *inputs, train=True)
    cross = lambda x, n: optax.softmax_cross_entropy_with_integer_labels(x, jnp.asarray(places[n])).mean()
    return cross(start, 0) + cross(end, 1), (start, end)

  (_, ours), grads = jax.value_and_grad(loss, has_aux=True)(params)
  out = model(input_ids=torch.tensor(tokens), token_type_ids=torch.tensor(types),
              attention_mask=torch.tensor(valid.astype(np.int64)))
  lengths = torch.tensor(valid)
  total = 0
  for n, logits in enumerate((out.start_logits, out.end_logits)):
    assert np.abs(np.asarray(ours[n])[valid] - logits.detach().numpy()[valid]).max() < 1e-4
    logits = logits.masked_fill(~lengths, -1e9)
    total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(places[n]))
  total.backward()
  weights.save(tmp_path / 'grads.safetensors', grads)
  ours = load_file(tmp_path / 'grads.safetensors')
  # Biases of keys, and those that move all logits of a row alike, have no effect: their gradients are rounding alone.
  floor = 1e-3 * max(parameter.grad.norm() for parameter in model.parameters())
  for name, parameter in model.named_parameters():
    distance = (ours[name] - parameter.grad).norm() / max(parameter.grad.norm(), floor)
    assert distance < 1e-3, (name, distance)


def test_an_exported_file_is_transformers_own(tmp_path):
  from safetensors.torch import load_file
  model = theirs(2, tmp_path)
  network = Bert(Sizes(num_layers=2))
  params = network.init(jax.random.key(0), *(jnp.ones((1, 4), jnp.int32),) * 2, jnp.ones((1, 4), bool), train=False)
  loaded = weights.load(tmp_path / 'theirs.safetensors', jax.device_get(params['params']))
  weights.save(tmp_path / 'ours.safetensors', loaded)
  ours, original = load_file(tmp_path / 'ours.safetensors'), model.state_dict()
  assert ours.keys() == original.keys() and all(torch.equal(ours[name], original[name]) for name in original)
  again = transformers.BertForQuestionAnswering(model.config)
  again.load_state_dict(ours)
