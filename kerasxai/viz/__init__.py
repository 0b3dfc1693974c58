"""Drawing: overlays, grids, files, reports."""
