"""What may be trained on, what is tested on it, and the numbers of an evaluation."""
