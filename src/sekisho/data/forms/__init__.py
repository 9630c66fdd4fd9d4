"""Forms that never existed: drawn, spoilt as scanners and phones spoil them, and labelled with what was drawn."""
