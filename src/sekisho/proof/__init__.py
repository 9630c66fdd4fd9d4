"""Numbers in, a verdict out; knows no model."""
