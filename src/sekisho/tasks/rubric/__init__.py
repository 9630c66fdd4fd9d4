"""Rubrics: yes/no criteria on an image in, a pattern and words out; who looked at the image is not known here."""
