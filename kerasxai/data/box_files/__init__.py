"""Readers of files with boxes: CSV, COCO JSON, Pascal VOC XML and YOLO text. Nothing here imports TensorFlow."""
