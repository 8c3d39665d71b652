"""How a task is trained: one step, one loop, one way to save; nothing here knows which task it is."""
