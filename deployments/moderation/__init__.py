"""What texts and pictures are judged by."""
