"""What the vision models see in a prepared image: ImagePrepared in, ImageEncoded out."""
