"""The audit of a classifier and of its heatmaps: faithfulness, sanity, confusions, shortcuts."""
