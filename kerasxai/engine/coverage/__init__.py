"""The part of the image that a feature map covers, and the pixels that its entries depend on."""
