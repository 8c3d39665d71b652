"""What a run was worth: tapes in, records out. Nothing here imports jax."""
