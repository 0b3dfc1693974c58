"""The protocol of Choe et al. (2020, arXiv:2001.07437 and 2007.04178) without OpenCV, bit for bit.

In double precision its 8-bit maps equal those of `clovaai/wsolevaluation`, with three exceptions:

- Constant maps. OpenCV's rounding makes a constant 0.1 vary in its last digits, and the reference stretches that to a
  map full of objects; here a constant map is all zeros and has no box.
- Maps of one row or one column. One line of the enlarged map may be one level apart (0.4 % of the pixels at 224).
- Values that are large compared with their differences, such as values near 1e12 that differ by 1. Rounding in the
  resizing then decides about levels. In single precision (the reference resizes the network's output) the same holds
  for values near 1000 that differ by 1, in up to 8 % of the pixels; other maps differ by one level in under 0.01 %.
"""
