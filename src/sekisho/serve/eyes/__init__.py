"""Eyes: what looks at an image and gives a probability for every criterion of a rubric."""
