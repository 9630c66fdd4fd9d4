"""Text in images: clean-up by OpenCV, reading by Tesseract. The image stays on this machine and in memory; only text goes on."""
