"""A torchvision built for another torch lacks its compiled operators, and fails to be imported for want of two."""
import contextlib

KEPT = []  # a library that is collected takes its operators along


def declare(torch):
  """Makes torchvision importable; none of what is declared is ever called."""
  with contextlib.suppress(ImportError, RuntimeError):
    import torchvision  # noqa: F401
    return
  if not KEPT:
    KEPT.append(torch.library.Library('torchvision', 'FRAGMENT'))
    for name in ('nms', 'qnms'):
      KEPT[0].define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
