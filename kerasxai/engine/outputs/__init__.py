"""What a model returns: logits or probabilities, their bounds, and whether they are finite."""
