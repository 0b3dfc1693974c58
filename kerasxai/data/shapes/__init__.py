"""The embedded shapes data set."""
