"""Image captioning and visual question answering on two-object scenes."""
