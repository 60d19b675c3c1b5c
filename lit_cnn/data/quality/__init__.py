"""Whether images can be trusted: leaks between splits, duplicates, given-away labels, lists of images to ignore."""
