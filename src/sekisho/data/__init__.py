"""Documents in, examples out."""
