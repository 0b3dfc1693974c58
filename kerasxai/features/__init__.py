"""What a network has learned: filters, activations, patches, class images, neighbors and embeddings."""
