"""Numerics beside the peers' own; `make test-peers` installs what they need."""
import jax
import numpy as np
import pytest

from input_pipelines import digits
from references.cifar.configs.digits import get_config
from training.step import State, make_train_step

pytestmark = pytest.mark.peers
torch = pytest.importorskip('torch')


def test_the_embedded_digits_are_those_of_scikit_learn():
  datasets = pytest.importorskip('sklearn.datasets')
  theirs = datasets.load_digits()
  with np.load(digits.FILE) as ours:
    np.testing.assert_array_equal(ours['images'], theirs.images)
    np.testing.assert_array_equal(ours['labels'], theirs.target)


@pytest.mark.filterwarnings('ignore')
def test_ten_training_steps_agree_with_torch_and_its_adamw():
  from tests.references.torch_groupnet import Net, flat, start
  params, batch_stats, images, labels = start()
  task = get_config().make_task('')
  task.prepare = lambda batch, keys, shape: batch  # the same images on both sides
  net, h = Net(params, batch_stats), task.hyperparameters
  decayed = [w for w in net.weights.values() if w.ndim > 1]
  free = [w for w in net.weights.values() if w.ndim == 1]
  optimizer = torch.optim.AdamW([{'params': decayed, 'weight_decay': h['opt_adamw_weight_decay']},
                                 {'params': free, 'weight_decay': 0.0}], lr=1.0, eps=h['opt_adamw_epsilon'],
                                betas=(h['opt_adamw_beta_1'], h['opt_adamw_beta_2']))
  state = State(np.int32(0), params, {'batch_stats': batch_stats}, task.optimizer.init(params))
  step = jax.jit(make_train_step(task))
  batch = {'image': images, 'label': labels, 'mask': np.ones(32, bool), 'index': np.arange(32, dtype=np.int32),
           'epoch': np.zeros(32, np.int32)}
  for number in range(10):
    state, sums = step(state, batch, np.uint32(0))
    for group in optimizer.param_groups:
      group['lr'] = h['opt_base_learning_rate'] * number / h['opt_learning_rate_warmup_steps']
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(torch.tensor(images), True), torch.tensor(labels).long(),
                                             label_smoothing=0.1)
    loss.backward()
    optimizer.step()
    assert float(sums['loss'][0]) == pytest.approx(loss.item(), rel=2e-3)
  for name, value in flat(state.params, 'params').items():
    theirs = net.weights[name].detach().numpy()
    assert np.linalg.norm(value - theirs) <= 5e-3 * np.linalg.norm(theirs) + 1e-4, name
