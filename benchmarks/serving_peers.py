"""The networks of serving_cases.py in torch, and what answers with them: torch.compile and ONNX Runtime.

Each module takes and gives what ours does: uint8 images, normalised inside, and the five likeliest classes; or a row of
word pieces as references/squad/serving.py has it, and start and end logits. Weights are made up.
"""
import io
import logging
import os

import jax
import numpy as np

# Threads for each: XLA, too, takes the cores that this process may use.
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
DEVICES = {'cpu': 'cpu', 'gpu': 'cuda'}  # jax's name of a platform -> torch's; no peer on others
PROVIDERS = {'cpu': 'CPUExecutionProvider', 'gpu': 'CUDAExecutionProvider'}


def airbench(recipe):
  """(torch, dtype) -> module; `recipe`: names what of airbench's the network takes."""
  def make(torch, dtype):
    from tests.references import torch_airbench as airbench
    net = airbench.Net(getattr(airbench, recipe))
    return _images(torch, net, 255 * airbench.MEAN, 255 * airbench.STD, dtype)
  return make


def digits(torch, dtype):
  """Groups of 32 and 64 channels."""
  from input_pipelines import digits as data
  layers = []
  for channels, width in ((1, 32), (32, 64)):
    for ins, pool in ((channels, [torch.nn.MaxPool2d(2)]), (width, [])):
      layers += [torch.nn.Conv2d(ins, width, 3, padding=1, bias=False), *pool, torch.nn.BatchNorm2d(width),
                 torch.nn.GELU('tanh')]
  net = torch.nn.Sequential(*layers, torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten(),
                            torch.nn.Linear(64, 10, bias=False))
  return _images(torch, net, torch.zeros(1), torch.full((1,), float(data.MAXIMUM)), dtype)


def resnet50(torch, dtype):
  from tests.references import vision_ops
  vision_ops.declare(torch)
  from torchvision.models import resnet50 as network

  from references.resnet_imagenet.task import MEAN
  return _images(torch, network(), torch.tensor(MEAN), torch.ones(3), dtype)


def bert(num_layers: int):
  """(torch, dtype) -> transformers' BERT base with so many layers and a span head."""
  def make(torch, dtype):
    from tests.references import vision_ops
    vision_ops.declare(torch)
    import transformers

    from references.squad.model import NEVER
    net = transformers.BertForQuestionAnswering(transformers.BertConfig(
        num_hidden_layers=num_layers, attn_implementation='sdpa'))

    class Windows(torch.nn.Module):
      """int32 [B, 2 + L] -> float32 [B, L, 2]."""

      def __init__(self):
        super().__init__()
        self.net = net.to(dtype)

      def forward(self, rows):
        asked, length, tokens = rows[:, :1], rows[:, 1:2], rows[:, 2:]
        place = torch.arange(tokens.shape[1], dtype=torch.int32, device=rows.device)
        valid = place < length
        types = valid & (place >= asked + 2)
        found = self.net(input_ids=tokens.long(), token_type_ids=types.long(), attention_mask=valid.long())
        logits = torch.stack([found.start_logits, found.end_logits], -1).float()
        return torch.where(valid[..., None], logits, NEVER)
    return Windows()
  return make


def _images(torch, net, mean, std, dtype):
  class Images(torch.nn.Module):
    """uint8 [B, H, W, 3] -> int32 [B, 5]."""

    def __init__(self):
      super().__init__()
      self.net = net.to(dtype).to(memory_format=torch.channels_last)
      self.register_buffer('mean', mean.reshape(-1, 1, 1))
      self.register_buffer('std', std.reshape(-1, 1, 1))

    def forward(self, rows):
      x = (rows.permute(0, 3, 1, 2).float() - self.mean) / self.std
      return self.net(x.to(dtype)).float().topk(5).indices.int()
  return Images()


class TorchCompiled:
  """torch.compile, in inference mode, weights frozen (which folds normalisations); `mode` as it has them."""

  def __init__(self, mode: str):
    self.mode, self.name = mode, f'torch.compile {mode}'

  def prepare(self, case, dtype: str, batch_size: int):
    """(rows [B, ...]) -> answers [B, ...], host to host."""
    import torch
    import torch._inductor.config as inductor
    inductor.freezing = True
    torch.set_num_threads(THREADS)
    torch.set_float32_matmul_precision('high')  # on GPUs TF32, as jax has it by default
    device = DEVICES[jax.default_backend()]
    net = case.network(torch, getattr(torch, dtype)).to(device).eval().requires_grad_(False)
    compiled = torch.compile(net, mode=None if self.mode == 'default' else self.mode, dynamic=False)

    def answer(rows):
      with torch.inference_mode():
        return compiled(torch.from_numpy(rows).to(device)).cpu().numpy()
    return answer


class OnnxRuntime:
  """ONNX Runtime on the same module, exported; all of its optimisations, as many threads as there are cores."""
  name = 'onnxruntime'

  def prepare(self, case, dtype: str, batch_size: int):
    """(rows [B, ...]) -> answers [B, ...], host to host."""
    import onnxruntime
    import torch
    provider = PROVIDERS[jax.default_backend()]
    if provider not in onnxruntime.get_available_providers():
      raise NotImplementedError(f'onnxruntime {onnxruntime.__version__} was built without {provider}')
    logging.getLogger('onnx_ir').setLevel(logging.WARNING)  # names each constant that occurs twice
    net = case.network(torch, getattr(torch, dtype)).eval().requires_grad_(False)
    file = io.BytesIO()
    torch.onnx.export(net, (torch.from_numpy(case.rows(batch_size)),), input_names=['rows'], output_names=['answers'],
                      dynamo=True, verbose=False).save(file)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(file.getvalue(), options, [provider])
    return lambda rows: session.run(None, {'rows': rows})[0]


def agree(answers: np.ndarray, peers: np.ndarray):
  """Raises ValueError unless both answer in the same shape and type."""
  if (answers.shape, answers.dtype) != (peers.shape, peers.dtype):
    raise ValueError(f'answers {peers.dtype}{list(peers.shape)}, ours {answers.dtype}{list(answers.shape)}')
