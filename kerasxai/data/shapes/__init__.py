"""The embedded `shapes` data set: eight classes of drawn objects on photographs, with exact part masks."""
