"""The stages of training as outer loops, one file each."""
