"""What watches a video: which moments are worth a look, and the process that decodes them."""
