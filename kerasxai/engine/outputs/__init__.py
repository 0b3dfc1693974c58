"""The outputs of a model: logits or probabilities, their bounds, and whether they are finite."""
