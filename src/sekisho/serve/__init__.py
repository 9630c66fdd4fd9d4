"""Who answers: engines behind one protocol, and the arithmetic from label logits to a probability. Knows nothing of tasks or policy."""
