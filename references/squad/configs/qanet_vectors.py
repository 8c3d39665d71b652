"""SQuAD from word vectors, as every entry of DAWNBench's board had them: `qanet.py` with GloVe beside its own words.

`word_vectors` names a file in GloVe's or fastText's text format, such as glove.840B.300d.txt (from
nlp.stanford.edu/projects/glove); its vectors stay as they are, and the tape's `tricks` names the file. Not run yet:
no vectors were at hand, and a GPU for a quarter of an hour only; reading and training with a small made file is tested.

  python -m launchers.prepare --dataset=squad
  python -m launchers.train --config=references/squad/configs/qanet_vectors.py --workdir=runs/qanet_vectors \\
      --config.word_vectors=glove.840B.300d.txt
"""
import dataclasses

from references.squad.configs import qanet
from references.squad.task import Config


def get_config() -> Config:
  return dataclasses.replace(
      qanet.get_config(),
      word_vectors='glove.840B.300d.txt',
      vector_width=300,
      num_words=90_000,
      word_width=32,
      num_epochs=15.0,
  )
