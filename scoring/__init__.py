"""What a run was worth: tapes in, records out. Pure Python: nothing here imports jax."""
