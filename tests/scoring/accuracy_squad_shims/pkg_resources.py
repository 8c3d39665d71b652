"""accuracy-squad.py asks which packages there are, to import torch or TensorFlow: none that it needs."""
working_set = ()
