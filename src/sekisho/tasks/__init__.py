"""What is asked and how it is read; never who answers."""
