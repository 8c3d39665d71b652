"""Our ResNet-50 and optimizer beside torchvision's own; `make test-peers` installs what they need."""
import os

import numpy as np
import pytest

from tests.references import resnet_weights, vision_ops
from tests.references.test_resnet import GOLDEN_NUMERICS, ours

pytestmark = pytest.mark.peers
torch = pytest.importorskip('torch')


def resnet50():
  vision_ops.declare(torch)
  from torchvision.models import resnet50
  return resnet50()


@pytest.mark.filterwarnings('ignore')
def test_logits_and_gradients_agree_with_torchvision():
  net = resnet50()
  assert sum(p.numel() for p in net.parameters()) == 25_557_032
  state = {name: torch.tensor(resnet_weights.made(name, tuple(x.shape)))
           for name, x in net.state_dict().items() if x.ndim}
  net.load_state_dict(state, strict=False)
  images, labels = resnet_weights.batch()
  images, labels = torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels).long()
  with torch.no_grad():
    theirs = {'eval_logits': net.eval()(images).numpy()}
  logits = net.train()(images)
  theirs['train_logits'] = logits.detach().numpy()
  torch.nn.functional.cross_entropy(logits, labels).backward()
  gradients = {name: p.grad.numpy() for name, p in net.named_parameters()}

  results, grads = ours()
  for name, value in theirs.items():
    np.testing.assert_allclose(results[name], value, rtol=1e-4, atol=1e-4)
  assert len(grads) == len(gradients) == 161
  for name, value in gradients.items():
    value = resnet_weights.to_ours(value)
    assert np.linalg.norm(grads[name] - value) <= 1e-3 * np.linalg.norm(value), name
  theirs.update({f'gradient {name}': np.linalg.norm(value) for name, value in gradients.items()})
  if os.environ.get('DAYBREAK_UPDATE_GOLDEN'):
    np.savez_compressed(GOLDEN_NUMERICS, **theirs)
