"""One backend a file: llamacpp (a supervised child process), torch (in a thread), fake (a digest). Import the one you need."""
