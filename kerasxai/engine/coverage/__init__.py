"""Which part of the image each feature map covers, read off the traced graph."""
