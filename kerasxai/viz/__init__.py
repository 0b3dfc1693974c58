"""Drawing: overlays, grids, files, reports."""

from kerasxai.viz.animation import save_animation
from kerasxai.viz.flat import flat_map, flat_picture, series_picture, slices
from kerasxai.viz.grids import grid, map_legend, timeline
from kerasxai.viz.log_sinks import LogSink, open_sink
from kerasxai.viz.overlays import (
    EVIDENCE_COLORMAP,
    PREDICTED_COLOR,
    SIGNED_COLORMAP,
    TRUE_COLOR,
    colorize,
    draw_boxes,
    draw_heatmap,
    overlay,
    robust_maximum,
)
from kerasxai.viz.pixels import encode_png, to_picture
from kerasxai.viz.plots import plot_curves, plot_history
from kerasxai.viz.projector import write_projector
from kerasxai.viz.report import Report
from kerasxai.viz.scatter import plot_scatter, scatter_page
from kerasxai.viz.sinks import TensorBoardSink, save_png

__all__ = [
    "EVIDENCE_COLORMAP",
    "PREDICTED_COLOR",
    "SIGNED_COLORMAP",
    "TRUE_COLOR",
    "LogSink",
    "Report",
    "TensorBoardSink",
    "colorize",
    "draw_boxes",
    "draw_heatmap",
    "encode_png",
    "flat_map",
    "flat_picture",
    "grid",
    "map_legend",
    "open_sink",
    "overlay",
    "plot_curves",
    "plot_history",
    "plot_scatter",
    "robust_maximum",
    "save_animation",
    "save_png",
    "scatter_page",
    "series_picture",
    "slices",
    "timeline",
    "to_picture",
    "write_projector",
]
