"""Fixtures that are shared, because importing TensorFlow and tracing a backbone cost seconds."""
