"""The machine: the device that was asked for, and the seal that keeps everything on it."""
