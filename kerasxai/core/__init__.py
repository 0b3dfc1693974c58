"""What everything else stands on: tracing, layers, scores, the view, errors and files."""
