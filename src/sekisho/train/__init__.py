"""From a base and examples to an adapter: recipe, batches, losses, fit, checkpoints."""
