"""Where batches come from: order, sources, and the way from host to device."""
