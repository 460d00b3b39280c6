"""The commands of `farshore`, a file for each family. All heavy imports are inside functions."""
