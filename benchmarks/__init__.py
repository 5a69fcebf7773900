"""What is claimed about speed, runnable: see README.md beside this file."""
